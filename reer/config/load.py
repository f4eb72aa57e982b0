"""From a composed config to plain dataclasses, in which no number of things is impossible."""

import os
from collections.abc import Iterator
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, cast
from unicodedata import category

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from reer.config.engines import BACKENDS
from reer.config.synthesize import SynthesizeConfig
from reer.errors import ConfigError

T = TypeVar("T")

_PATHS = {
    "path", "trajectories", "run_dir", "model_path", "training_data", "tokenizer", "replies", "baseline", "rubric",
    "data", "answers", "set", "instruction", "prompts",
}  # fmt: skip
"""Keys, by their last part, that hold a path where they hold a text: `~` and `~user` are a home folder there."""
_LONGEST_NAME = 255
"""Bytes of a file's name that every common file system takes."""
_AT_LEAST_ONE = {
    "limit", "first_samples", "first_rounds", "candidates", "sweeps", "attempts", "ngram", "max_tokens",
    "thinking_tokens", "max_new_tokens", "concurrency", "batch_size", "row_tokens", "token_budget", "repeats",
    "max_length", "global_batch", "patience", "processes", "sequence_parallel", "gpus", "examples",
    "tokens_per_example", "max_calls", "max_failures", "screen", "audit", "multi_start", "max_words", "actors",
    "rows", "shard_rows", "queries", "size",
}  # fmt: skip
"""Keys, by their last part, of which none makes no sense."""
_NOT_NEGATIVE = {
    "temperature", "max_cost", "input", "output", "cached_input", "latency", "max_wait", "resample", "max_retries",
    "blind", "decorative", "min_words", "held_out", "cpus_per_actor", "gpus_per_actor", "ratio",
}  # fmt: skip
"""Numbers, by their last part, that have no sense below zero."""


def load(config: DictConfig, view: type[T]) -> T:
    """The part of a composed config that one stage reads, resolved and as plain dataclasses.

    Raises:
        ConfigError: a value that stage needs is missing, or an interpolation leads nowhere.
    """
    keys = [f.name for f in fields(view)]  # type: ignore[arg-type]
    part = OmegaConf.masked_copy(config, keys)
    part._set_parent(config)
    try:
        if missing := sorted(OmegaConf.missing_keys(part)):
            raise ConfigError(f"missing value for {', '.join(missing)}: give {missing[0]}=... on the command line")
        values = {key: OmegaConf.to_object(part[key]) if OmegaConf.is_config(part[key]) else part[key] for key in keys}
    except OmegaConfBaseException as error:
        raise ConfigError(one_line(error)) from error
    _refuse_nothing(values)
    loaded = view(**values)
    _expand_home(loaded)
    refuse_folder("name", str(values["name"]))
    refuse_folder("evaluate.label", getattr(values.get("evaluate"), "label", "tuned"))
    return loaded


def refuse_folder(key: str, name: str) -> None:
    """A slash in a name makes folders in folders, all of them inside the one they belong to.

    Raises:
        ConfigError: it makes no folder, or one elsewhere, or the same as another name.
    """
    for part in name.split("/"):
        if part in ("", ".", ".."):
            what = f"{part!r} is no folder's name" if part else "a folder's name is missing in it"
            raise ConfigError(f"{key}={name}: {what}; names inside runs/ look like fables or fables/first")
        if any(category(char) == "Cc" for char in part):
            raise ConfigError(f"{key}={name!r}: a folder's name holds no line break and no other control character")
        if len(part.encode()) > _LONGEST_NAME:
            raise ConfigError(f"{key}={part[:20]}...: a folder's name has 255 bytes at most, not {len(part.encode())}")


def _expand_home(node: Any) -> None:
    """Put home folders into the paths of a dataclass, in place."""
    for field in fields(node):
        value = getattr(node, field.name)
        if isinstance(value, str) and field.name in _PATHS:
            setattr(node, field.name, os.path.expanduser(value))
        if field.name == "paths":
            setattr(node, field.name, [os.path.expanduser(path) for path in value])
        for inner in value.values() if isinstance(value, dict) else [value]:
            if is_dataclass(inner):
                _expand_home(inner)


def load_frozen(path: Path, view: type[T]) -> T:
    """The config that a stage froze in its run folder, as the plain dataclasses it was made from.

    For views without engines: their schemas are chosen by Hydra's groups.

    Raises:
        ConfigError: the file is missing, or is no such config.
    """
    try:
        frozen = OmegaConf.merge(OmegaConf.structured(view), OmegaConf.load(path))
        return cast(T, OmegaConf.to_object(frozen))
    except (OSError, OmegaConfBaseException) as error:
        raise ConfigError(f"{path}: {one_line(error)}") from error


def load_search(path: Path) -> SynthesizeConfig:
    """The config that reer-synthesize froze in its run folder, engines included.

    Raises:
        ConfigError: the file is missing, or is no such config.
    """
    try:
        frozen = OmegaConf.load(path)
        kinds = {role: OmegaConf.select(frozen, f"{role}.kind") for role in ("generator", "scorer", "draft")}
        engines = {role: BACKENDS[kind]() for role, kind in kinds.items() if kind or role != "draft"}
        schema = OmegaConf.structured(SynthesizeConfig(**engines))  # type: ignore[arg-type]
        merged = OmegaConf.merge(schema, frozen)
        return cast(SynthesizeConfig, OmegaConf.to_object(merged))
    except (OSError, KeyError, AttributeError, OmegaConfBaseException) as error:
        raise ConfigError(f"{path}: {one_line(error)}") from error


def _refuse_nothing(values: dict[str, Any]) -> None:
    """Raises: ConfigError: a number of things that has to be one at least, or one below zero."""
    plain = {
        key: asdict(value) for key, value in values.items() if is_dataclass(value) and not isinstance(value, type)
    }
    for key, value in flatten(plain):
        name, number = key.split(".")[-1], isinstance(value, int | float) and ".args." not in key
        if number and name in _AT_LEAST_ONE and value < 1:
            raise ConfigError(f"{key}={value}: has to be at least 1")
        if number and name in _NOT_NEGATIVE and value < 0:
            raise ConfigError(f"{key}={value}: cannot be negative")


def flatten(values: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of nested dicts as (dotted key, value)."""
    if isinstance(values, dict) and values:
        for key, value in values.items():
            yield from flatten(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, values


def one_line(error: BaseException) -> str:
    """An exception's message as one sentence-like line."""
    lines = (line.strip() for line in str(error).splitlines())
    kept = [line for line in lines if line and not line.startswith(("object_type=", "reference_type="))]
    return "; ".join(dict.fromkeys(kept))
