"""What to change when a model does not fit: the usual ways, each tried on the same arithmetic.

Knows the keys of reer-sft; knows nothing of cards.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from reer.config import DeepSpeedConfig, LaunchConfig, PeftConfig, PlanningConfig
from reer.errors import UserError

from ..arguments.trainer import max_length
from .arithmetic import Memory, memory
from .setup import Reading, read

ZERO3: dict[str, Any] = {
    "stage": 3,
    "overlap_comm": True,
    "reduce_bucket_size": "auto",
    "stage3_gather_16bit_weights_on_model_save": True,
}
OFFLOAD = {"offload_optimizer": {"device": "cpu"}, "offload_param": {"device": "cpu"}}
FOUR_BITS = {"load_in_4bit": True, "bnb_4bit_use_double_quant": True}
LORA = {"r": 64, "lora_alpha": 128, "target_modules": "all-linear"}
_QLORA = PeftConfig(method="qlora", args=LORA, quantization=FOUR_BITS)


def remedies(reading: Reading, room: float) -> Iterator[tuple[str, Memory]]:
    """(what to write, memory it takes) of changes that fit into `room` bytes; where no single one does, of several."""
    found = list(_fitting(reading, _changes(reading.config), room))
    yield from found or _fitting(reading, _together(reading.config), room)


def _fitting(
    reading: Reading, changes: Iterator[tuple[str, PlanningConfig]], room: float
) -> Iterator[tuple[str, Memory]]:
    """Of changes that differ in their last number only the first that suffices."""
    done: set[str] = set()
    for words, changed in changes:
        kind = words.rstrip("0123456789")
        if kind in done:
            continue
        try:
            other = read(changed, reading.data)
        except UserError:  # one that does not go with the rest of this config
            continue
        need = memory(other.parameters, other.kept, other.setup)
        if need.total <= room:
            done.add(kind)
            yield words, need


def _changes(config: PlanningConfig) -> Iterator[tuple[str, PlanningConfig]]:
    """From what changes the training least to what changes it most."""
    args = config.trainer.args
    if args.get("per_device_train_batch_size", 8) > 1:
        yield "trainer.args.per_device_train_batch_size=1", _with_args(config, per_device_train_batch_size=1)
    if not args.get("gradient_checkpointing", True):
        yield "trainer.args.gradient_checkpointing=true", _with_args(config, gradient_checkpointing=True)
    if not args.get("activation_offloading"):
        yield "+trainer.args.activation_offloading=true", _with_args(config, activation_offloading=True)
    for processes in (2, 4, 8, 16, 32, 64):
        if processes > config.launch.processes or config.deepspeed.config is None:
            yield f"deepspeed=zero3 launch.processes={processes}", _with_zero(config, ZERO3, processes)
    yield "deepspeed=zero3_offload", _with_zero(config, ZERO3 | OFFLOAD, config.launch.processes)
    if config.peft.method is None:
        yield "peft=lora", replace(config, peft=PeftConfig(method="lora", args=LORA))
    if config.peft.method != "qlora" and config.deepspeed.config is None:
        yield "peft=qlora", replace(config, peft=_QLORA)
    for share in (2, 4, 8):
        shorter = max_length(config) // share
        yield f"+trainer.args.max_length={shorter}", _with_args(config, max_length=shorter)


def _together(config: PlanningConfig) -> Iterator[tuple[str, PlanningConfig]]:
    """All that saves memory on one GPU, with the weights in 4 bits, or else (for all weights) on the host; then ever
    shorter rows."""
    args = {"per_device_train_batch_size": 1, "gradient_checkpointing": True, "activation_offloading": True}
    given = [f"+trainer.args.{key}={str(value).lower()}" for key, value in args.items()]
    saving = _with_args(config, **args)
    quantised = replace(saving, deepspeed=DeepSpeedConfig(), peft=_QLORA)
    offloaded = _with_zero(saving, ZERO3 | OFFLOAD, config.launch.processes)
    for name, changed in (("peft=qlora", quantised), ("deepspeed=zero3_offload", offloaded)):
        for share in (1, 2, 4, 8):
            shorter = max_length(config) // share
            words = " ".join([name, *given, f"+trainer.args.max_length={shorter}"])
            yield words, _with_args(changed, max_length=shorter)


def _with_args(config: PlanningConfig, **args: Any) -> PlanningConfig:
    return replace(config, trainer=replace(config.trainer, args={**config.trainer.args, **args}))


def _with_zero(config: PlanningConfig, zero: dict[str, Any], processes: int) -> PlanningConfig:
    plan, launch = replace(config.plan, gpus=None), LaunchConfig(processes=processes)
    return replace(config, plan=plan, launch=launch, deepspeed=DeepSpeedConfig(config={"zero_optimization": zero}))
