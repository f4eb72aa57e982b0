"""Trackers: what reaches W&B's files, under which run id, and what a wrong setting says."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from reer.config import TrackingConfig
from reer.errors import ConfigError
from reer.run.tracking import open_tracker, run_id


@pytest.fixture
def keyless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A machine where nobody has logged in to W&B."""
    for variable in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "data"))
    yield
    import wandb

    wandb.teardown()


def records(run_dir: Path) -> list[bytes]:
    """The contents of every offline run file, oldest first, once wandb has written all of them."""
    import wandb

    wandb.teardown()
    files = (run_dir / "wandb").glob("offline-run-*/run-*.wandb")
    return [file.read_bytes() for file in sorted(files, key=lambda file: file.stat().st_mtime_ns)]


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
    model = run_dir / "model.safetensors"
    model.write_bytes(b"weights")
    for _ in range(2):  # the second is a rerun
        tracker = open_tracker(
            TrackingConfig(kind="wandb"), name="demo", stage="sft", run_dir=run_dir, config={"seed": 7}
        )
        tracker.log({"training_loss": 2.5}, step=1)
        tracker.summary({"held_out_nll": 1.25})
        tracker.artifact(model, "model")
        tracker.finish()
    said = capsys.readouterr().out
    assert said.count("\n") == 2
    assert "offline" in said
    assert "wandb sync" in said
    first, second = records(run_dir)
    identity = run_id("demo", "sft", run_dir).encode()
    for key in (b"training_loss", b"held_out_nll", b"seed", b"demo-sft-model", identity):
        assert key in first
        assert key in second


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
    from reer.run.tracking import _mode

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
    ],
)
def test_unknown_settings_are_one_sentence(tracking: TrackingConfig, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=sentence):
        open_tracker(tracking, name="demo", stage="sft", run_dir=tmp_path, config={})
