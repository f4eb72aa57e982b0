from collections.abc import Callable
from typing import Any

import pytest

from reer.config import DeepSpeedConfig, LaunchConfig, PeftConfig, SftConfig
from reer.errors import ConfigError
from train.arguments.adapters import quantization_arguments
from train.arguments.sharding import check_deepspeed
from train.arguments.trainer import Amount, accumulation, optimiser_steps, rows_per_step, trainer_arguments
from train.model import weights_dtype

Make = Callable[..., SftConfig]
AMOUNT = Amount(examples=960, tokens=960 * 100, held_out=8)


def batched(make: Make, wanted: int | None, processes: int, *, per_device: int = 2, **args: Any) -> SftConfig:
    config = make({"per_device_train_batch_size": per_device, "max_steps": -1, **args})
    config.trainer.global_batch = wanted
    config.launch = LaunchConfig(processes=processes)
    return config


@pytest.mark.parametrize(("wanted", "processes", "steps"), [(96, 8, 6), (96, 1, 48), (16, 8, 1), (None, 8, 1)])
def test_accumulation_makes_up_the_global_batch(make_config: Make, wanted: int, processes: int, steps: int) -> None:
    assert accumulation(batched(make_config, wanted, processes), AMOUNT) == steps


def test_a_global_batch_that_does_not_divide_is_refused(make_config: Make) -> None:
    with pytest.raises(ConfigError, match=r"trainer.global_batch=96 is no multiple of 10 \(trainer.args.per_device"):
        accumulation(batched(make_config, 96, 5), AMOUNT)
    config = batched(make_config, 96, 1, gradient_accumulation_steps=4)
    with pytest.raises(ConfigError, match=r"gradient_accumulation_steps is set by the stage itself .*global_batch"):
        trainer_arguments(config, "float32", AMOUNT)


def test_packs_count_as_the_examples_in_them(make_config: Make) -> None:
    """100 tokens an example, 512 a pack: 188 packs hold 960, so 96 examples are 18.8 packs, 9 times 2."""
    config = batched(make_config, 96, 1, packing=True)
    assert accumulation(config, AMOUNT) == 9
    assert AMOUNT.rows(config) == 188
    args = trainer_arguments(config, "float32", AMOUNT)
    assert rows_per_step(args, config) == 18
    assert optimiser_steps(args, config, AMOUNT) == 3 * 11  # 94 batches, 9 to a step


def test_the_rows_of_a_step_stay_those_of_the_checkpoint(make_config: Make) -> None:
    """24 packs on 8 processes; on 4 and 12 the same 24, on 5 as if nothing had been."""
    wanted = {processes: batched(make_config, 96, processes, per_device=1, packing=True) for processes in (4, 12, 5)}
    assert [accumulation(config, AMOUNT, rows=24) for config in wanted.values()] == [6, 2, 4]


def test_processes_that_share_a_sequence_see_the_same_examples(make_config: Make) -> None:
    config = batched(make_config, 16, 8, per_device=1)
    config.deepspeed = DeepSpeedConfig(config={}, sequence_parallel=4)
    assert accumulation(config, AMOUNT) == 8


@pytest.mark.parametrize(
    ("args", "keys", "sentence"),
    [
        ({"eval_strategy": "epoch"}, {}, "need trainer.held_out=N"),
        ({}, {"patience": 2}, "trainer.patience needs trainer.args.eval_strategy"),
        ({"save_total_limit": 1}, {}, "leaves no checkpoint while the next is written: use 2"),
        ({"save_only_model": True}, {}, "saves no optimiser, and no run could go on from it"),
        ({"auto_find_batch_size": True}, {}, "auto_find_batch_size is set by the stage itself"),
        ({"logging_first_step": False, "logging_steps": 10}, {}, "may leave no loss to report"),
        (
            {"per_device_train_batch_size": 0},
            {},
            "per_device_train_batch_size=0: has to be a whole number, at least 1",
        ),
        ({"per_device_train_batch_size": None}, {}, "per_device_train_batch_size=None: has to be a whole number"),
        ({"greater_is_better": True}, {}, "greater_is_better is set by the stage itself"),
        ({"metric_for_best_model": "eval_loss"}, {}, "metric_for_best_model=eval_loss: the best is that by"),
        (
            {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 2},
            {"patience": 2, "held_out": 2},
            "save_steps=2 has to be that of eval_steps, 1: the best checkpoint could not be taken",
        ),
        ({"model_init_kwargs": {"trust_remote_code": True}}, {}, "model_init_kwargs.trust_remote_code is set by the"),
        ({"model_init_kwargs": {"dtype": "float16"}}, {}, "model_init_kwargs.dtype is set by the stage itself"),
    ],
)
def test_settings_that_contradict_are_one_sentence(
    make_config: Make, args: dict[str, Any], keys: dict[str, Any], sentence: str
) -> None:
    config = make_config(args)
    for key, value in keys.items():
        setattr(config.trainer, key, value)
    amount = Amount(8, 800, held_out=config.trainer.held_out if "eval_strategy" in args else 2)
    with pytest.raises(ConfigError, match=sentence):
        trainer_arguments(config, "float32", amount)


def test_evaluations_alone_keep_no_best_checkpoint(make_config: Make) -> None:
    """It would be kept in place of a newer one, which a killed run goes on from."""
    config = make_config({"eval_strategy": "epoch", "save_strategy": "epoch"})
    assert trainer_arguments(config, "float32", Amount(8, 800, held_out=2)).metric_for_best_model is None


def test_patience_keeps_the_best_checkpoint(make_config: Make) -> None:
    config = make_config({"eval_strategy": "epoch", "save_strategy": "epoch"})
    config.trainer.patience = 2
    args = trainer_arguments(config, "float32", AMOUNT)
    assert args.load_best_model_at_end
    assert (args.metric_for_best_model, args.greater_is_better) == ("eval_answer_loss", False)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"zero_optimization": {"stage": 7}}, "deepspeed.config: stage: Input should be"),
        (
            {"zero_optimization": {"stage": 2, "offload_optimiser": {}}},
            "offload_optimiser: Extra inputs are not permitted",
        ),
        ({"bf16": {"enabled": True}, "fp16": {"enabled": True}}, "deepspeed.config: DeepSpeed refuses it: "),
    ],
)
def test_deepspeed_validates_its_own_config(config: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_deepspeed(config)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_quantisation_without_its_package_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    assert quantization_arguments(PeftConfig(method="lora")) is None
    monkeypatch.setattr("train.arguments.adapters.installed", lambda package: False)
    with pytest.raises(ConfigError, match="peft=qlora needs bitsandbytes: pip install"):
        quantization_arguments(PeftConfig(method="qlora", quantization={"load_in_4bit": True}))


def test_transformers_validates_the_quantisation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.arguments.adapters.installed", lambda package: True)
    made = quantization_arguments(PeftConfig(method="qlora", quantization={"bnb_4bit_quant_type": "nf4"}))
    assert made is not None
    assert made.bnb_4bit_quant_type == "nf4"
    with pytest.raises(ConfigError, match="peft.quantization.load_in_3bit is unknown to BitsAndBytesConfig"):
        quantization_arguments(PeftConfig(method="qlora", quantization={"load_in_3bit": True}))
    with pytest.raises(ConfigError, match="peft.quantization: "):
        quantization_arguments(PeftConfig(method="qlora", quantization={"bnb_4bit_quant_type": 4}))


@pytest.mark.parametrize(
    ("args", "keys", "wanted"),
    [
        ({}, {}, "float32"),
        ({}, {"deepspeed": DeepSpeedConfig(config={})}, "bfloat16"),
        ({}, {"peft": PeftConfig(method="lora")}, "bfloat16"),
        ({"optim_args": "bf16_stochastic_round=True"}, {}, "bfloat16"),
        ({"optim": "adamw_torch_8bit"}, {}, "float32"),
    ],
)
def test_weights_are_float32_unless_something_else_keeps_small_updates(
    make_config: Make, args: dict[str, Any], keys: dict[str, Any], wanted: str
) -> None:
    config = make_config(args)
    for key, value in keys.items():
        setattr(config, key, value)
    assert weights_dtype(config, "bfloat16") == wanted
