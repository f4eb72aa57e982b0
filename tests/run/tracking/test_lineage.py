"""Lineage online, where a run uses artifacts, and afterwards by scripts/wandb_link, where it was kept offline."""

import json
import threading
from collections.abc import Callable, Iterable
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from reer.config import TrackingConfig
from reer.run.tracking import Lineage, Tracker, open_tracker, wandb_runs
from reer.run.tracking.records import Item, file_item, model_item, stage_lineage

SCRIPT = Path(__file__).parents[3] / "scripts" / "wandb_link"
PAIRS, MODEL, MADE = (Item(kind, f"{kind}.jsonl", kind * 8) for kind in ("pairs", "model", "trajectories"))
LINEAGE = Lineage([PAIRS, MODEL], {MADE: [PAIRS, MODEL]})


class OnlineRun:
    """Of a run, what lineage needs; `use_artifact` does as it is told."""

    offline, step = False, 0

    def __init__(self, use: Callable[[Any], None]) -> None:
        self.use_artifact = use
        self.config = SimpleNamespace(update=lambda values, **_: self.told.update(values))
        self.told: dict[str, Any] = {}
        self.made: list[Any] = []
        self.finished = False

    def log_artifact(self, artifact: Any) -> None:
        self.made.append(artifact)

    def finish(self) -> None:
        self.finished = True


def opened(run: OnlineRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tracker:
    monkeypatch.setattr(wandb_runs, "_begin", lambda *_: run)
    tracking = TrackingConfig(kind="wandb", mode="online")
    return open_tracker(tracking, name="demo", stage="sft", run_dir=tmp_path, config={})


@pytest.mark.usefixtures("keyless")
def test_online_a_stage_uses_what_it_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[Any] = []
    run = OnlineRun(used.append)
    tracker = opened(run, tmp_path, monkeypatch)
    tracker.lineage(lambda: LINEAGE)
    assert [(artifact.name, artifact.type) for artifact in used] == [(PAIRS.name, "pairs"), (MODEL.name, "model")]
    [made] = run.made
    assert [row["name"] for row in made.metadata["inputs"]] == [PAIRS.name, MODEL.name]
    assert run.told["lineage"] == LINEAGE.as_dict()
    assert wandb_runs.reference(MADE).digest == made.digest, "whoever reads it makes the same artifact"
    assert wandb_runs.reference(Item("model", "elsewhere", MODEL.hash)).digest == used[1].digest


@pytest.mark.usefixtures("keyless")
@pytest.mark.parametrize("fault", ["refused", "silent"])
def test_an_input_that_is_not_taken_is_told_and_the_run_is_tracked_on(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(wandb_runs, "FOR_USE", 0.05)
    over, used = threading.Event(), []

    def use(artifact: Any) -> None:
        if artifact.type == "model":
            used.append(artifact.name)
            return
        if fault == "refused":
            raise ValueError("no such project")
        over.wait(30)

    run = OnlineRun(use)
    tracker = opened(run, tmp_path, monkeypatch)
    tracker.lineage(lambda: LINEAGE)
    tracker.artifact(tmp_path, "results")
    tracker.finish()
    over.set()
    [warning] = [record.getMessage() for record in caplog.records if record.name == "reer.run.tracking"]
    reason = "no such project" if fault == "refused" else "no answer within 0 s"
    later = "scripts/wandb_link links it later"
    assert warning == f"tracking=wandb: input {PAIRS.name} is not linked ({reason}); {later}"
    assert used == [MODEL.name], "the next input is used"
    assert len(run.made) == 2, "what comes after it is tracked"
    assert run.finished


def test_a_tracker_of_nothing_hashes_nothing(tmp_path: Path) -> None:
    tracker = open_tracker(TrackingConfig(), name="demo", stage="sft", run_dir=tmp_path, config={})
    tracker.lineage(lambda: pytest.fail("asked for"))
    tracker.tables(lambda: pytest.fail("asked for"))


def test_a_file_is_named_by_what_it_is_and_holds(tmp_path: Path) -> None:
    for name in ("trajectories.jsonl", "mix.parquet", "fables.jsonl", "mix.jsonl"):
        (tmp_path / name).write_text("{}\n")
    kinds = [file_item(tmp_path / name).kind for name in ("trajectories.jsonl", "mix.parquet", "fables.jsonl")]
    assert kinds == ["trajectories", "mix", "data"]
    inputs = [{"path": "here/fables.jsonl", "sha256": "0" * 64}]
    (tmp_path / "manifest.json").write_text(json.dumps({"inputs": inputs}))
    model = model_item("org/model", None, "1")
    found = stage_lineage(tmp_path, ("mix.jsonl", "missing.jsonl"), models=[model, model], otherwise="pairs")
    assert found.inputs == [Item("pairs", "here/fables.jsonl", "0" * 64), model]
    assert found.outputs == {file_item(tmp_path / "mix.jsonl"): found.inputs}
    assert model.name != model_item("org/model", None, "2").name


class Api:
    """A project of W&B: artifacts by name, and runs with their configs."""

    def __init__(self, runs: Iterable[Any], artifacts: Iterable[str]) -> None:
        self.all, self.artifacts = list(runs), set(artifacts)

    def runs(self, project: str, filters: Any) -> list[Any]:
        assert project == "me/reer"
        return [run for run in self.all if not filters or run.group == filters["group"]]

    def artifact_exists(self, name: str) -> bool:
        return name.removesuffix(":latest").removeprefix("me/reer/") in self.artifacts

    def artifact(self, name: str) -> Any:
        assert self.artifact_exists(name)
        return SimpleNamespace(name=name.removeprefix("me/reer/").replace(":latest", ":v0"))


class SyncedRun:
    """A run that was kept offline."""

    def __init__(self, group: str, config: dict[str, Any]) -> None:
        self.name, self.group, self.config, self.used = f"{group}-sft", group, config, []

    def used_artifacts(self) -> list[Any]:
        return list(self.used)

    def use_artifact(self, artifact: Any) -> None:
        self.used.append(artifact)


def script() -> Any:
    loader = SourceFileLoader("wandb_link", str(SCRIPT))
    module = module_from_spec(spec_from_loader("wandb_link", loader))  # type: ignore[arg-type]
    loader.exec_module(module)
    return module


def test_synced_runs_are_linked_once_and_what_nobody_made_is_logged(capsys: pytest.CaptureFixture[str]) -> None:
    searched = SyncedRun("demo", {"lineage": LINEAGE.as_dict()})
    trained = SyncedRun("demo", {"lineage": Lineage([MADE, MODEL], {}).as_dict()})
    other = SyncedRun("other", {"learning_rate": 1})
    api, logged = Api([searched, trained, other], [MADE.name]), []

    def log(items: Iterable[Item]) -> None:
        logged.extend(items)
        api.artifacts.update(item.name for item in logged)

    for group in (None, "demo"):
        script().link(api, "me/reer", group, log)
    assert logged == [PAIRS, MODEL]
    assert [artifact.name for artifact in searched.used] == [f"{PAIRS.name}:v0", f"{MODEL.name}:v0"]
    assert [artifact.name for artifact in trained.used] == [f"{MADE.name}:v0", f"{MODEL.name}:v0"]
    assert other.used == []
    assert capsys.readouterr().out.splitlines() == [
        "2 runs of 3 say what they read: 4 inputs linked, 2 of no run",
        "2 runs of 2 say what they read: 0 inputs linked, 0 of no run",
    ]


def test_an_artifact_that_is_gone_is_told_and_the_others_are_linked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = SyncedRun("demo", {"lineage": LINEAGE.as_dict()})
    api = Api([run], [PAIRS.name, MODEL.name])
    given = api.artifact

    def artifact(name: str) -> Any:
        if PAIRS.name in name:
            raise ValueError("it was deleted")
        return given(name)

    monkeypatch.setattr(api, "artifact", artifact)
    with pytest.raises(SystemExit, match="1 could not be linked; the same command tries them again"):
        script().link(api, "me/reer", None, lambda _: pytest.fail("nothing to log"))
    assert [used.name for used in run.used] == [f"{MODEL.name}:v0"]
    assert f"demo-sft: {PAIRS.name} is not linked (it was deleted)" in capsys.readouterr().err
