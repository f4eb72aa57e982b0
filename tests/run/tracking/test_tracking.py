"""Trackers: what reaches W&B's files, under which run id, and what a wrong setting says."""

import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from offline_runs import runs

from reer.config import SynthesizeConfig, TrackingConfig
from reer.errors import ConfigError
from reer.run.tracking import (
    UPLOADS,
    Lineage,
    Spared,
    Tracker,
    artifact_name,
    check_tracking,
    open_tracker,
    record,
    run_id,
)


def records(run_dir: Path) -> list[bytes]:
    """The contents of every offline run file, oldest first, once wandb has written all of them."""
    import wandb

    wandb.teardown()
    files = (run_dir / "wandb").glob("offline-run-*/run-*.wandb")
    return [file.read_bytes() for file in sorted(files, key=lambda file: file.stat().st_mtime_ns)]


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What we log; wandb logs much more."""
    return [record.getMessage() for record in caplog.records if record.name == "reer.run.tracking"]


def test_none_keeps_nothing(tmp_path: Path) -> None:
    tracker = open_tracker(TrackingConfig(), name="demo", stage="sft", run_dir=tmp_path, config={})
    tracker.log({"loss": 1.0}, step=1)
    tracker.summary({"loss": 1.0})
    tracker.artifact(tmp_path / "missing", "model")
    tracker.finish()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("keyless")
def test_wandb_without_a_key_writes_offline_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    made = {kind: run_dir / f"{kind}.file" for kind in UPLOADS}
    for path in made.values():
        path.write_text("content")
    for upload in (["results"], ["model", "page"]):  # the second is a rerun
        tracking = TrackingConfig(kind="wandb", upload=upload)
        tracker = open_tracker(tracking, name="demo", stage="sft", run_dir=run_dir, config={"seed": 7})
        tracker.log({"training_loss": 2.5}, step=1)
        tracker.summary({"held_out_nll": 1.25})
        for kind, path in made.items():
            tracker.artifact(path, kind)
        tracker.finish()
    offline = f"tracking: the run is kept offline; `wandb sync {run_dir}/wandb/offline-run-*` uploads it\n"
    assert capsys.readouterr().out == 2 * offline
    first, second = records(run_dir)
    identity = run_id("demo", "sft", run_dir).encode()
    for key in (b"training_loss", b"held_out_nll", b"seed", identity):
        assert key in first
        assert key in second
    sent = [{kind for kind in UPLOADS if f"demo-sft-{kind}".encode() in found} for found in (first, second)]
    assert sent == [{"results"}, {"model", "page"}]
    assert TrackingConfig().upload == ["results", "page", "tables"]


@pytest.mark.usefixtures("keyless")
def test_runs_are_grouped_by_what_is_asked_for(tmp_path: Path) -> None:
    tracking = TrackingConfig(kind="wandb", group="ablations/first_thinking")
    open_tracker(tracking, name="stages/sft-1", stage="sft", run_dir=tmp_path, config={}).finish()
    [run] = records(tmp_path)
    assert b"ablations/first_thinking" in run


NAMES = ["a/b", "a b", "写作", "写诗", "it's 100% #1?:", "x" * 200, "x" * 201]


@pytest.mark.usefixtures("keyless")
def test_any_name_of_an_experiment_is_tracked_to_the_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for n, name in enumerate(NAMES):
        run_dir = tmp_path / str(n)
        config = SynthesizeConfig(name=name, stage="synthesize", run_dir=str(run_dir))
        config.tracking.kind = "wandb"
        run_dir.mkdir()
        (run_dir / "summary.json").write_text("{}")
        record(
            config, "synthesize", {"kept": 1}, {"results": run_dir / "summary.json"}, lineage=lambda: Lineage([], {})
        )
    assert said(caplog) == []
    for n, name in enumerate(NAMES):
        [kept] = records(tmp_path / str(n))
        assert f"{name}-synthesize"[:128].encode() in kept, "the name that is shown"
        assert artifact_name(f"{name}-synthesize-summary").encode() in kept


def test_names_of_artifacts_stay_apart() -> None:
    names = [artifact_name(name) for name in NAMES]
    assert len(set(names)) == len(NAMES)
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]{1,128}", name) for name in names)
    assert artifact_name("demo-sft-summary") == "demo-sft-summary"


def test_the_point_of_a_sweep_stands_behind_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    from reer.run.tracking.wandb_runs import _with_point

    assert _with_point("a/b", Path("runs/a/b/seed=1/sft")) == "a/b/seed=1"
    assert _with_point("a=1", Path("runs/a=1/sft")) == "a=1"
    assert _with_point("a", Path("/elsewhere/seed=1/sft")) == "a"


class Broken:
    """A tracker of which one call fails."""

    def __init__(self, fails: str) -> None:
        self.fails = fails
        self.calls: list[str] = []

    def __getattr__(self, call: str) -> Callable[..., None]:
        def made(*_: object, **__: object) -> None:
            self.calls.append(call)
            if call == self.fails:
                raise OSError(28, "No space left on device")

        return made


@pytest.mark.parametrize("fails", ["opened", "log", "summary", "artifact", "finish"])
def test_a_tracker_that_fails_is_told_once_and_left_alone(
    fails: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = Broken(fails)

    def opened() -> Tracker:
        if fails == "opened":
            raise ConnectionError("no route to host")
        return broken

    tracker = Spared(opened)
    for step in (1, 2):
        tracker.log({"loss": 1.0}, step=step)
    tracker.summary({"loss": 1.0})
    for name in ("a", "b"):
        tracker.artifact(tmp_path / name, "page")
    tracker.finish()
    [warning] = said(caplog)
    assert warning.endswith("; the run goes on without it")
    assert "No space left on device" in warning or "no route to host" in warning
    order = ["log", "log", "summary", "artifact", "artifact", "finish"]
    before = [] if fails == "opened" else order[: order.index(fails) + 1]
    last = ["finish"] if fails not in ("opened", "finish") else []
    assert broken.calls == before + last, "what was told before the failure is still closed"


DYING = """
import sys, psutil
from pathlib import Path
from reer.config import TrackingConfig
from reer.run.tracking import open_tracker
tracker = open_tracker(TrackingConfig(kind="wandb"), name="demo", stage="sft", run_dir=Path("."), config={})
for process in psutil.Process().children(recursive=True):
    process.kill()
tracker.log({"loss": 1.0}, step=1)
tracker.summary({"loss": 1.0})
tracker.finish()
sys.exit(2)
"""


@pytest.mark.usefixtures("keyless")
def test_a_service_that_dies_changes_no_exit_code(tmp_path: Path) -> None:
    command = [sys.executable, "-c", DYING]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    [warning] = done.stderr.splitlines()
    assert warning.startswith("tracking=wandb could not be ")


@pytest.mark.usefixtures("keyless")
def test_a_key_that_is_refused_leaves_the_run_offline_and_stands_in_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    canary = "c0ffee" * 7
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    with refusing_server() as address:
        monkeypatch.setenv("WANDB_API_KEY", canary)
        monkeypatch.setenv("WANDB_BASE_URL", address)
        tracker = open_tracker(TrackingConfig(kind="wandb"), name="写", stage="sft", run_dir=run_dir, config={})
        tracker.log({"training_loss": 1.0}, step=1)
        tracker.finish()
        found = records(run_dir)
    assert any(b"training_loss" in kept for kept in found)
    [warning] = said(caplog)
    assert "401" in warning
    assert warning.endswith("; the run is kept offline")
    files = [path for path in run_dir.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if canary.encode() in path.read_bytes()]


@pytest.mark.usefixtures("keyless")
@pytest.mark.parametrize(
    ("mode", "key", "sentence"),
    [("online", None, "No API key configured."), (None, "short", "API key must have 40")],
    ids=["no key", "half a key"],
)
def test_without_a_key_that_can_be_used_an_online_run_is_kept_offline(
    mode: str | None,
    key: str | None,
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if key:
        monkeypatch.setenv("WANDB_API_KEY", key)
    tracking = TrackingConfig(kind="wandb", mode=mode)
    tracker = open_tracker(tracking, name="demo", stage="sft", run_dir=tmp_path, config={})
    tracker.log({"training_loss": 1.0}, step=1)
    tracker.finish()
    assert any(b"training_loss" in kept for kept in records(tmp_path))
    [warning] = said(caplog)
    assert sentence in warning
    assert warning.endswith("; the run is kept offline")


def test_a_mode_of_the_environment_that_wandb_does_not_know_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "of")
    check_tracking(TrackingConfig())
    with pytest.raises(ConfigError, match="the environment's WANDB_MODE=of is unknown .known: online, offline"):
        check_tracking(TrackingConfig(kind="wandb"))


@pytest.mark.usefixtures("keyless")
def test_two_runs_with_one_name_are_two_runs_and_both_are_shown(tmp_path: Path) -> None:
    """Of one experiment's name in two folders: their ids differ, their names and groups need not."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        tracking = TrackingConfig(kind="wandb")
        open_tracker(tracking, name="demo", stage="sft", run_dir=tmp_path / folder, config={}).finish()
    [[one], [other]] = [runs(tmp_path / folder) for folder in ("a", "b")]
    assert one.run.run_id != other.run.run_id
    assert one.run.display_name == other.run.display_name == "demo-sft"


@pytest.mark.usefixtures("keyless")
def test_under_an_agent_of_a_sweep_the_run_is_the_agents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_RUN_ID", "agentsrun")
    for sweep, identity in ((None, run_id("demo", "sft", tmp_path)), ("s1", "agentsrun")):
        if sweep:
            monkeypatch.setenv("WANDB_SWEEP_ID", sweep)
        open_tracker(TrackingConfig(kind="wandb"), name="demo", stage="sft", run_dir=tmp_path, config={}).finish()
        assert runs(tmp_path)[-1].run.run_id == identity


@contextmanager
def refusing_server() -> Iterator[str]:
    """A W&B server that takes no key."""

    class Refuse(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = b'{"errors": [{"message": "invalid key"}]}'
            self.send_response(401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Refuse) as server:
        serving = threading.Thread(target=server.serve_forever, daemon=True)
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        serving.join()


def test_run_id_follows_name_stage_and_folder(tmp_path: Path) -> None:
    ids = {
        run_id(name, stage, tmp_path / folder)
        for name in ("a", "b")
        for stage in ("sft", "evaluate")
        for folder in ("x", "y")
    }
    assert len(ids) == 8
    assert run_id("a", "sft", tmp_path / "x") in ids


@pytest.mark.usefixtures("keyless")
def test_a_netrc_entry_means_online(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from reer.run.tracking.wandb_runs import _mode

    entry = tmp_path / "netrc"
    entry.write_text(f"machine api.wandb.ai login user password {'0' * 40}\n")
    entry.chmod(0o600)
    assert _mode(TrackingConfig(kind="wandb")) == "offline"
    monkeypatch.setenv("NETRC", str(entry))
    assert _mode(TrackingConfig(kind="wandb")) == "online"
    assert _mode(TrackingConfig(kind="wandb", mode="offline")) == "offline"


@pytest.mark.parametrize(
    ("tracking", "sentence"),
    [
        (TrackingConfig(kind="tensorbord"), "tracking.kind=tensorbord is unknown"),
        (TrackingConfig(kind="wandb", mode="on"), "tracking.mode=on is unknown"),
        (TrackingConfig(kind="wandb", project="me/reer"), "tracking.project=me/reer: W&B takes no / in the name"),
        (TrackingConfig(upload=["page", "models"]), "tracking.upload=models is unknown .known: results, page"),
    ],
)
def test_unknown_settings_are_one_sentence_before_any_work(tracking: TrackingConfig, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        check_tracking(tracking)
