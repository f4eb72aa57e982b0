import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from trl import SFTTrainer

from reer.config import SamplesConfig, SftConfig
from reer.layout import Layout
from train.running.callbacks import BEST, Samples, metric_rows
from train.sft import run

Make = Callable[..., SftConfig]
EVERY_STEP = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1}


def jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_held_out_nll_while_training_is_that_of_the_scorer_at_the_end(make_config: Make, tmp_path: Path) -> None:
    """The trainer's evaluation against the search's own scorer on the saved model."""
    run(make_config({**EVERY_STEP, "max_steps": 3}, held_out=2))
    rows = jsonl(tmp_path / "run" / "metrics.jsonl")
    assert [row["step"] for row in rows] == [1, 2, 3]
    measured = json.loads((tmp_path / "run" / "summary.json").read_text())["held_out"]
    assert rows[-1]["nll_answer"] == pytest.approx(measured["nll_answer"], abs=1e-4)
    assert rows[-1]["nll_thinking"] == pytest.approx(measured["nll_thinking"], abs=1e-4)
    assert len({row["nll_answer"] for row in rows}) == 3


def test_training_stops_where_the_answer_gets_no_likelier_and_keeps_the_best(
    make_config: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = make_config(
        {**EVERY_STEP, "max_steps": 12, "learning_rate": 0.5, "lr_scheduler_type": "constant"}, held_out=2
    )
    config.trainer.patience = 2
    run(config)
    rows = jsonl(tmp_path / "run" / "metrics.jsonl")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    best = min(rows, key=lambda row: row["nll_answer"])
    assert summary["best_step"] == best["step"]
    assert summary["steps"] == best["step"] + 2 < 12
    assert summary["held_out"]["nll_answer"] == pytest.approx(best["nll_answer"], abs=1e-4)
    assert f"stopped early: the model is that of step {best['step']}" in capsys.readouterr().out


def test_the_best_checkpoint_without_patience(make_config: Make, tmp_path: Path) -> None:
    settings = {"load_best_model_at_end": True, "max_steps": 3, "learning_rate": 0.5}
    run(make_config({**EVERY_STEP, **settings, "lr_scheduler_type": "reduce_lr_on_plateau"}, held_out=2))
    rows = jsonl(tmp_path / "run" / "metrics.jsonl")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    best = min(rows, key=lambda row: row["nll_answer"])
    assert (summary["best_step"], summary["steps"]) == (best["step"], 3)
    assert summary["held_out"]["nll_answer"] == pytest.approx(best["nll_answer"], abs=1e-4)


def test_samples_leave_checkpointing_as_it_was(
    make_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def step(self: SFTTrainer, *rest: Any, **named: Any) -> Any:
        seen.append(self.model.model.layers[0]._gradient_checkpointing_func.keywords["use_reentrant"])
        return plain(self, *rest, **named)

    plain = SFTTrainer.training_step
    monkeypatch.setattr(SFTTrainer, "training_step", step)
    kwargs = {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": True}}
    config = make_config({**EVERY_STEP, **kwargs, "max_steps": 2}, held_out=2)
    config.trainer.samples = SamplesConfig(count=1, max_new_tokens=2)
    run(config)
    assert seen == [True, True]


def test_the_model_writes_at_each_evaluation(make_config: Make, tmp_path: Path) -> None:
    config = make_config({**EVERY_STEP, "max_steps": 2}, held_out=2)
    config.trainer.samples = SamplesConfig(count=2, max_new_tokens=5)
    run(config)
    samples = jsonl(tmp_path / "run" / "samples.jsonl")
    assert [sample["step"] for sample in samples] == [1, 1, 2, 2]
    for row in jsonl(tmp_path / "run" / "metrics.jsonl"):
        own = [sample for sample in samples if sample["step"] == row["step"]]
        for name in ("well_formed", "loop_rate", "truncated"):
            assert row[name] == sum(sample[name] for sample in own) / 2


def test_samples_of_steps_that_are_done_again_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_text("".join(json.dumps({"step": step, "text": "t"}) + "\n" for step in (1, 2, 3)))
    layout: Any = SimpleNamespace(spec=Layout)
    trainer: Any = None
    callback = Samples(path, [(1,)], layout, SamplesConfig(count=1), trainer)
    callback.on_train_begin(None, SimpleNamespace(global_step=2), None)
    assert [row["step"] for row in jsonl(path)] == [1, 2]


def test_a_step_is_one_row_whatever_was_logged_of_it() -> None:
    history = [
        {"step": 1, "loss": 2.0, "epoch": 0.5, "total_flos": 1.0},
        {"step": 1, BEST: 3.0, "eval_runtime": 9.0},
        {"step": 1, "eval_thinking_loss": 4.0},
        {"step": 1, "eval_loop_rate": 0.5},
        {"step": 2, "train_runtime": 7.0},
    ]
    assert metric_rows(history) == [
        {"step": 1, "loss": 2.0, "epoch": 0.5, "nll_answer": 3.0, "nll_thinking": 4.0, "loop_rate": 0.5}
    ]
