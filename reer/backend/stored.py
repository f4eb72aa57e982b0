"""What a model's folder says of itself besides its weights: their precision, and how it would like to generate.

Of the latter only the special tokens are taken. A repetition penalty, a top_k or a temperature that came with the
model would change samples unseen, and in one engine only; here a request alone says how to draw. Knows folders and hub
ids; loads no weights.
"""

import functools
import json
import logging
import math
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import GenerationConfig

log = logging.getLogger(__name__)

TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id")
_SILENT = {*TOKENS, "transformers_version", "_from_model_config", "use_cache", "output_attentions",
           "output_hidden_states"}  # fmt: skip
"""Keys of generation_config.json that change no sample, or are kept."""
_NAMES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
"""What safetensors calls the precisions a model can be run in."""


def stored_dtype(path: str, revision: str | None, *, download: bool = True) -> str:
    """The precision that `model.dtype=auto` stands for, in training and in every engine: what config.json names, else
    that in which most of the (first file of) weights is stored; float32 where neither tells.

    Raises:
        OSError, ValueError: the model cannot be found.
    """
    from transformers import AutoConfig

    base = _base_of_adapter(path, revision)
    named = AutoConfig.from_pretrained(base or path, revision=None if base else revision).dtype
    if named is not None:
        return str(named).removeprefix("torch.")
    return _of_the_weights(base or path, None if base else revision, download) or "float32"


def _base_of_adapter(path: str, revision: str | None) -> str | None:
    """The model that an adapter's folder is to be loaded on; None for a whole model."""
    from transformers.utils import find_adapter_config_file

    found = find_adapter_config_file(path, revision=revision)
    if found is None or (Path(path) / "config.json").exists():
        return None
    return str(json.loads(Path(found).read_text(encoding="utf-8"))["base_model_name_or_path"])


def _of_the_weights(path: str, revision: str | None, download: bool) -> str | None:
    from safetensors import safe_open

    file = _first_file(path, revision, download)
    if file is None:
        return None
    numbers: Counter[str] = Counter()
    with safe_open(file, framework="pt") as weights:
        for name in weights.keys():  # noqa: SIM118 (it is no mapping)
            piece = weights.get_slice(name)
            numbers[piece.get_dtype()] += math.prod(piece.get_shape())
    return next((_NAMES[kind] for kind, _ in numbers.most_common() if kind in _NAMES), None)


def _first_file(path: str, revision: str | None, download: bool) -> str | None:
    """The file of safetensors that holds a model's first weights; None where there is none to be had."""
    if whole := stored_file(path, revision, "model.safetensors", download=download):
        return whole
    if index := stored_file(path, revision, "model.safetensors.index.json", download=download):
        parts = json.loads(Path(index).read_text(encoding="utf-8"))["weight_map"].values()
        return stored_file(path, revision, min(parts), download=download)
    return None


def stored_file(path: str, revision: str | None, name: str, *, download: bool = True) -> str | None:
    """A file of a folder, or of a hub model; None where there is none."""
    from transformers.utils import cached_file

    found: str | None = cached_file(
        path,
        name,
        revision=revision,
        local_files_only=not download,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
        _raise_exceptions_for_gated_repo=False,
    )
    return found


def own_settings(path: str, revision: str | None, *, tell: bool = True) -> "GenerationConfig":
    """Generation settings of ours for a model: its special tokens and nothing else, so that a request alone counts.

    It is given to `from_pretrained` in place of the model's own, which is then not even read: some that are published
    cannot be loaded, others not be saved again, and training would end with a traceback.
    """
    from transformers import GenerationConfig

    stored = stored_settings(path, revision)
    if tell and (hidden := _hidden(stored)):
        _tell(path, hidden)
    return GenerationConfig(**special_tokens(stored))


def stored_settings(path: str, revision: str | None) -> dict[str, Any]:
    """The content of a model's generation_config.json, unchecked; empty where it has none that can be read."""
    file = stored_file(path, revision, "generation_config.json")
    try:
        stored = json.loads(Path(file).read_text(encoding="utf-8")) if file else {}
    except ValueError:  # no JSON: transformers passes over such a file too
        return {}
    return stored if isinstance(stored, dict) else {}


def special_tokens(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Of stored generation settings the token ids that are some."""
    found = {name: token_ids(stored.get(name)) for name in TOKENS}
    plain = {name: ids[0] for name, ids in found.items() if len(ids) == 1}
    return plain | ({"eos_token_id": found["eos_token_id"]} if len(found["eos_token_id"]) > 1 else {})


def token_ids(value: Any) -> list[int]:
    """The token ids in a setting that may hold one, several, none, or something else."""
    found = value if isinstance(value, list | tuple | set) else [value]
    return [i for i in found if isinstance(i, int) and not isinstance(i, bool) and i >= 0]


def _hidden(stored: Mapping[str, Any]) -> str:
    """What is left out, in words."""
    found = sorted((key, value) for key, value in stored.items() if key not in _SILENT and value is not None)
    return ", ".join(f"{key}={json.dumps(value)}" for key, value in found)


@functools.cache
def _tell(path: str, settings: str) -> None:
    """Once in a process, and of several that train as one only in the first."""
    if os.environ.get("RANK", "0") == "0":
        log.warning("model %s: its generation_config.json says %s, which is left out: a request alone says how to "
                    "draw", path, settings)  # fmt: skip
