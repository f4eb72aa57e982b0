"""The stage reer-sft: its contract, resuming, and mistakes."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from reer.backend.models import load_tokenizer
from reer.config import PeftConfig, SftConfig
from reer.errors import ConfigError, DataError, ModelError, RunDirError
from reer.layout import Layout
from reer.run.launch import exclusive
from train.arguments.trainer import trainer_arguments
from train.examples.data import prepare
from train.examples.work import read
from train.running import checkpoints
from train.running.record import begun
from train.running.training import build_trainer, runnable
from train.sft import run

Make = Callable[..., SftConfig]
LORA = PeftConfig(method="lora", args={"r": 4, "lora_alpha": 8, "target_modules": "all-linear"})


def trainer_of(config: SftConfig) -> Any:
    work = read(config)
    return build_trainer(config, work, trainer_arguments(config, work.dtype, work.amount))


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def test_a_run_leaves_its_contract(make_config: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = make_config(held_out=1)
    assert run(config) == 0
    folder = tmp_path / "run"
    summary = json.loads((folder / "summary.json").read_text())
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in metrics] == [1, 2]
    assert summary["loss"] == {"first": metrics[0]["loss"], "last": metrics[-1]["loss"]}
    assert (summary["examples"], summary["steps"], summary["held_out"]["examples"]) == (3, 2, 1)
    assert summary["held_out"]["nll_answer"] > 0
    assert summary["model"] == str(folder / "model")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert f"date: '{manifest['date']}'" in (folder / "config.yaml").read_text()
    card = (folder / "model" / "README.md").read_text()
    assert manifest["inputs"][0]["sha256"] in card
    assert "public domain" in card
    assert f"loss          {summary['loss']['first']:.3f} -> {summary['loss']['last']:.3f}" in capsys.readouterr().out


def test_held_out_nll_is_that_of_the_saved_model(make_config: Make, tmp_path: Path) -> None:
    """Against plain transformers and the texts, without our layout code."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from train.examples.data import split

    config = make_config(held_out=1)
    run(config)
    layout = Layout("think", load_tokenizer(config.model))
    examples = prepare(Path(config.data.trajectories), layout, 512).examples
    held_out = split(examples, 1, config.seed)[1][0].id
    row = next(
        row
        for row in map(json.loads, Path(config.data.trajectories).read_text(encoding="utf-8").splitlines())
        if row["id"] == held_out
    )
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run" / "model")
    parts = ["<think>\n", row["thinking"], "\n</think>\n\n", row["answer"]]
    prompt = f"<|im_start|>user\n{row['query']}<|im_end|>\n<|im_start|>assistant\n"
    start, *rest = [tokenizer.encode(text, add_special_tokens=False) for text in [prompt, *parts]]
    block, answer = sum(rest[:3], []), rest[3]
    logprobs = model(torch.tensor([start + block + answer])).logits[0].log_softmax(-1)
    nll = [-logprobs[n - 1, token].item() for n, token in enumerate(start + block + answer) if n >= len(start)]
    measured = json.loads((tmp_path / "run" / "summary.json").read_text())["held_out"]
    assert measured["nll_thinking"] == pytest.approx(sum(nll[: len(block)]) / len(block), abs=1e-4)
    assert measured["nll_answer"] == pytest.approx(sum(nll[len(block) :]) / len(answer), abs=1e-4)


def test_a_finished_run_is_not_done_again(
    make_config: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = make_config()
    run(config)
    said = capsys.readouterr().out
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "model").iterdir()}
    started = time.monotonic()
    assert run(config) == 0
    assert time.monotonic() - started < 1
    assert capsys.readouterr().out == said
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "model").iterdir()} == files


def test_other_settings_or_data_on_an_old_folder_are_refused(make_config: Make) -> None:
    config = make_config()
    run(config)
    with pytest.raises(RunDirError, match="trainer.args.learning_rate"):
        run(make_config({"learning_rate": 0.5}))
    other = make_config()
    other.layout.name = "answer_tags"
    with pytest.raises(RunDirError, match="layout.name .was think, now answer_tags"):
        run(other)
    with Path(config.data.trajectories).open("a") as file:
        file.write("\n")
    with pytest.raises(RunDirError, match="was made from another version of .*trajectories.jsonl"):
        run(config)


def test_an_interrupted_run_ends_like_an_uninterrupted_one(
    make_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import load_file
    from trl import SFTTrainer

    args = {"max_steps": 4, "save_strategy": "steps", "save_steps": 1, "per_device_train_batch_size": 1}
    whole = make_config(args)
    whole.run_dir = str(tmp_path / "whole")
    run(whole)

    def stop_at_third(self: SFTTrainer, *rest: Any, **named: Any) -> Any:
        if self.state.global_step == 3:
            raise KeyboardInterrupt
        return step(self, *rest, **named)

    step = SFTTrainer.training_step
    config = make_config(args)
    with monkeypatch.context() as patch:
        patch.setattr(SFTTrainer, "training_step", stop_at_third)
        with pytest.raises(KeyboardInterrupt):
            run(config)
    folder = tmp_path / "run" / "checkpoints"
    with (folder / "checkpoint-3" / "optimizer.pt").open("r+b") as file:
        file.truncate(100)  # as if killed while saving it
    assert checkpoints.newest(folder) == folder / "checkpoint-2"
    assert run(config) == 0
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    wanted = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    assert [row["loss"] for row in rows] == pytest.approx([row["loss"] for row in wanted], abs=1e-5)
    assert [row["num_tokens"] for row in rows] == [row["num_tokens"] for row in wanted]
    a, b = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("run", "whole"))
    assert all(torch.allclose(a[name], b[name], atol=1e-6) for name in b)


def test_what_training_has_room_for_is_measured_too(make_config: Make, tmp_path: Path) -> None:
    """`model.max_length` is that of the search; `trainer.args.max_length` may be more."""
    config = make_config({"max_length": 512}, held_out=2)
    config.model.max_length = 64
    assert run(config) == 0
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["held_out"]["examples"] == 2


def test_activations_are_moved_off_a_gpu_alone(make_config: Make) -> None:
    with pytest.raises(ConfigError, match="activation_offloading=true moves activations off a GPU, and there is none"):
        run(make_config({"activation_offloading": True}))


@pytest.mark.parametrize("stopped_early", [False, True])
def test_interrupted_after_its_last_step_it_takes_no_other(
    make_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped_early: bool
) -> None:
    """The end lies within an epoch, and its checkpoint is whole; only the model was not saved."""

    def interrupt(*rest: Any) -> None:
        raise KeyboardInterrupt

    args = {"save_strategy": "steps", "save_steps": 1, "per_device_train_batch_size": 1}
    if stopped_early:
        still = {"learning_rate": 0.0, "eval_strategy": "steps", "eval_steps": 1}
        config = make_config({**args, **still, "max_steps": 7}, held_out=1)
        config.trainer.patience = 2
    else:
        config = make_config({**args, "max_steps": 2})
    run_dir, states = tmp_path / "run", []
    monkeypatch.setattr("train.model.save_trained", lambda trainer, *rest: states.append(trainer.state) or interrupt())
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run(config)
    monkeypatch.undo()
    assert run(config) == 0
    assert [state.global_step for state in states] == [3 if stopped_early else 2] * 2
    metrics = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in metrics] == list(range(1, 1 + states[0].global_step))
    assert json.loads((run_dir / "summary.json").read_text())["steps"] == states[0].global_step


def test_interrupted_after_training_it_is_not_trained_again(
    make_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*rest: Any, **named: Any) -> Any:
        raise KeyboardInterrupt

    config = make_config(held_out=1)
    with monkeypatch.context() as patch:
        patch.setattr("train.running.measure.measure", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(config)
    assert not (tmp_path / "run" / "summary.json").exists()
    monkeypatch.setattr("train.running.training.train", interrupt)
    assert run(config) == 0
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["held_out"]["nll_answer"] > 0


def test_one_run_folder_is_for_one_command_at_a_time(make_config: Make, tmp_path: Path) -> None:
    config = make_config()
    (tmp_path / "run").mkdir()
    with (
        exclusive(tmp_path / "run"),
        pytest.raises(RunDirError, match="another process is working in this run folder"),
    ):
        run(config)
    assert run(config) == 0


def test_dry_run_counts_what_training_does_and_writes_nothing(
    make_config: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = {"max_steps": -1, "num_train_epochs": 3, "per_device_train_batch_size": 1, "gradient_accumulation_steps": 3}
    assert run(make_config(args, dry_run=True)) == 0
    assert not (tmp_path / "run").exists()
    said = {line[:17].strip(): line[17:].split()[0] for line in capsys.readouterr().out.splitlines()[:5]}
    run(make_config(args))
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert said["optimiser steps"] == str(summary["steps"]) == "6"
    assert said["tokens per epoch"] == f"{summary['tokens']:,}"


def test_left_out_rows_are_counted_and_named(make_config: Make, trajectories: Path, tmp_path: Path) -> None:
    with trajectories.open("a") as file:
        file.write("{\n" + json.dumps({"id": "long", "query": "q", "thinking": "t", "answer": "word " * 600}) + "\n")
    config = make_config()
    config.trainer.max_dropped = 0.2
    assert run(config) == 2
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["examples"], summary["dropped"], summary["quarantined"]) == (4, {"too_long": 1}, 1)
    left_out = [json.loads(line) for line in (tmp_path / "run" / "quarantine.jsonl").read_text().splitlines()]
    assert [(row["status"], row.get("row"), row.get("id")) for row in left_out] == [
        ("quarantined", 5, None),
        ("dropped", None, "long"),
    ]
    assert run(config) == 2


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        ({"learning_rat": 1}, "trainer.args.learning_rat is unknown to SFTConfig: did you mean learning_rate?"),
        ({"output_dir": "x"}, "trainer.args.output_dir is set by the stage itself"),
        ({"lr_scheduler_type": "cosin"}, "trainer.args: cosin is not a valid SchedulerType"),
        ({"loss_type": "best"}, "Invalid `loss_type` best"),
    ],
)
def test_wrong_trainer_arguments_are_one_sentence(
    make_config: Make, tmp_path: Path, args: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        run(make_config(args))
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not begun(tmp_path / "run")  # the corrected command may use the same folder


@pytest.mark.parametrize(
    ("peft", "sentence"),
    [
        (PeftConfig(method="lorra"), "peft.method=lorra is unknown: choose lora, qlora or null"),
        (PeftConfig(method="lora", args={"rank": 4}), "peft.args.rank is unknown to LoraConfig"),
        (PeftConfig(method="lora", args={"r": 0}), "peft.args: "),
        (PeftConfig(method="lora", args={"target_modules": ["q_prj"]}), "peft.args.target_modules: "),
    ],
)
def test_wrong_adapters_are_one_sentence(make_config: Make, tmp_path: Path, peft: PeftConfig, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        run(make_config(peft=peft))
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not begun(tmp_path / "run")


def test_no_gpu_or_no_data_or_no_folder_is_one_sentence(make_config: Make, tmp_path: Path) -> None:
    config = make_config()
    config.data.trajectories = str(tmp_path / "nothing.jsonl")
    with pytest.raises(DataError, match="nothing.jsonl: no such file: run reer-synthesize first"):
        run(config)
    config = make_config()
    config.run_dir = "/dev/null/run"
    with pytest.raises(RunDirError, match="run_dir=/dev/null/run cannot be written"):
        run(config)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA"), RuntimeError("can't allocate memory: you tried")])
def test_too_little_memory_is_one_sentence_that_says_what_to_change(make_config: Make, error: Exception) -> None:
    with pytest.raises(ModelError) as caught, runnable(make_config()):
        raise error
    said = str(caught.value)
    assert said.startswith("out of memory with 2 x 512 tokens at once: reer-plan tells what fits")
    assert "\n" not in said
    with pytest.raises(RuntimeError, match="something else"), runnable(make_config()):
        raise RuntimeError("something else")
