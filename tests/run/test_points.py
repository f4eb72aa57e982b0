"""Sweeps: every point has its folder, later stages find those of the same point, and without -m nothing changes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from collect.run import main as collect
from eval.run import main as evaluate
from reer.files.export.run import main as export
from reer.files.results import read_runs
from reer.page.overview import overview
from reer.run.launch import DONE, MISTAKE, PARTIAL, worst
from reer.run.points import folder
from reer.synthesize import main as synthesize
from train.mix import main as mix
from train.sft import main as sft

SAMPLE = ("benchmark.path=sample", "benchmark.limit=1")
FAKE = ("experiment=fake", "data.limit=1", "search.max_steps=1")


def summaries(root: Path) -> dict[str, dict]:
    return {
        str(path.parent.relative_to(root)): json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(root.rglob("summary.json"))
    }


@pytest.mark.parametrize(
    ("stage", "name"),
    [
        ("synthesize", "search=backward,seed=1"),
        ("sft", "search=backward,seed=1,trainer.args.learning_rate=1e-05"),
        ("evaluate", "benchmark.temperature=0.5,search=backward,seed=1,trainer.args.learning_rate=1e-05"),
    ],
)
def test_a_stage_is_named_by_what_it_and_those_before_it_read(stage: str, name: str) -> None:
    swept = [
        ("trainer.args.learning_rate", "1e-05"), ("seed", "1"), ("benchmark.temperature", "0.5"),
        ("search", "backward"),
    ]  # fmt: skip
    assert folder(swept, stage) == name == folder(swept[::-1], stage)


def test_values_that_would_end_a_folders_name_are_told_apart() -> None:
    values = [
        "Qwen/Qwen3-8B",
        "Qwen%2FQwen3-8B",
        "Qwen,Qwen3-8B",
        "写 作",
        "../..",
        "a\nb",
        "a" * 300,
        "a" * 301,
        "写" * 99,
    ]
    names = [folder([("model.path", value)], "synthesize") for value in values]
    assert names[0] == "model.path=Qwen%2FQwen3-8B"
    assert names[3] == "model.path=写 作"
    assert len(set(names)) == len(values)
    assert all("/" not in name and "\n" not in name and len(name.encode()) <= 160 for name in names)


def test_a_sweep_through_the_stages_and_the_report_over_it(command, tmp_path: Path, tiny_model: Path) -> None:
    sweep = ("name=写/a", "-m", "seed=1,2", "search=backward")  # search has one value, so it is in no folder's name
    assert command(synthesize, *FAKE, *sweep)[0] == DONE
    root = tmp_path / "runs" / "写" / "a"
    assert list(summaries(root)) == ["seed=1/synthesize", "seed=2/synthesize"]

    rates = ("trainer.args.learning_rate=1e-4,2e-4", f"model.path={tiny_model}", "dry_run=true")
    code, said, errors = command(sft, *FAKE, *sweep, *rates)  # it reads the trajectories of its own point
    assert (code, said.count("examples                     1  (0 more held out)")) == (DONE, 4), errors
    assert "point         seed=2,trainer.args.learning_rate=0.0002\n" in said

    assert command(evaluate, *FAKE, *sweep, "benchmark=longbench_write", *SAMPLE)[0] == DONE
    for point in ("seed=1", "seed=2"):
        results = root / point / "evaluate-fake" / "longbench_write"
        assert (results / "results.json").exists()
        frozen = (results / "config.yaml").read_text(encoding="utf-8")
        assert f"training_data: runs/写/a/{point}/synthesize/trajectories.jsonl" in frozen
    shown = overview(read_runs([root]))
    for named in ("seed=1/synthesize\n", "seed=2/synthesize\n", "fake (seed=1)", "fake (seed=2)"):
        assert named in shown


def test_every_other_stage_finds_the_same_points(command, tmp_path: Path) -> None:
    sweep = ("name=a", "-m", "seed=0,1")
    assert command(collect, *sweep, "data.limit=4")[0] == DONE
    assert command(synthesize, *FAKE, *sweep)[0] == DONE
    for stage in (mix, export):
        assert command(stage, *sweep)[0] == DONE
    found = {path.parent.relative_to("runs/a").as_posix() for path in Path("runs/a").rglob("summary.json")}
    stages = ("collect", "synthesize", "mix", "export-dataset")
    assert found == {f"seed={seed}/{stage}" for seed in (0, 1) for stage in stages}


def test_a_sweep_that_names_its_folders_itself_changes_none(command, tmp_path: Path) -> None:
    assert command(synthesize, *FAKE, "-m", "name=a,写")[0] == DONE
    assert list(summaries(tmp_path / "runs")) == ["a/synthesize", "写/synthesize"]
    assert command(synthesize, *FAKE, "-m", "seed=1,2", "run_dir=out/${seed}")[0] == DONE
    assert list(summaries(tmp_path / "out")) == ["1", "2"]


def test_without_m_and_with_one_value_the_folder_is_the_usual_one(command, tmp_path: Path) -> None:
    assert command(synthesize, *FAKE, "seed=1")[0] == DONE
    assert command(synthesize, *FAKE, "-m", "seed=1")[0] == DONE
    assert list(summaries(tmp_path / "runs")) == ["fake/synthesize"]


def test_the_exit_code_of_a_sweep_is_that_of_its_worst_job(command, tmp_path: Path) -> None:
    assert (worst([DONE, PARTIAL, MISTAKE]), worst([PARTIAL, DONE]), worst([])) == (MISTAKE, PARTIAL, DONE)
    good = {"id": "a", "query": "Write of rain.", "answer": "Rain fell on the roof all night. Nobody slept."}
    (tmp_path / "a.jsonl").write_text(json.dumps(good))
    (tmp_path / "b.jsonl").write_text(json.dumps(good) + "\n{}\n")
    paths = "data.path=b.jsonl,nowhere.jsonl,a.jsonl"
    code, _, said = command(synthesize, *FAKE, "data.limit=2", "data=files", "-m", paths)
    assert code == MISTAKE
    assert "reer-synthesize: at data.path=nowhere.jsonl: nowhere.jsonl: no such file" in said
    done = {name: found["examples"]["quarantined"] for name, found in summaries(tmp_path / "runs" / "fake").items()}
    assert done == {"data.path=a.jsonl/synthesize": 0, "data.path=b.jsonl/synthesize": 1}
    assert command(synthesize, *FAKE, "data.limit=2", "data=files", "-m", "data.path=b.jsonl,a.jsonl")[0] == PARTIAL


@pytest.mark.slow
def test_points_as_jobs_of_submitit_and_one_that_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    command = [sys.executable, "-m", "reer.synthesize", *FAKE, "name=a", "hydra/launcher=submitit_local", "-m"]
    for words, code in ((["seed=0,1"], DONE), (["seed=2,3", "data=files", "data.path=nowhere"], MISTAKE)):
        done = subprocess.run([*command, *words], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
    assert len(list(tmp_path.glob("runs/a/seed=*/synthesize/summary.json"))) == 2
