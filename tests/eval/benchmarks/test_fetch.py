"""Pinned downloads, against a real HTTP server on this machine."""

import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from hashlib import sha256
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from eval.benchmarks.fetch import Pinned, fetch, local
from reer.errors import DataError

TEXT = b'{"prompt": "Write 100 words.", "type": "Community Forum", "length": 100}\n'


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the method overridden
        pass


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Address and folder of a server."""
    folder = tmp_path / "site"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", folder
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REER_BENCHMARKS", str(tmp_path / "cache"))
    return tmp_path / "cache" / "b"


def pin_of(address: str, content: bytes = TEXT) -> Pinned:
    return Pinned("rows.jsonl", f"{address}/rows.jsonl", sha256(content).hexdigest())


def test_a_file_is_fetched_once_and_then_kept(site: tuple[str, Path], cache: Path) -> None:
    address, folder = site
    (folder / "rows.jsonl").write_bytes(TEXT)
    [path] = fetch("b", [pin_of(address)])
    assert path == cache / "rows.jsonl"
    assert path.read_bytes() == TEXT
    (folder / "rows.jsonl").unlink()
    assert fetch("b", [pin_of(address)]) == [path]


def test_other_bytes_than_the_pinned_ones_are_one_sentence_and_not_kept(site: tuple[str, Path], cache: Path) -> None:
    address, folder = site
    (folder / "rows.jsonl").write_bytes(TEXT + b"{}")
    with pytest.raises(DataError, match=r"/rows.jsonl: its checksum is not the pinned sha256 \w+…; nothing was kept"):
        fetch("b", [pin_of(address)])
    assert not (cache / "rows.jsonl").exists()


def test_a_kept_file_that_was_changed_is_one_sentence(site: tuple[str, Path], cache: Path) -> None:
    address, folder = site
    (folder / "rows.jsonl").write_bytes(TEXT)
    fetch("b", [pin_of(address)])
    (cache / "rows.jsonl").write_bytes(TEXT + TEXT)
    with pytest.raises(DataError, match=r"rows.jsonl: its checksum \w+… is not the pinned \w+…; delete the file"):
        fetch("b", [pin_of(address)])


def test_a_part_of_an_archive_is_taken_out_and_checked_by_itself(site: tuple[str, Path], cache: Path) -> None:
    address, folder = site
    with zipfile.ZipFile(folder / "some.whl", "w") as wheel:
        wheel.writestr("package/data/rows.jsonl", TEXT)
        wheel.writestr("package/__init__.py", "")
    content = (folder / "some.whl").read_bytes()
    pin = Pinned(
        "kept.jsonl",
        f"{address}/some.whl",
        sha256(content).hexdigest(),
        member="package/data/rows.jsonl",
        inner=sha256(TEXT).hexdigest(),
    )
    [path] = fetch("b", [pin])
    assert (path.name, path.read_bytes()) == ("kept.jsonl", TEXT)
    assert fetch("b", [pin]) == [path]


def test_no_network_is_one_sentence_that_says_what_else_there_is(site: tuple[str, Path]) -> None:
    address, _ = site
    with pytest.raises(DataError, match=r"rows.jsonl: cannot be fetched \(\w+\); benchmark.path=FILE"):
        fetch("b", [pin_of(address)])


def test_files_on_this_machine(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "b_all.v2.jsonl").write_bytes(TEXT)
    (tmp_path / "a.jsonl").write_bytes(TEXT)
    assert [path.name for path in local(tmp_path, ["b_all*.jsonl", "a.jsonl"])] == ["b_all.v2.jsonl", "a.jsonl"]
    assert local(tmp_path / "a.jsonl", ["b_all*.jsonl"]) == [tmp_path / "a.jsonl"]
    with pytest.raises(DataError, match="no such file or folder"):
        local(tmp_path / "absent", ["a.jsonl"])
    with pytest.raises(DataError, match="holds no file named c.jsonl"):
        local(tmp_path, ["c.jsonl"])
