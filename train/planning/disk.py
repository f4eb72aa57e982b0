"""What a training run writes to the disk of its folder, by arithmetic: checkpoints, and the model at its end.

Knows who writes what (transformers, DeepSpeed, peft) and how many checkpoints stand at the same time; loads nothing.
"""

import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reer.config import SftConfig
from reer.errors import DiskFullError, UserError
from reer.run.space import free

from ..arguments.adapters import adapter_arguments
from ..arguments.trainer import Amount, optimiser_steps, trainer_arguments
from . import shape
from .arithmetic import Parameters, Setup
from .setup import held

if TYPE_CHECKING:
    from trl import SFTConfig

GB = 1e9
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """Bytes."""

    weights: float
    """Of one checkpoint."""
    states: float
    """Of one checkpoint: the optimiser's, DeepSpeed's float32 copy of the weights among them."""
    model: float
    """model/, and adapter/ beside it."""
    checkpoints: int
    """That stand at the same time at most: those kept, and one that is being written."""

    @property
    def checkpoint(self) -> float:
        return self.weights + self.states

    @property
    def total(self) -> float:
        return self.checkpoint * self.checkpoints + self.model


def disk(parameters: Parameters, setup: Setup, checkpoints: int, *, merge: bool = True) -> Disk:
    """From counts of a model and how it is held."""
    trainable, whole = parameters.trainable, setup.compute_bytes * parameters.total
    own = setup.trained_bytes * trainable
    master = 4.0 * trainable if setup.stage else 0.0
    written = own if setup.adapters else setup.trained_bytes * parameters.total
    twice = 2 if setup.stage is not None and setup.stage < 3 else 1  # the engine's own file holds the weights again
    return Disk(
        weights=written * twice,
        states=master + setup.state_bytes * trainable,
        model=(own + (whole if merge else own)) if setup.adapters else whole,
        checkpoints=checkpoints,
    )


def standing(args: "SFTConfig", steps: int) -> int:
    """Checkpoints that a run of so many steps has on its disk at once: old ones go when the next is whole."""
    strategy = str(getattr(args.save_strategy, "value", args.save_strategy))
    every = args.save_steps if args.save_steps >= 1 else max(1, math.ceil(args.save_steps * steps))
    of_steps, of_epochs = math.ceil(steps / every), math.ceil(args.num_train_epochs)
    if strategy == "best":  # at evaluations, at most
        strategy = str(getattr(args.eval_strategy, "value", args.eval_strategy))
    written: int = {"no": 0, "steps": of_steps, "epoch": of_epochs}.get(strategy, of_steps)
    return written if args.save_total_limit is None else min(written, int(args.save_total_limit) + 1)


def of_training(config: SftConfig, dtype: str, amount: Amount) -> Disk:
    """What the training of a config writes.

    Raises:
        UserError: a model or an optimiser whose size is not known here.
    """
    found = shape.find_config(config.model)
    args = trainer_arguments(config, dtype, amount)
    parameters = shape.count(found, adapter_arguments(config.peft))
    setup = held(config, args, dtype, found.get_text_config().hidden_size)
    return disk(parameters, setup, standing(args, optimiser_steps(args, config, amount)), merge=config.peft.merge)


def check_room(config: SftConfig, dtype: str, amount: Amount) -> None:
    """Before anything is trained; what the folder holds already counts as room: new checkpoints replace old ones.

    Raises:
        DiskFullError: not even one checkpoint and the model would fit.
    """
    run_dir = Path(config.run_dir)
    try:
        need = of_training(config, dtype, amount)
    except UserError:  # of a size that is not known here
        return
    there = run_dir.rglob("*") if run_dir.is_dir() else ()
    room = free(run_dir) + sum(path.stat().st_size for path in there if path.is_file())
    least = need.checkpoint * min(1, need.checkpoints) + need.model
    numbers = (
        f"{need.checkpoints} checkpoints of {need.checkpoint / GB:.2f} GB and the model, {need.model / GB:.2f} GB, "
        f"and {room / GB:.2f} GB are free for run_dir={run_dir}"
    )
    if least > room:
        raise DiskFullError(f"the disk is too small: this run writes {numbers}; choose a run_dir= on a larger one")
    if need.total > room:
        log.warning(
            "the disk may be too small: this run has, at its most, %s; save less often or keep fewer "
            "(trainer.args.save_total_limit)", numbers,
        )  # fmt: skip
