"""The plan of a config, from the command line to the table."""

import functools
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module

from reer.config import ModelConfig, PeftConfig, PlanConfig, PlanningConfig, SftConfig, load, register
from reer.errors import ConfigError, ModelError
from train.plan import CARDS, GB, find_card, needed, run, schedule, table
from train.planning.remedies import remedies
from train.planning.setup import Reading, read
from train.sft import run as train

ROOT = Path(__file__).parents[2]
OPTIONS = [
    (path.parent.name, path.stem) for group in ("deepspeed", "peft") for path in (ROOT / "conf" / group).glob("*")
]
EXPERIMENTS = sorted(path.stem for path in (ROOT / "conf" / "experiment").glob("deepwriter*"))


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No runs/ to count, and no hub."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def composed(*overrides: str) -> PlanningConfig:
    register()
    with initialize_config_module("reer.conf", version_base="1.3"):
        return load(compose("plan", overrides=list(overrides)), PlanningConfig)


@functools.cache
def plan(*overrides: str) -> Reading:
    return read(composed("model=qwen3_8b_base", *overrides))


def total(*overrides: str) -> float:
    return needed(plan(*overrides)).total / GB


def text(*overrides: str) -> str:
    config = composed(*overrides)
    return "\n".join(table(read(config), find_card(config)))


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_fits_where_it_says(experiment: str) -> None:
    said = text(f"experiment={experiment}")
    assert "of 80: fits" in said
    assert "GPU-hours" in said
    assert "$" not in said  # no price is invented
    assert "price            none given" in said


def test_the_paper_s_model_on_eight_gpus() -> None:
    """16.4 GB of states each (an eighth of 131), 4.8 GB of checkpoints (36 layers x 16,384 x 4,096 x 2 bytes)."""
    reading = read(composed("experiment=deepwriter_8b"))
    parts = needed(reading).parts
    states = ("weights", "gradients", "float32 master weights", "optimiser states")
    assert sum(parts[part] for part in states) / GB == pytest.approx(16.4, abs=0.05)
    assert 36 * reading.kept.layer / GB == pytest.approx(4.83, abs=0.01)


def test_one_gpu_with_stochastic_rounding_holds_six_bytes_a_parameter() -> None:
    parts = needed(read(composed("experiment=deepwriter_8b_1gpu"))).parts
    for part in ("weights", "gradients", "optimiser states"):
        assert parts[part] / GB == pytest.approx(16.38, abs=0.01)
    assert "float32 master weights" not in parts


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_of_deepspeed_and_peft_is_planned(group: str, option: str) -> None:
    assert total(f"{group}={option}", "launch.processes=8") > 0


def test_each_choice_moves_memory_the_way_it_should() -> None:
    eight = ["launch.processes=8"]
    stages = [total(f"deepspeed={option}", *eight) for option in ("none", "zero2", "zero3", "zero3_offload")]
    assert stages == sorted(stages, reverse=True)
    methods = [total(f"peft={option}") for option in ("none", "lora", "qlora")]
    assert methods == sorted(methods, reverse=True)
    contexts = [total("deepspeed=zero3", *eight, f"model.max_length={n}") for n in (4096, 8192, 16384, 32768)]
    assert contexts == sorted(contexts)
    assert total("deepspeed=zero3", "plan.gpus=16") < total("deepspeed=zero3", *eight)
    assert total("trainer.args.gradient_checkpointing=false") > total()
    assert total("+trainer.args.activation_offloading=true") < total()
    assert total("+trainer.args.optim=adamw_8bit") < total()
    flash = "+trainer.args.model_init_kwargs.attn_implementation=flash_attention_2"
    assert total(flash) < total()  # no mask


def test_what_sharing_a_sequence_spares() -> None:
    whole, shared = plan("deepspeed=zero3", "launch.processes=8"), plan("deepspeed=ulysses", "launch.processes=8",
                                                                      "trainer.args.packing=false")  # fmt: skip
    assert shared.kept.layer == whole.kept.layer / 2


def test_time_follows_from_work_and_speed() -> None:
    base = ["model=qwen3_8b_base", "peft=lora", "plan.gpus=1", "plan.matmul_tflops=800", "plan.utilisation=0.5"]
    config = composed(*base, "plan.examples=96", "plan.tokens_per_example=4000", "plan.price_per_gpu_hour=2")
    reading = read(config)
    run_ = schedule(reading, find_card(config))
    assert run_.tokens == 3 * 96 * 4000
    assert run_.steps == 3  # one batch of 96 examples an epoch
    assert run_.seconds == pytest.approx(run_.tokens * run_.flops / 400e12)
    said = "\n".join(table(reading, find_card(config)))
    assert f"${2 * run_.gpu_hours:.2f}" in said
    offloaded = composed(*base[:1], "deepspeed=zero3_offload", "plan.gpus=1")
    assert schedule(read(offloaded), find_card(offloaded)).update == pytest.approx(8.19 / 2, abs=0.01)


def test_max_steps_end_the_plan_earlier() -> None:
    config = composed("model=qwen3_8b_base", "plan.examples=960", "+trainer.args.max_steps=5")
    reading = read(config)
    whole = read(composed("model=qwen3_8b_base", "plan.examples=960", "trainer.args.num_train_epochs=1"))
    assert (reading.steps, whole.steps) == (5, 10)
    assert reading.tokens == pytest.approx(whole.tokens / 2, rel=0.05)


def test_what_does_not_fit_is_said_and_what_would_is_true() -> None:
    overrides = ["model=qwen3_8b_base", "plan.gpus=1"]
    said = text(*overrides)
    assert "of 80: DOES NOT FIT" in said
    offered = [line.split("fits with ")[1].split(" (")[0] for line in said.splitlines() if "  fits with " in line]
    assert offered[0] == "deepspeed=zero3 launch.processes=4"
    assert {"deepspeed=zero3_offload", "peft=lora", "peft=qlora"} <= set(offered)
    for words in offered:
        changed = ["model=qwen3_8b_base", *words.split(), "launch.processes=1"][
            : None if "launch" not in words else -1
        ]
        assert total(*changed[1:]) <= 80


def test_where_no_single_change_suffices_several_are_tried() -> None:
    words, need = next(remedies(plan("peft=lora", "trainer.args.gradient_checkpointing=false"), 10e9))
    assert "+trainer.args.max_length=" in words
    assert need.total <= 10e9
    assert "nothing that reer-plan knows makes it fit" in text("model=qwen3_0_6b", "plan.gpu_memory=1")


def test_the_host_is_told_and_compared() -> None:
    offload = ["model=qwen3_8b_base", "deepspeed=zero3_offload", "plan.gpus=1"]
    assert "of 128: DOES NOT FIT" in text(*offload, "plan.host_memory=128")
    assert "of 256: fits" in text(*offload, "plan.host_memory=256")


def test_the_data_are_counted_as_reer_sft_counts_them(
    make_config: Callable[..., SftConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    args = {"max_steps": -1, "num_train_epochs": 3, "per_device_train_batch_size": 1, "gradient_accumulation_steps": 3}
    config = make_config(args, dry_run=True)
    train(config)
    counted = {line[:17].strip(): line[17:].split()[0] for line in capsys.readouterr().out.splitlines()[:5]}
    reading = read(_planning(config))
    assert f"{reading.data.tokens:,}" == counted["tokens per epoch"]
    assert f"{reading.data.examples:,}" == counted["examples"]
    assert f"{reading.steps:,}" == counted["optimiser steps"]
    assert reading.data.source.startswith("counted in ")


def test_without_a_tokenizer_the_words_are_counted(make_config: Callable[..., SftConfig]) -> None:
    config = _planning(make_config())
    exact = read(config).data
    config = replace(config, model=ModelConfig(path="Qwen/Qwen3-0.6B", dtype="bfloat16"))
    about = read(config).data
    assert about.source.startswith("estimated from the words of")
    assert about.examples == exact.examples
    assert about.tokens > 50 * about.examples


def _planning(config: SftConfig) -> PlanningConfig:
    return PlanningConfig(**{name: getattr(config, name) for name in config.__dataclass_fields__}, plan=PlanConfig())


@pytest.mark.parametrize(
    ("changes", "error", "sentence"),
    [
        ({"plan": PlanConfig(gpu="v99")}, ConfigError, "plan.gpu=v99 is unknown: choose one of a100, "),
        ({"model": ModelConfig(path="no/where")}, ModelError, "model.path=no/where: no config.json can be had"),
        ({"model": ModelConfig(path="Qwen/Qwen3-8B", dtype="int8")}, ConfigError, "model.dtype=int8 is unknown"),
        ({"peft": PeftConfig(method="lora", args={"rank": 4})}, ConfigError, "peft.args.rank is unknown"),
    ],
)
def test_a_mistake_is_one_sentence(changes: dict[str, Any], error: type[Exception], sentence: str) -> None:
    config = replace(composed("model=qwen3_0_6b"), **changes)
    with pytest.raises(error) as caught:
        run(config)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_optimiser_of_unknown_size_is_refused() -> None:
    with pytest.raises(
        ConfigError, match="trainer.args.optim=galore_adamw: reer-plan does not know how much it keeps"
    ):
        plan("+trainer.args.optim=galore_adamw")


def test_cards_are_those_of_their_data_sheets() -> None:
    assert (CARDS["h100"].gigabytes, CARDS["h100"].tflops) == (80, 989)
    config = composed("model=qwen3_0_6b", "plan.gpu_memory=10")
    assert find_card(config).gigabytes == 10


def test_a_cpu_has_no_cuda_and_needs_its_speed_given(tiny_model: Path) -> None:
    overrides = [f"model.path={tiny_model}", "model.device=cpu", "model.max_length=256"]
    said = text(*overrides)
    assert "memory of the process" in said
    assert "CUDA" not in said
    assert "time: give plan.matmul_tflops" in said
    assert "GPU-hours" in text(*overrides, "plan.matmul_tflops=0.2")


def test_the_command_writes_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "train.plan", "model=qwen3_0_6b", "plan.price_per_gpu_hour=2.5"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Qwen/Qwen3-0.6B: full fine-tuning in bfloat16 on 1 x h100" in done.stdout
    assert "GPU-hours" in done.stdout
    assert list(tmp_path.iterdir()) == []
    wrong = subprocess.run([*command, "plan.gpuz=2"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (wrong.returncode, wrong.stderr) == (1, "reer-plan: unknown key plan.gpuz: did you mean plan.gpu?\n")


@pytest.mark.slow
def test_what_is_planned_for_smollm2_is_what_training_takes() -> None:
    """Two steps at 512 tokens, all weights; scripts/bench/plan has other settings."""
    command = [
        sys.executable,
        str(ROOT / "scripts/bench/plan"),
        "--tokens",
        "512",
        "trainer.args.gradient_checkpointing=true",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    predicted, measured = (float(number.replace(",", "")) for number in done.stdout.splitlines()[-1].split()[1:3])
    assert predicted == pytest.approx(measured, rel=0.2)


@pytest.mark.slow
def test_the_benchmark_runs_at_a_toy_size() -> None:
    command = [
        sys.executable,
        str(ROOT / "scripts/bench/sft"),
        "--shape",
        "tiny",
        "--context",
        "128",
        "--device",
        "cpu",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("ratio ")
    assert "out of memory" not in done.stdout
