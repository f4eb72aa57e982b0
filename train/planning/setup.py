"""From the config of reer-sft to what the arithmetic needs: how the model is held, moved and updated, and the data.

Reads the same keys as the stage itself, through the same functions where they need neither GPU nor process group.
Knows DeepSpeed's keys and which of them the trainer fills; knows nothing of tables and prices.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, cast

from reer.config import DeepSpeedConfig, LaunchConfig, PlanningConfig, SftConfig
from reer.errors import ConfigError, ModelError
from reer.files.rows import exists
from reer.layout import Encoded, Layout
from reer.method.cost import TEMPLATE, tokens
from reer.types import Message

from ..arguments.adapters import adapter_arguments
from ..arguments.processes import check
from ..arguments.sharding import check_deepspeed
from ..arguments.trainer import Amount, accumulation, max_length, optimiser_steps, rows_per_step, trainer_arguments
from ..mixing.settings import rules_of
from ..model import weights_dtype
from . import shape
from .arithmetic import STATE_BYTES, Kept, Parameters, Setup

if TYPE_CHECKING:
    from transformers import PretrainedConfig
    from trl import SFTConfig

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
FOUR_BITS = {False: 0.5 + 4 / 64, True: 0.5 + 1 / 64 + 4 / (64 * 256)}
"""Bytes of a weight in 4 bits: its half byte and a float32 scale for every 64; with double quantisation the scales
are in 8 bits and have one of their own for every 256 (arXiv 2305.14314, section 3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """How much there is to train on, and where that is known from."""

    examples: int
    tokens: int
    """Of all examples, once."""
    longest: int
    context: float
    """Length of the example that an average token stands in: sum of squared lengths over sum of lengths."""
    source: str
    held_out: int = 0

    @property
    def amount(self) -> Amount:
        return Amount(self.examples, self.tokens, self.held_out)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One config, as read."""

    config: PlanningConfig
    args: "SFTConfig"
    dtype: str
    shape: "PretrainedConfig"
    parameters: Parameters
    kept: Kept
    setup: Setup
    data: Data

    @property
    def kernel(self) -> str:
        """Of attention: fused, masked or eager (`shape.trace`)."""
        return _kernel(self.config, self.args)

    @property
    def steps(self) -> int:
        """Updates of the weights."""
        return optimiser_steps(self.args, self.config, self.data.amount)

    @property
    def tokens(self) -> float:
        """That all steps see together."""
        epochs = self._epochs() if self.args.max_steps > 0 else float(self.args.num_train_epochs)
        return self.data.tokens * epochs

    def retraced(self, *, checkpointing: bool) -> "Reading":
        """The same with gradient checkpointing switched."""
        args = copy.copy(self.args)
        args.gradient_checkpointing = checkpointing
        return replace(self, args=args, kept=_kept(self.config, args, self.dtype, self.shape, self.data))

    def _epochs(self) -> float:
        """How often `max_steps` steps go through the data."""
        return int(self.args.max_steps) * rows_per_step(self.args, self.config) / self.data.amount.rows(self.config)


def read(config: PlanningConfig, data: Data | None = None) -> Reading:
    """Everything a plan is made of; nothing is downloaded but a config.json, nothing loaded, nothing written.

    Raises:
        ConfigError: a key that its owner refuses, or an optimiser of unknown size.
        ModelError: the model's config cannot be had.
    """
    config = replace(config, launch=LaunchConfig(processes=config.plan.gpus or config.launch.processes))
    found = shape.find_config(config.model)
    dtype = _dtype(config, found)
    data = data or measure_data(config)
    args = _arguments(config, data.amount)
    return Reading(
        config=config,
        args=args,
        dtype=dtype,
        shape=found,
        parameters=shape.count(found, adapter_arguments(config.peft)),
        kept=_kept(config, args, dtype, found, data),
        setup=held(config, args, dtype, found.get_text_config().hidden_size),
        data=data,
    )


def _dtype(config: PlanningConfig, found: "PretrainedConfig") -> str:
    stored = str(found.dtype or "float32").removeprefix("torch.")
    dtype = stored if config.model.dtype == "auto" else config.model.dtype
    if dtype not in BYTES:
        raise ConfigError(f"model.dtype={dtype} is unknown: choose one of {', '.join(BYTES)}")
    return dtype


def _arguments(config: PlanningConfig, amount: Amount) -> "SFTConfig":
    """trl's arguments, validated by their owner as for one process on this machine's CPU."""
    check(config)
    if config.deepspeed.config is not None:
        check_deepspeed(config.deepspeed.config)
    here = replace(config.model, device="cpu")
    local = replace(config, model=here, deepspeed=DeepSpeedConfig(), launch=LaunchConfig())
    args = trainer_arguments(local, "float32", amount)
    args.gradient_accumulation_steps = accumulation(config, amount)
    return args


def held(config: SftConfig, args: "SFTConfig", dtype: str, hidden: int) -> Setup:
    """How a model is held, as far as memory goes; `hidden` is its width.

    Raises:
        ConfigError: an optimiser of unknown size.
    """
    given = config.deepspeed.config
    zero: dict[str, Any] = (given or {}).get("zero_optimization", {})
    stage = None if given is None else int(zero.get("stage", 0))
    twice = 2 if zero.get("overlap_comm", stage == 3) else 1
    four_bits = config.peft.method == "qlora"
    trained = BYTES[weights_dtype(config, dtype)]
    if config.peft.method is not None and stage is None:
        trained = 4
    return Setup(
        tokens=args.per_device_train_batch_size * max_length(config) // config.deepspeed.sequence_parallel,
        gpus=config.launch.processes,
        stage=stage,
        compute_bytes=BYTES[dtype],
        weight_bytes=BYTES[dtype],
        quantised_bytes=_quantised(config.peft.quantization) if four_bits else None,
        trained_bytes=trained,
        state_bytes=_state_bytes(args, 4 if stage is not None else trained),
        accumulates=args.gradient_accumulation_steps > 1,
        adapters=config.peft.method is not None,
        offload_optimizer=_on_host(zero, "offload_optimizer"),
        offload_weights=_on_host(zero, "offload_param"),
        offload_activations=args.activation_offloading,
        gathered=_number(zero, "stage3_max_live_parameters", 1e9),
        bucket=_number(zero, "reduce_bucket_size", 5e8, auto=hidden**2) * twice,
        sub_group=_number(zero, "sub_group_size", 1e9),
        on_cpu=config.model.device == "cpu",
    )


def _on_host(zero: dict[str, Any], key: str) -> bool:
    return bool((zero.get(key) or {}).get("device", "none") != "none")


def _number(zero: dict[str, Any], key: str, default: float, auto: float | None = None) -> float:
    """A size of DeepSpeed's; `auto` is what the trainer fills in (transformers/integrations/deepspeed.py)."""
    value = zero.get(key, default)
    if value == "auto":
        return default if auto is None else auto
    return float(value)


def _quantised(quantization: dict[str, Any]) -> float:
    """Bytes of a weight that bitsandbytes holds."""
    if quantization.get("load_in_8bit"):
        return 1.0
    return FOUR_BITS[bool(quantization.get("bnb_4bit_use_double_quant"))]


def _state_bytes(args: "SFTConfig", held: int) -> float:
    """torch's own optimisers keep their moments in the precision of the weight (`held` bytes), others in theirs."""
    name = str(getattr(args.optim, "value", args.optim))
    if name not in STATE_BYTES:
        raise ConfigError(
            f"trainer.args.optim={name}: reer-plan does not know how much it keeps; it knows {', '.join(STATE_BYTES)}"
        )
    return STATE_BYTES[name] * (held / 4 if name in ("adamw_torch", "adamw_torch_fused") else 1)


def _kernel(config: PlanningConfig, args: "SFTConfig") -> str:
    """Which attention; the default, sdpa, needs a mask as soon as a row holds several examples, or padding."""
    attention = (config.trainer.args.get("model_init_kwargs") or {}).get("attn_implementation", "sdpa")
    if attention == "eager":
        return "eager"
    mixed = args.packing or args.per_device_train_batch_size > 1
    return "masked" if attention == "sdpa" and mixed else "fused"


def _kept(config: PlanningConfig, args: "SFTConfig", dtype: str, found: "PretrainedConfig", data: Data) -> Kept:
    plain, adapted = config.deepspeed.config is None, config.peft.method is not None
    batch, length = args.per_device_train_batch_size, max_length(config) // config.deepspeed.sequence_parallel
    return shape.trace(
        found,
        adapter_arguments(config.peft),
        (1, batch * length) if args.packing else (batch, min(length, data.longest)),
        dtype=dtype if adapted else weights_dtype(config, dtype),
        autocast=dtype if plain and dtype != "float32" else None,
        checkpointing=args.gradient_checkpointing,
        kernel=_kernel(config, args),
    )


def measure_data(config: PlanningConfig) -> Data:
    """Counted where data.trajectories exists (by words where the tokenizer cannot be had), else plan.examples.

    Raises:
        DataError: the file has no usable row.
    """
    from ..examples.data import prepare

    path = Path(config.data.trajectories)
    if not exists(path):
        plan = config.plan
        size = min(plan.tokens_per_example, max_length(config))
        total = plan.examples * size
        source = f"plan.examples x plan.tokens_per_example ({path} does not exist)"
        return Data(examples=plan.examples, tokens=total, longest=max_length(config), context=size, source=source,
                    held_out=config.trainer.held_out)  # fmt: skip
    layout, source = _layout(config, path)
    rules = rules_of(config)
    examples = prepare(path, layout, max_length(config), config.data.variant, config.data, rules).examples
    lengths = sorted(len(example.encoded.ids) for example in examples)
    kept = max(1, len(lengths) - config.trainer.held_out)
    return Data(
        examples=kept,
        tokens=round(kept * fmean(lengths)),
        longest=lengths[-1],
        context=sum(n * n for n in lengths) / sum(lengths),
        source=source,
        held_out=config.trainer.held_out,
    )


def _layout(config: PlanningConfig, path: Path) -> tuple[Layout, str]:
    from reer.backend.models import load_tokenizer
    from reer.layout import build_layout

    try:
        return build_layout(config.layout, load_tokenizer(config.model)), f"counted in {path}"
    except ModelError:
        return cast(Layout, _Words()), f"estimated from the words of {path}: {config.model.path} has no tokenizer here"


class _Words:
    """In place of a layout, where there is no tokenizer: about as many tokens as the texts would have."""

    def encode(self, query: str, thinking: str | None, answer: str, history: Sequence[Message] = ()) -> Encoded:
        asked = sum(tokens(turn.content) for turn in (*history, Message("user", query)))
        before, block = TEMPLATE + asked, tokens(thinking or "")
        end = before + block + tokens(answer)
        return Encoded(tuple(range(end)), before, before + block, end)
