"""reer-collect on what users bring by mistake: one clear sentence, or a row set aside with its reason."""

import json
import sys

import pytest
from books_made import epub, pdf

from collect.read import books
from collect.run import main
from reer.files import rows


def pair(n, **more):
    answer = " ".join(f"word{n}x{k}" for k in range(80))
    return json.dumps({"id": f"r{n}", "query": f"Tell tale number {n}.", "answer": answer} | more, ensure_ascii=False)


@pytest.fixture
def collect(monkeypatch, tmp_path, capsys):
    """Run the command; gives the exit code, what was set aside (file, row, reason), and the last line it said."""

    def call(path, *overrides):
        arguments = [f"source.path={path}", f"run_dir={tmp_path}/run", "sample.held_out=0", *overrides]
        monkeypatch.setattr(sys, "argv", ["reer-collect", *arguments])
        with pytest.raises(SystemExit) as stop:
            main()
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        aside = tmp_path / "run" / "quarantine.jsonl"
        rows = [json.loads(line) for line in aside.read_text().splitlines()] if aside.exists() else []
        found = [(row["file"], row["row"], row["reason"]) for row in rows]
        return stop.value.code, found, said.out, said.err.splitlines()

    return call


def count(name, n):
    return f"{name:<18}{n:>10,}"


def written(tmp_path, *lines):
    path = tmp_path / "p.jsonl"
    path.write_bytes(b"".join((line if isinstance(line, bytes) else line.encode()) + b"\n" for line in lines))
    return path


def test_a_wrong_column_is_one_sentence_that_names_those_there_are(collect, tmp_path):
    path = written(tmp_path, '{"foo": "a", "bar": "b"}')
    code, _, _, said = collect(path)
    assert code == 1
    assert said[-1] == (
        f"reer-collect: {path}: no usable row; row 1: 'query' is missing "
        "(there are: foo, bar; source.columns.query=NAME says which)"
    )
    code, _, _, said = collect(path, "source.columns.query=prompt")
    assert code == 1
    assert said[-1].startswith(f"reer-collect: source.columns.query=prompt: no row of {path} has that column")


def test_a_row_in_another_encoding_is_set_aside_and_its_neighbours_stay(collect, tmp_path):
    code, aside, out, _ = collect(written(tmp_path, pair(1), pair(2, note="café").encode("cp1252"), pair(3)))
    assert (code, [row[1] for row in aside]) == (2, [2])
    assert aside[0][2].startswith("not UTF-8 (byte ")
    assert count("written", 2) in out


def test_a_line_that_is_too_long_is_set_aside_and_one_that_is_read_is_counted_by_its_length(
    collect, tmp_path, monkeypatch
):
    monkeypatch.setattr(rows, "LONGEST", 200_000)
    book, endless = pair(2, answer="word " * 20_000), pair(3, answer="word " * 60_000)
    code, aside, out, _ = collect(written(tmp_path, pair(1), book, endless, pair(4)))
    assert code == 2
    assert aside == [("p.jsonl", 3, "has 300,059 bytes; the most that a row may have is 200,000")]
    assert count("max_words", -1) in out
    assert count("written", 2) in out


def test_an_id_that_two_sources_share_is_set_aside_with_where_it_stood_first(collect, tmp_path):
    folder = tmp_path / "sources"
    folder.mkdir()
    (folder / "a.jsonl").write_text(pair(1) + "\n" + pair(2) + "\n")
    (folder / "b.jsonl").write_text(pair(3, id="r2") + "\n" + pair(4) + "\n")
    code, aside, _, _ = collect(folder)
    assert (code, aside) == (2, [("b.jsonl", 1, "id 'r2' occurs twice (first in row 2 of a.jsonl)")])


def test_a_language_that_is_not_known_is_said_and_one_that_is_not_wanted_is_refused_by_name(collect, tmp_path):
    code, _, out, _ = collect(written(tmp_path, pair(1), pair(2, language="klingon")))
    assert code == 0
    assert "language 'klingon' is not known (1 row): that of the answer is taken" in out
    unclear = pair(3, answer=" ".join(f"{n} {n * n} ##" for n in range(99)))
    english = pair(4, answer="The boat came home late. " + " ".join(f"Nobody saw lamp {n}." for n in range(30)))
    code, _, out, _ = collect(written(tmp_path, unclear, english), "quality.languages=[en]", f"run_dir={tmp_path}/two")
    assert code == 0
    assert count("languages", -1) in out


def test_an_offline_source_is_one_sentence_with_the_way_out(collect, tmp_path, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    code, _, _, said = collect("null", "source=longwriter_6k")
    assert code == 1
    assert said[-1].startswith("reer-collect: THUDM/LongWriter-6k: cannot be loaded (")
    assert said[-1].endswith("; offline? source.path=FOLDER reads a local copy)")
    assert not (tmp_path / "run").exists()


def test_books_that_hold_nothing_or_too_much_are_set_aside_and_the_others_are_asked_about(
    collect, tmp_path, monkeypatch
):
    folder = tmp_path / "works"
    folder.mkdir()
    (folder / "empty.txt").write_text("\n \n")
    (folder / "latin.txt").write_bytes("caf\xe9".encode("latin-1"))
    pdf(folder / "scan.pdf", [[], []])
    epub(folder / "bomb.epub", {"one.xhtml": "<p>" + "rain " * 20_000 + "</p>"})
    monkeypatch.setattr(books, "UNPACKED", 50_000)
    (folder / "whole.txt").write_text(" ".join(f"Lamp {n} went out by port {n * n}." for n in range(60)))
    code, aside, _, _ = collect(
        folder, "source=texts", "backend@generator=fake", "backend@scorer=fake", "source.min_words=30",
        "ask.min_fit=null", "ask.likelihood=false",
    )  # fmt: skip
    assert code == 2
    reasons = {name: reason for name, _, reason in aside}
    assert list(reasons) == ["bomb.epub", "empty.txt", "latin.txt", "scan.pdf"]
    assert reasons["bomb.epub"].startswith("unpacks to 100,")
    assert reasons["empty.txt"] == "is empty"
    assert reasons["latin.txt"] == "is not utf-8 at byte 3; save it as UTF-8"
    assert "its 2 pages hold no text" in reasons["scan.pdf"]
