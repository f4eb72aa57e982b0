"""Sequences divided over processes: under which attention, and what is said where flash attention is not there."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from reer.config import DeepSpeedConfig, LaunchConfig, SftConfig
from reer.errors import ConfigError, ModelError
from train.arguments.sharding import follow_attention, sequence_parallelism
from train.arguments.trainer import trainer_arguments
from train.examples.work import read
from train.model import load_for_training
from train.running.training import build_trainer, runnable

Make = Callable[..., SftConfig]
HUB = "kernels-community/flash-attn2"


def shared(make: Make, attention: str) -> SftConfig:
    config = make({"model_init_kwargs": {"attn_implementation": attention}})
    config.deepspeed = DeepSpeedConfig(config={}, sequence_parallel=2)
    config.launch = LaunchConfig(processes=2)
    return config


@pytest.mark.parametrize("loaded", [HUB, "kernels-community/vllm-flash-attn3", "flash_attention_2", "sdpa"])
def test_sequences_are_divided_under_the_attention_that_was_loaded(make_config: Make, loaded: str) -> None:
    """Without flash-attn, transformers loads the hub's kernel for flash_attention_2, and DeepSpeed compares names."""
    parallelism = sequence_parallelism(shared(make_config, "flash_attention_2"))
    assert parallelism is not None
    follow_attention(parallelism, loaded)
    assert parallelism.sp_handler.sp_attn_implementation == loaded
    assert parallelism.sp_handler.sp_seq_length_is_variable


def test_an_attention_that_cannot_be_divided_is_one_sentence(make_config: Make) -> None:
    """As of a model that has no sdpa, and was loaded with eager."""
    parallelism = sequence_parallelism(shared(make_config, "sdpa"))
    with pytest.raises(ConfigError, match="deepspeed.sequence_parallel=2: Invalid sp_attn_implementation: eager"):
        follow_attention(parallelism, "eager")


def test_undivided_sequences_follow_nothing(make_config: Make) -> None:
    follow_attention(sequence_parallelism(make_config()), HUB)


def test_the_trainer_is_given_the_attention_that_was_loaded(
    make_config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []

    def trainer(*, args: Any, **others: Any) -> None:
        given.append(args.parallelism_config.sp_handler.sp_attn_implementation)
        raise ValueError("no more of it is needed")

    loaded = SimpleNamespace(config=SimpleNamespace(_attn_implementation=HUB))
    monkeypatch.setattr("train.model.load_for_training", lambda *_: loaded)
    monkeypatch.setattr("trl.SFTTrainer", trainer)
    work = read(make_config())
    args = trainer_arguments(make_config(), work.dtype, work.amount)
    args.parallelism_config = sequence_parallelism(shared(make_config, "flash_attention_2"))
    with pytest.raises(ConfigError, match="no more of it"):
        build_trainer(make_config(), work, args)
    assert given == [HUB]


@pytest.mark.parametrize("kernels", [False, True])
def test_flash_attention_without_a_package_for_it_is_told_what_brings_one(
    make_config: Make, monkeypatch: pytest.MonkeyPatch, kernels: bool
) -> None:
    """transformers speaks of flash-attn alone, also where kernels is there in a version that it does not take."""
    monkeypatch.setattr("transformers.utils.is_kernels_available", lambda: kernels)
    config = make_config({"model_init_kwargs": {"attn_implementation": "flash_attention_2"}})
    with pytest.raises(ModelError) as caught, runnable(config):
        load_for_training(config, "bfloat16")
    assert "FlashAttention2" in str(caught.value)
    assert ("takes: pip install 'reer[gpu]', or set" in str(caught.value)) is not kernels
