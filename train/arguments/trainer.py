"""From config to the arguments of trl's trainer, whose own class validates them.

What the stage itself decides (folders, seed, mask, precision, device, accumulation) cannot be set through
`trainer.args`. Knows the owners of the arguments; knows nothing of models and data but their number.
"""

import difflib
import inspect
import logging
import math
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reer.config import SftConfig, one_line
from reer.errors import ConfigError

from .processes import launched, needs_start
from .sharding import deepspeed_arguments, replicas, sequence_parallelism

if TYPE_CHECKING:
    from trl import SFTConfig

BEST = "eval_answer_loss"
"""What the trainer calls NLL(y|x, z) on the held-out trajectories."""
_OWN_INIT = {"dtype", "torch_dtype", "revision", "trust_remote_code", "quantization_config", "device_map"}


@dataclass(frozen=True, slots=True)
class Amount:
    """How much there is to train on, as far as arguments depend on it."""

    examples: int
    tokens: int
    held_out: int = 0

    def rows(self, config: SftConfig) -> int:
        """Rows of the trainer: examples, or about so many packs (best-fit packing leaves them nearly full)."""
        if not config.trainer.args.get("packing"):
            return self.examples
        return min(self.examples, math.ceil(self.tokens / max_length(config)))


def max_length(config: SftConfig) -> int:
    """Longest training sequence in tokens."""
    return int(config.trainer.args.get("max_length") or config.model.max_length)


def on_cpu(config: SftConfig) -> bool:
    """Whether training runs on the CPU.

    Raises:
        ConfigError: a GPU is asked for and there is none.
    """
    import torch

    on_gpu = config.model.device != "cpu" and torch.cuda.is_available()
    if config.model.device.startswith("cuda") and not on_gpu:
        raise ConfigError(f"model.device={config.model.device}: torch sees no GPU")
    return not on_gpu


def trainer_arguments(
    config: SftConfig, dtype: str, amount: Amount, *, universal: bool = False, rows: int | None = None
) -> "SFTConfig":
    """trl.SFTConfig for this stage; `dtype` is the precision of the arithmetic.

    `universal`: continue from a checkpoint that DeepSpeed has converted for another number of processes.
    `rows`: those of an optimiser step, where a checkpoint has fixed them.

    Raises:
        ConfigError: an unknown key, one that the stage sets itself, or a value that trl or DeepSpeed refuses.
    """
    _quiet()
    from trl import SFTConfig

    given, cpu = dict(config.trainer.args), on_cpu(config)
    refuse_unknown(given, SFTConfig, "trainer.args")
    _refuse_losses(given)
    own = {
        "output_dir": str(Path(config.run_dir) / "checkpoints"),
        "completion_only_loss": True,
        "max_length": max_length(config),
        "seed": config.seed,
        "data_seed": config.seed,
        "bf16": dtype == "bfloat16",
        "fp16": dtype == "float16",
        "use_cpu": cpu,
        "report_to": "none",
        "per_device_eval_batch_size": 1,  # the mean over batches is then the mean over trajectories
        "eval_packing": False,
        "gradient_accumulation_steps": accumulation(config, amount, rows),
        "greater_is_better": False,  # of what is measured in nats
        "auto_find_batch_size": False,  # the global batch would no longer be what the config says
        "deepspeed": deepspeed_arguments(config.deepspeed, universal=universal),
        "parallelism_config": sequence_parallelism(config),
        "ddp_backend": "gloo" if cpu else None,
    }
    if not launched():  # a process group is asked for by the values alone, and there is nobody to make one with
        own |= dict.fromkeys(("deepspeed", "parallelism_config", "ddp_backend"))
    if needs_start(config):  # only looked at: the processes to come take the GPUs
        own |= {"use_cpu": True, "bf16": False, "fp16": False}
    free = {"max_length"} | ({"gradient_accumulation_steps"} if config.trainer.global_batch is None else set())
    if taken := sorted(given.keys() & own.keys() - free):
        raise ConfigError(
            f"trainer.args.{taken[0]} is set by the stage itself (from run_dir, seed, model, deepspeed, tracking, "
            f"trainer.global_batch)"
        )
    defaults = {"logging_first_step": True} | _best_checkpoint(config, amount)
    if (shared := config.deepspeed.sequence_parallel) > 1:
        defaults["pad_to_multiple_of"] = shared
    init = given.pop("model_init_kwargs", None)  # ours to pass on: trl is given a loaded model
    model_arguments(init)
    try:
        args = SFTConfig(**{**defaults, **given, **own})
    except (TypeError, ValueError) as error:
        raise ConfigError(f"trainer.args: {one_line(error)}") from error
    by_steps = args.eval_strategy == args.save_strategy == "steps"
    if args.load_best_model_at_end and by_steps and args.eval_steps != args.save_steps:
        raise ConfigError(
            f"trainer.args.save_steps={args.save_steps:g} has to be that of eval_steps, {args.eval_steps:g}: the best "
            f"checkpoint could not be taken if it was not saved"
        )
    return args


def model_arguments(given: dict[str, Any] | None) -> dict[str, Any]:
    """What `trainer.args.model_init_kwargs` adds to the loading of the model (attn_implementation, ...).

    Raises:
        ConfigError: one of them is the stage's own.
    """
    if taken := sorted(_OWN_INIT & (given or {}).keys()):
        raise ConfigError(f"trainer.args.model_init_kwargs.{taken[0]} is set by the stage itself (from model, peft)")
    return dict(given or {})


def accumulation(config: SftConfig, amount: Amount, rows: int | None = None) -> int:
    """Micro-batches per optimiser step: as many as make up `trainer.global_batch` examples.

    With packing, a row holds several examples, so the nearest number of whole packs is taken, or, where a checkpoint
    has fixed it, that of its `rows` if the processes can share them evenly.

    Raises:
        ConfigError: the global batch is no multiple of what all processes take at once.
    """
    given, wanted = config.trainer.args, config.trainer.global_batch
    if wanted is None:
        return int(given.get("gradient_accumulation_steps", 1))
    at_once = int(given.get("per_device_train_batch_size", 8)) * replicas(config)
    if given.get("packing") and rows and rows % at_once == 0:
        return rows // at_once
    if given.get("packing"):
        return max(1, round(wanted * amount.rows(config) / (amount.examples * at_once)))
    if wanted % at_once:
        raise ConfigError(
            f"trainer.global_batch={wanted} is no multiple of {at_once} (trainer.args.per_device_train_batch_size x "
            f"processes): change one of them"
        )
    return wanted // at_once


def rows_per_step(args: "SFTConfig", config: SftConfig) -> int:
    """Rows (examples, or packs) that one optimiser step sees, over all processes."""
    return int(args.per_device_train_batch_size * args.gradient_accumulation_steps * replicas(config))


def _best_checkpoint(config: SftConfig, amount: Amount) -> dict[str, Any]:
    """The best checkpoint is that with the lowest NLL(y|x, z); with patience, it becomes the model.

    Raises:
        ConfigError: evaluations are asked for, and nothing is held out to evaluate on, or the best is to be that by
            another measure.
    """
    evaluates = config.trainer.args.get("eval_strategy", "no") != "no"
    if (evaluates or config.trainer.patience) and not amount.held_out:
        raise ConfigError("trainer.args.eval_strategy and trainer.patience need trainer.held_out=N to measure on")
    if (metric := config.trainer.args.get("metric_for_best_model", BEST)) != BEST:
        raise ConfigError(f"trainer.args.metric_for_best_model={metric}: the best is that by {BEST}, the answer's NLL")
    best: dict[str, Any] = {"metric_for_best_model": BEST}
    if not config.trainer.patience:
        return best if _asks_for_best(config.trainer.args) else {}
    if not evaluates:
        raise ConfigError("trainer.patience needs trainer.args.eval_strategy=epoch (or steps, with eval_steps)")
    best["load_best_model_at_end"] = True
    return best | {"restore_callback_states_from_checkpoint": True}  # how long there was no gain, among them


def _asks_for_best(given: dict[str, Any]) -> bool:
    """Whether something depends on the best value so far. Else none is named: its checkpoint would be kept too."""
    by_value = given.get("lr_scheduler_type") in ("reduce_lr_on_plateau", "greedy")
    return bool(given.get("load_best_model_at_end")) or given.get("save_strategy") == "best" or by_value


def _refuse_losses(given: dict[str, Any]) -> None:
    """Raises: ConfigError: a kill could leave no checkpoint to go on from, or a run no loss to report."""
    if given.get("logging_strategy") == "no":
        raise ConfigError("trainer.args.logging_strategy=no leaves no loss to report: use steps or epoch")
    if given.get("logging_first_step") is False and given.get("logging_steps") != 1:
        raise ConfigError("trainer.args.logging_first_step=false may leave no loss to report: leave it true")
    if given.get("save_only_model"):
        raise ConfigError("trainer.args.save_only_model=true saves no optimiser, and no run could go on from it")
    for key in ("per_device_train_batch_size", "gradient_accumulation_steps"):
        if not isinstance(value := given.get(key, 1), int) or value < 1:
            raise ConfigError(f"trainer.args.{key}={value}: has to be a whole number, at least 1")
    if given.get("save_total_limit") == 1:
        raise ConfigError("trainer.args.save_total_limit=1 leaves no checkpoint while the next is written: use 2")


def one_gpu(device: str) -> None:
    """Hide all GPUs but the chosen one before torch looks for them: one process trains on one.

    A launcher that started several processes has divided the GPUs itself; then nothing is hidden.
    """
    if device == "cpu" or "LOCAL_RANK" in os.environ:
        return
    kind, _, number = device.partition(":")
    if kind not in ("auto", "cuda") or (number and not number.isdigit()):
        raise ConfigError(f"model.device={device} is unknown: choose cpu, cuda, cuda:1 or auto")
    index = int(number or 0)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    listed = visible.split(",") if visible is not None else [str(n) for n in range(index + 1)]
    if index >= len(listed):
        raise ConfigError(f"model.device={device} does not exist: CUDA_VISIBLE_DEVICES={visible}")
    os.environ["CUDA_VISIBLE_DEVICES"] = listed[index]


def optimiser_steps(args: "SFTConfig", config: SftConfig, amount: Amount) -> int:
    """Updates of the weights that the trainer will make, as it counts them itself (with packing: about)."""
    if args.max_steps > 0:
        return int(args.max_steps)
    batches = math.ceil(amount.rows(config) / (args.per_device_train_batch_size * replicas(config)))
    per_epoch = max(1, math.ceil(batches / args.gradient_accumulation_steps))
    return int(math.ceil(args.num_train_epochs * per_epoch))


def _quiet() -> None:
    """Notices no user can act on: libraries use names that others have renamed; deepspeed finds no GPU."""
    warnings.filterwarnings("ignore", r"`\w*gradient_checkpointing\w*` is deprecated", FutureWarning)
    warnings.filterwarnings("ignore", r"`torch\.distributed\.\w+` is deprecated", FutureWarning)
    warnings.filterwarnings("ignore", "Setting `save_embedding_layers` to `True`", UserWarning)
    logging.getLogger("DeepSpeed").addFilter(lambda record: "Setting accelerator to CPU" not in record.getMessage())


def refuse_unknown(given: dict[str, Any], owner: type, prefix: str) -> None:
    """Raises: ConfigError: a key that the owner's constructor does not take, with the one most like it."""
    known = set(inspect.signature(owner).parameters)
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f": did you mean {near[0]}?" if near else ""
            raise ConfigError(f"{prefix}.{key} is unknown to {owner.__name__}{hint}")
