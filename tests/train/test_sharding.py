"""Sequences divided over processes: under which attention."""

from collections.abc import Callable

import pytest

from reer.config import DeepSpeedConfig, LaunchConfig, SftConfig
from reer.errors import ConfigError
from train.sharding import follow_attention, sequence_parallelism

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
