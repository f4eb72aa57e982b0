"""The model that is trained: loaded for training, and saved as a folder that plain transformers can use.

Full fine-tuning keeps float32 weights whatever `model.dtype` says: at learning rates such as 2e-5 most updates are
smaller than bfloat16 can add to a weight and would be lost. `model.dtype` is then the precision of the arithmetic
and of the saved folder. With adapters the frozen model stays in `model.dtype`, and peft keeps the adapters in float32.
"""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reer.backend.models import ChatTokenizer, explained, locate
from reer.config import ModelConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel


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


def load_for_training(config: ModelConfig, dtype: str) -> "PreTrainedModel":
    """A model of its own on the CPU, its weights in `dtype`; the trainer moves it to its device.

    Raises:
        ModelError: it cannot be found or loaded.
    """
    from transformers import AutoModelForCausalLM

    with explained(config.path):
        return AutoModelForCausalLM.from_pretrained(
            locate(config), revision=config.revision, dtype=dtype, use_safetensors=True
        )


def save_model(model: Any, tokenizer: ChatTokenizer, folder: Path, dtype: str) -> None:
    """Write safetensors, tokenizer, chat template and generation settings, all or nothing.

    Adapters are merged into the weights. Generation stops on the end of turn, also for base models whose own
    end-of-sequence token is another one.
    """
    import torch
    from peft import PeftModel

    if isinstance(model, PeftModel):
        model = model.merge_and_unload()
    model.to(getattr(torch, dtype))
    settings = model.generation_config
    known = settings.eos_token_id
    stops = {tokenizer.end_of_turn, *(known if isinstance(known, list) else [known] if known is not None else [])}
    settings.eos_token_id = sorted(stops)
    made = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(made, ignore_errors=True)
    model.save_pretrained(made)
    tokenizer.hf.save_pretrained(made)
    shutil.rmtree(folder, ignore_errors=True)
    made.replace(folder)
