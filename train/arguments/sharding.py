"""From config to the arguments that divide a model, or a sequence, over processes: DeepSpeed's and accelerate's.

Each is read by its owner before anything is started. Knows nothing of trainers.
"""

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from reer.config import DeepSpeedConfig, SftConfig, one_line
from reer.errors import ConfigError

if TYPE_CHECKING:
    from accelerate.parallelism_config import ParallelismConfig


def replicas(config: SftConfig) -> int:
    """Processes that see different examples: all, but for those that share a sequence."""
    return config.launch.processes // config.deepspeed.sequence_parallel


def deepspeed_arguments(config: DeepSpeedConfig, *, universal: bool = False) -> dict[str, Any] | None:
    """DeepSpeed's own dict, with its "auto" values left to the trainer; None without DeepSpeed.

    Raises:
        ConfigError: DeepSpeed refuses it.
    """
    if config.config is None:
        return None
    check_deepspeed(config.config)
    made = copy.deepcopy(config.config)
    if universal:
        made["checkpoint"] = {**made.get("checkpoint", {}), "load_universal": True}
    return made


def check_deepspeed(config: dict[str, Any]) -> None:
    """Let DeepSpeed itself read a config, with stand-ins for the values that only the trainer knows.

    Raises:
        ConfigError: it refuses.
    """
    from deepspeed.runtime.config import DeepSpeedConfig as Owner
    from pydantic import ValidationError

    known = {key: value for key, value in _without_auto(config).items() if key != "train_batch_size"}
    known |= {"train_micro_batch_size_per_gpu": 1, "gradient_accumulation_steps": 1}
    try:
        Owner(known)
    except ValidationError as error:
        [first, *_] = error.errors()
        raise ConfigError(f"deepspeed.config: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    except (ValueError, TypeError, AssertionError, KeyError) as error:
        raise ConfigError(f"deepspeed.config: DeepSpeed refuses it: {one_line(error)}") from error


def _without_auto(config: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _without_auto(value) if isinstance(value, dict) else value
        for key, value in config.items()
        if value != "auto"
    }


def sequence_parallelism(config: SftConfig) -> "ParallelismConfig | None":
    """accelerate's config of sequences divided over processes; None where each process has its own.

    Raises:
        ConfigError: accelerate refuses it.
    """
    size = config.deepspeed.sequence_parallel
    if size == 1:
        return None
    from accelerate.parallelism_config import ParallelismConfig
    from accelerate.utils import DeepSpeedSequenceParallelConfig

    attention = (config.trainer.args.get("model_init_kwargs") or {}).get("attn_implementation", "sdpa")
    try:
        handler = DeepSpeedSequenceParallelConfig(sp_seq_length_is_variable=True, sp_attn_implementation=attention)
        return ParallelismConfig(
            sp_backend="deepspeed", sp_size=size, dp_shard_size=replicas(config), sp_handler=handler
        )
    except ValueError as error:
        raise ConfigError(f"deepspeed.sequence_parallel={size}: {one_line(error)}") from error


def follow_attention(parallelism: "ParallelismConfig | None", attention: str) -> None:
    """Divide sequences under the attention that the model was loaded with: DeepSpeed refuses any other.

    It may not be the one asked for: without flash-attn, transformers takes a kernel from the hub and its name.

    Raises:
        ConfigError: accelerate refuses it.
    """
    if parallelism is None:
        return
    try:
        parallelism.sp_handler = replace(parallelism.sp_handler, sp_attn_implementation=attention)
    except ValueError as error:
        raise ConfigError(f"deepspeed.sequence_parallel={parallelism.sp_size}: {one_line(error)}") from error
