"""From config to the arguments of trl and peft, whose own classes validate them.

What the stage itself decides (folders, seed, mask, precision, device) cannot be set through `trainer.args`.
"""

import difflib
import logging
import math
import os
import warnings
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reer.config import PeftConfig, SftConfig, one_line
from reer.errors import ConfigError

if TYPE_CHECKING:
    from peft import LoraConfig
    from trl import SFTConfig


def max_length(config: SftConfig) -> int:
    """Longest training sequence in tokens."""
    return int(config.trainer.args.get("max_length") or config.model.max_length)


def trainer_arguments(config: SftConfig, dtype: str) -> "SFTConfig":
    """trl.SFTConfig for this stage; `dtype` is the precision of the arithmetic.

    Raises:
        ConfigError: an unknown key, one that the stage sets itself, or a value that trl refuses.
    """
    _quiet()
    import torch
    from trl import SFTConfig

    on_gpu = config.model.device != "cpu" and torch.cuda.is_available()
    if config.model.device.startswith("cuda") and not on_gpu:
        raise ConfigError(f"model.device={config.model.device}: torch sees no GPU")
    own = {
        "output_dir": str(Path(config.run_dir) / "checkpoints"),
        "completion_only_loss": True,
        "max_length": max_length(config),
        "seed": config.seed,
        "data_seed": config.seed,
        "bf16": dtype == "bfloat16",
        "fp16": dtype == "float16",
        "use_cpu": not on_gpu,
        "report_to": "none",
    }
    given = config.trainer.args
    _refuse_unknown(given, SFTConfig, "trainer.args")
    if taken := sorted(given.keys() & own.keys() - {"max_length"}):
        raise ConfigError(f"trainer.args.{taken[0]} is set by the stage itself (from run_dir, seed, model, tracking)")
    try:
        return SFTConfig(**{"logging_first_step": True, **given, **own})
    except (TypeError, ValueError) as error:
        raise ConfigError(f"trainer.args: {one_line(error)}") from error


def adapter_arguments(config: PeftConfig) -> "LoraConfig | None":
    """peft.LoraConfig, or None where the whole model is trained.

    Raises:
        ConfigError: an unknown method or key, or a value that peft refuses.
    """
    if config.method is None:
        return None
    if config.method != "lora":
        raise ConfigError(f"peft.method={config.method} is unknown: choose lora or null")
    from peft import LoraConfig

    _refuse_unknown(config.args, LoraConfig, "peft.args")
    try:
        return LoraConfig(**{"task_type": "CAUSAL_LM", **config.args})
    except (TypeError, ValueError) as error:
        raise ConfigError(f"peft.args: {one_line(error)}") from error


def one_gpu(device: str) -> None:
    """Hide all GPUs but the chosen one before torch looks for them: one process trains on one.

    A launcher that started several processes has divided the GPUs itself; then nothing is hidden.
    """
    if device == "cpu" or "LOCAL_RANK" in os.environ:
        return
    index = int(device.partition(":")[2] or 0)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    listed = visible.split(",") if visible is not None else [str(n) for n in range(index + 1)]
    if index >= len(listed):
        raise ConfigError(f"model.device={device} does not exist: CUDA_VISIBLE_DEVICES={visible}")
    os.environ["CUDA_VISIBLE_DEVICES"] = listed[index]


def optimiser_steps(args: "SFTConfig", examples: int) -> int:
    """Updates of the weights that the trainer will make, as it counts them itself."""
    if args.max_steps > 0:
        return int(args.max_steps)
    batches = math.ceil(examples / (args.train_batch_size * args.world_size))
    per_epoch = max(1, math.ceil(batches / args.gradient_accumulation_steps))
    return int(math.ceil(args.num_train_epochs * per_epoch))


def _quiet() -> None:
    """Two notices no user can act on: trl and peft use a name that transformers renamed; deepspeed finds no GPU."""
    warnings.filterwarnings("ignore", r"`\w*gradient_checkpointing\w*` is deprecated", FutureWarning)
    logging.getLogger("DeepSpeed").addFilter(lambda record: "Setting accelerator to CPU" not in record.getMessage())


def _refuse_unknown(given: dict[str, Any], owner: type, prefix: str) -> None:
    known = [f.name for f in fields(owner) if f.init]
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f": did you mean {near[0]}?" if near else ""
            raise ConfigError(f"{prefix}.{key} is unknown to {owner.__name__}{hint}")
