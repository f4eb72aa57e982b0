"""What was trained, written as a folder that plain transformers, vLLM and llama.cpp's converter can use."""

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reer.backend.models import explained, locate
from reer.backend.stored import ends, own_settings, special_tokens, stored_settings
from reer.backend.tokens.chat import ChatTokenizer
from reer.config import ModelConfig, SftConfig

from ..arguments.adapters import adapter_arguments
from .config_json import add_older_keys
from .tied import untie_for
from .tokenizer import copy_sentencepiece, save_tokenizer

if TYPE_CHECKING:
    from trl import SFTTrainer

log = logging.getLogger(__name__)


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
    add_older_keys(folder)
    generation_settings(config, tokenizer).save_pretrained(folder)
    copy_sentencepiece(config, folder)
    if (different := save_tokenizer(tokenizer.hf, folder)) is not None:  # a run of old: a new one is refused before
        log.warning("%s: its tokenizer gives other ids than were trained on, as for %r", folder, different)


def merged(config: SftConfig, adapter: Path, dtype: str) -> Any:
    """The base model with an adapter in its weights; of qlora, the base model in full precision."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    path, revision = locate(config.model), config.model.revision
    with explained(config.model.path):
        base = AutoModelForCausalLM.from_pretrained(
            path,
            revision=revision,
            dtype=dtype,
            use_safetensors=True,
            generation_config=own_settings(path, revision, tell=False),
        )
    untie_for(base, adapter_arguments(config.peft))
    return PeftModel.from_pretrained(base, adapter).merge_and_unload()


def generation_settings(config: ModelConfig, tokenizer: ChatTokenizer) -> Any:
    """Special tokens alone: every token that ends a turn, the template's among them, and one to pad with.

    How to sample is for who asks; what the base model's file says of it was meant for another model, and some of it
    (Qwen3-8B-Base: 2,048 new tokens, which vLLM allows no request to exceed) would limit this one.
    """
    from transformers import GenerationConfig

    settings = GenerationConfig(**special_tokens(stored_settings(locate(config), config.revision)))
    settings.eos_token_id = ends(tokenizer, settings)
    own = special_tokens({"pad_token_id": tokenizer.hf.pad_token_id, "bos_token_id": tokenizer.hf.bos_token_id})
    settings.update(**own)
    if settings.pad_token_id is None:
        settings.pad_token_id = tokenizer.end_of_turn  # behind the end of a turn it changes nothing
    return settings


@contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    """A place to write a folder in; it takes the folder's place when all is written."""
    made = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(made, ignore_errors=True)
    try:
        yield made
        shutil.rmtree(folder, ignore_errors=True)
        made.replace(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)  # half a folder only takes room
