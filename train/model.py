"""The model that is trained: loaded for training, and saved as a folder that plain transformers can use.

Full fine-tuning keeps a float32 copy of the weights whatever `model.dtype` says: at learning rates such as 2e-5 most
updates are smaller than bfloat16 can add to a weight and would be lost. Who keeps it differs (`weights_dtype`).
`model.dtype` is the precision of the arithmetic and of the saved folder.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reer.backend.models import explained, locate
from reer.backend.tokens.chat import ChatTokenizer
from reer.config import ModelConfig, PeftConfig, SftConfig

from .arguments.adapters import quantization_arguments
from .arguments.trainer import model_arguments

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from trl import SFTTrainer


def resolve_dtype(config: ModelConfig) -> str:
    """`model.dtype`, with `auto` replaced by the precision the model is stored in.

    Raises:
        ModelError: the model cannot be found.
    """
    if config.dtype != "auto":
        return config.dtype
    from transformers import AutoConfig

    with explained(config.path):
        stored = AutoConfig.from_pretrained(locate(config), revision=config.revision).dtype
    return str(stored or "float32").removeprefix("torch.")


def weights_dtype(config: SftConfig, dtype: str) -> str:
    """The precision that trained weights are loaded in.

    float32, unless something else keeps small updates: DeepSpeed's own float32 copies, an optimiser that rounds
    stochastically (torchao, `bf16_stochastic_round`), or adapters, which peft keeps in float32 beside a frozen model.
    """
    stochastic = "bf16_stochastic_round=true" in str(config.trainer.args.get("optim_args", "")).lower()
    kept = config.peft.method is not None or config.deepspeed.config is not None or stochastic
    return dtype if kept else "float32"


def load_for_training(config: SftConfig, dtype: str) -> "PreTrainedModel":
    """A model of its own, its weights in `dtype`; the trainer moves it to its device (under ZeRO-3: its part).

    Raises:
        ModelError: it cannot be found or loaded.
        ConfigError: an argument of its loading is the stage's own.
    """
    from transformers import AutoModelForCausalLM

    quantization = quantization_arguments(config.peft)
    with explained(config.model.path):
        return AutoModelForCausalLM.from_pretrained(
            locate(config.model),
            revision=config.model.revision,
            dtype=dtype,
            use_safetensors=True,
            **({"quantization_config": quantization} if quantization else {}),
            **model_arguments(config.trainer.args.get("model_init_kwargs")),
        )


def keep_adapters_precise(trainer: "SFTTrainer", peft: PeftConfig) -> None:
    """Put qlora's adapters back into float32, as peft keeps those of lora.

    trl holds them in bfloat16, and so would Adam its moments: small updates would be lost. (DeepSpeed keeps float32
    copies of its own.)
    """
    if peft.method != "qlora" or trainer.is_deepspeed_enabled:
        return
    for parameter in trainer.model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def save_trained(trainer: "SFTTrainer", folder: Path, dtype: str) -> None:
    """Write what was trained as safetensors, all or nothing: the whole model, or the adapters alone.

    Every process calls this (ZeRO-3 gathers the parts on the first), the first one writes.
    """
    import torch
    from peft import PeftModel

    model = trainer.accelerator.unwrap_model(trainer.model_wrapped)
    if not (
        trainer.is_deepspeed_enabled or isinstance(model, PeftModel)
    ):  # DeepSpeed's weights are in `dtype` already
        model.to(getattr(torch, dtype))
    state = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    if not trainer.accelerator.is_main_process:
        return
    state = {name.removeprefix("module."): value for name, value in state.items()}
    for tied in getattr(model, "all_tied_weights_keys", {}):  # ZeRO-2 has made a second copy of it
        state.pop(tied, None)
    with _replacing(folder) as made:
        model.save_pretrained(made, state_dict=state)


def complete_model(config: SftConfig, trained: Path, tokenizer: ChatTokenizer, folder: Path, dtype: str) -> None:
    """Make of what was trained the folder that others load: tokenizer, chat template and generation settings beside
    the weights, and adapters merged into them unless `peft.merge=false`.

    Generation stops on the end of turn, also for base models whose own end-of-sequence token is another one.
    """
    if config.peft.method is None:
        _add_settings(config.model, tokenizer, trained)
        shutil.rmtree(folder, ignore_errors=True)
        trained.replace(folder)  # a move: cut short anywhere, the weights are in the one place or the other
        return
    with _replacing(folder) as made:
        if config.peft.merge:
            merged(config, trained, dtype).save_pretrained(made)
        else:
            shutil.copytree(trained, made)
        _add_settings(config.model, tokenizer, made)


def _add_settings(config: ModelConfig, tokenizer: ChatTokenizer, folder: Path) -> None:
    _generation(config, tokenizer).save_pretrained(folder)
    tokenizer.hf.save_pretrained(folder)


def merged(config: SftConfig, adapter: Path, dtype: str) -> Any:
    """The base model with an adapter in its weights; of qlora, the base model in full precision."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    with explained(config.model.path):
        base = AutoModelForCausalLM.from_pretrained(
            locate(config.model), revision=config.model.revision, dtype=dtype, use_safetensors=True
        )
    return PeftModel.from_pretrained(base, adapter).merge_and_unload()


def _generation(config: ModelConfig, tokenizer: ChatTokenizer) -> Any:
    """The base model's generation settings, stopping on the end of turn too."""
    from transformers import GenerationConfig

    try:
        settings = GenerationConfig.from_pretrained(locate(config), revision=config.revision)
    except OSError:  # many base models have none
        settings = GenerationConfig()
    known = settings.eos_token_id
    stops = {tokenizer.end_of_turn, *(known if isinstance(known, list) else [known] if known is not None else [])}
    settings.eos_token_id = sorted(stops)
    settings.max_new_tokens = None  # Qwen3-8B-Base: 2,048, which vLLM allows no request to exceed
    return settings


@contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    """A place to write a folder in; it takes the folder's place when all is written."""
    made = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(made, ignore_errors=True)
    yield made
    shutil.rmtree(folder, ignore_errors=True)
    made.replace(folder)
