"""A chain kept offline, read back from its files: history, tables, units, artifacts, hashes from stage to stage."""

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from offline_runs import OfflineRun, runs

import eval.run as evaluating
from reer import synthesize
from train import mix, sft

STAGES = {"synthesize": synthesize.main, "mix": mix.main, "sft": sft.main, "evaluate": evaluating.main}
FAKE = ("experiment=fake", "name=chain", "tracking=wandb", "seed=3")
TRAINED = (
    "data.trajectories=runs/chain/mix/mix.jsonl", "trainer=demo", "++trainer.args.num_train_epochs=1",
    "++trainer.args.max_length=2048", "++trainer.args.max_steps=2", "++trainer.args.logging_steps=1",
    "trainer.held_out=1", "model.device=cpu", "model.dtype=float32",
)  # fmt: skip


def chain(command: Callable[..., Any], tiny_model: Path) -> dict[str, OfflineRun]:
    """Every stage's run, of four searched pairs and a model that is trained on them."""
    model = f"model.path={tiny_model}"
    words = {
        "synthesize": ["data.limit=4"],
        "mix": [],
        "sft": [model, *TRAINED],
        "evaluate": ["benchmark.limit=2", "backend@evaluate.backend=hf", "backend@scorer=hf",
                     model, "model.device=cpu", "model.dtype=float32", "evaluate.model_path=runs/chain/sft/model",
                     "evaluate.label=tuned", "benchmark.max_tokens=8", "benchmark.thinking_tokens=4",
                     "layout.date=2026-11-28"],
    }  # fmt: skip
    for stage, main in STAGES.items():
        code, said, told = command(main, *FAKE, *words[stage])
        assert code in (0, 2), said + told
        assert "tracking: the run is kept offline" in said
        assert "could not" not in told
    folders = {"synthesize": "synthesize", "mix": "mix", "sft": "sft", "evaluate": "evaluate-tuned/reasoning"}
    return {stage: runs(Path("runs/chain", folder))[-1] for stage, folder in folders.items()}


def hash_of(path: str) -> str:
    return sha256(Path(path).read_bytes()).hexdigest()


def made_by(run: OfflineRun) -> dict[str, Any]:
    return {row["path"]: row for row in run.config["lineage"]["outputs"]}


def read_by(run: OfflineRun) -> dict[str, Any]:
    return {row["path"]: row for row in run.config["lineage"]["inputs"]}


def check_lineage(chain: dict[str, OfflineRun]) -> None:
    """Each stage reads what the one before made."""
    ways = [
        ("synthesize", "mix", "runs/chain/synthesize/trajectories.jsonl"),
        ("mix", "sft", "runs/chain/mix/mix.jsonl"),
        ("sft", "evaluate", "runs/chain/sft/model"),
    ]
    for before, after, path in ways:
        made, read = made_by(chain[before])[path], read_by(chain[after])[path]
        assert made == read
        assert chain[before].content(made["name"]) == {"kind": made["kind"], "hash": made["hash"]}
        if Path(path).is_file():
            assert made["hash"] == hash_of(path)
    verdicts = made_by(chain["evaluate"])["runs/chain/evaluate-tuned/reasoning/verdicts.jsonl"]
    sources = json.loads(chain["evaluate"].artifacts[verdicts["name"]].metadata)["inputs"]
    assert {row["path"] for row in sources} >= {
        "runs/chain/sft/model", "runs/chain/evaluate-tuned/reasoning/answers.jsonl",
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.usefixtures("keyless")
def test_the_whole_chain_is_linked_by_hashes_and_sends_no_weights(
    command: Callable[..., Any], tiny_model: Path
) -> None:
    found = chain(command, tiny_model)
    check_lineage(found)
    metrics = [json.loads(line) for line in Path("runs/chain/sft/metrics.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in metrics if "loss" in row]
    assert [row["loss"] for row in found["sft"].history if "loss" in row] == losses
    assert found["sft"].config["units"]["loss"] == "nats per supervised token"
    assert len(found["evaluate"].table("answers")["data"]) == 2
    assert len(found["evaluate"].table("scores_table")["data"]) == 5
    groups = {stage: (run.run.run_group, run.run.job_type) for stage, run in found.items()}
    jobs = {"evaluate": "evaluate-tuned-reasoning"}
    assert groups == {stage: ("chain", jobs.get(stage, stage)) for stage in STAGES}
    for run in found.values():
        sent = [entry.path for artifact in run.artifacts.values() for entry in artifact.manifest.contents]
        assert sent
        assert not [path for path in sent if path.endswith((".safetensors", ".jsonl", ".parquet"))]


@pytest.mark.usefixtures("keyless")
def test_a_search_is_read_back_with_its_edits_units_and_hashes(command: Callable[..., Any]) -> None:
    command(synthesize.main, *FAKE, "data.limit=4")
    [run] = runs(Path("runs/chain/synthesize"))
    rows = [json.loads(line) for line in Path("runs/chain/synthesize/trajectories.jsonl").read_text().splitlines()]
    table = run.table("trajectories")
    assert [row[0] for row in table["data"]] == [row["id"] for row in rows]
    assert "NLL (nats per answer token) final" in table["columns"]
    kept = [(row["id"], n) for row in rows for n, step in enumerate(row["steps"], 1) if step["kept"] is not None]
    edits = run.table("edits")["data"]
    assert [(edit[0], edit[1]) for edit in edits] == kept
    assert all(edit[7] < edit[6] for edit in edits), "an edit is kept because the answer is likelier"
    for place, name in ((0, "first"), (-1, "final")):
        change = fmean(row["nll"][name] - row["nll"]["none"] for row in rows)
        assert run.table("search_table")["data"][place][1] == pytest.approx(change)
    assert run.config["units"]["nll"] == "nats per answer token"
    assert run.summary["nll/final"] == pytest.approx(fmean(row["nll"]["final"] for row in rows))
    [pairs] = [row for row in read_by(run).values() if row["kind"] == "pairs"]
    assert pairs["hash"] == hash_of(pairs["path"])
    made = made_by(run)["runs/chain/synthesize/trajectories.jsonl"]
    assert made["hash"] == hash_of(made["path"])
    assert json.loads(run.artifacts[made["name"]].metadata)["inputs"][0]["hash"] == pairs["hash"]
