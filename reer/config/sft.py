"""What reer-sft and reer-plan read: trainer, adapters, DeepSpeed, processes, and what a plan assumes."""

from dataclasses import dataclass, field
from typing import Any

from reer.config.data import LayoutConfig
from reer.config.dataset import MixingConfig
from reer.config.engines import ModelConfig


@dataclass(kw_only=True)
class SamplesConfig:
    """What the model writes on held-out queries at each evaluation during training."""

    count: int = 0
    """Queries; 0 writes nothing."""
    max_new_tokens: int = 1024
    temperature: float = 0.7
    top_p: float = 0.95


@dataclass(kw_only=True)
class TrainerConfig:
    """Supervised fine-tuning."""

    args: dict[str, Any] = field(default_factory=dict)
    """Passed to trl.SFTConfig, which validates them; `model_init_kwargs` among them (attn_implementation, ...)."""
    global_batch: int | None = None
    """Examples per optimiser step, over all processes; gradient accumulation follows from it. With packing, as many
    packs as hold about so many. null: per_device_train_batch_size x gradient_accumulation_steps x processes."""
    max_dropped: float = 0.05
    """Largest share of trajectories that may be dropped as longer than the context; above it nothing is trained."""
    held_out: int = 0
    """Trajectories kept out of training; NLL(y|x, z) and NLL(z|x) are measured on them at each evaluation
    (`args.eval_strategy`) and of the saved model."""
    patience: int | None = None
    """Stop after so many evaluations in a row without a lower NLL(y|x, z), and keep the best checkpoint."""
    samples: SamplesConfig = field(default_factory=SamplesConfig)


@dataclass(kw_only=True)
class PeftConfig:
    """Adapters; without a method the whole model is trained."""

    method: str | None = None
    """null, lora or qlora (LoRA on a model in 4 bits)."""
    args: dict[str, Any] = field(default_factory=dict)
    """Passed to peft.LoraConfig, which validates them."""
    quantization: dict[str, Any] = field(default_factory=dict)
    """qlora: passed to transformers.BitsAndBytesConfig, which validates them."""
    merge: bool = True
    """Write the model with the adapter in its weights; false: the adapter alone, to be loaded on top of the base."""


@dataclass(kw_only=True)
class DeepSpeedConfig:
    """DeepSpeed, or none."""

    config: dict[str, Any] | None = None
    """DeepSpeed's own JSON, which DeepSpeed validates; its "auto" values are filled from trainer.args."""
    sequence_parallel: int = 1
    """Processes that share one sequence (Ulysses, arXiv 2309.14509)."""


@dataclass(kw_only=True)
class LaunchConfig:
    """On how many processes a stage runs; changes no result where trainer.global_batch is given."""

    processes: int = 1
    """In all, over all machines. More than one are started here, unless torchrun or accelerate has started them."""


@dataclass(kw_only=True)
class PlanConfig:
    """What reer-plan assumes beyond the config of the training itself."""

    gpus: int | None = None
    """null: launch.processes."""
    gpu: str = "h100"
    """h100, h200, b200, a100, a100_40gb, l40s or rtx4090: memory and data-sheet speed (train/plan.py)."""
    gpu_memory: float | None = None
    """GB (10^9 bytes) of another card."""
    host_memory: float | None = None
    """GB of the machine; null: what is needed is only told."""
    matmul_tflops: float | None = None
    """Speed of matrix products measured on the card (scripts/bench/sft prints it); null: 0.81 of the data sheet."""
    utilisation: float = 0.45
    """Share of it that training reaches, recomputed layers counted as work."""
    price_per_gpu_hour: float | None = None
    """Dollars; null: GPU-hours only."""
    examples: int = 20000
    """Used where data.trajectories does not exist yet."""
    tokens_per_example: int = 4260
    """The same, query, thinking and answer together."""


@dataclass(kw_only=True)
class SftConfig(MixingConfig):
    """What reer-sft reads."""

    audit: bool = False
    """Show a few examples token by token, with what is supervised, and stop."""
    model: ModelConfig = field(default_factory=ModelConfig)
    layout: LayoutConfig = field(default_factory=LayoutConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    peft: PeftConfig = field(default_factory=PeftConfig)
    deepspeed: DeepSpeedConfig = field(default_factory=DeepSpeedConfig)
    launch: LaunchConfig = field(default_factory=LaunchConfig)


@dataclass(kw_only=True)
class PlanningConfig(SftConfig):
    """What reer-plan reads."""

    plan: PlanConfig = field(default_factory=PlanConfig)
