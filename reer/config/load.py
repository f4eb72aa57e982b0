"""From a composed config to plain dataclasses, in which no number of things is impossible."""

from collections.abc import Iterator
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from reer.errors import ConfigError

T = TypeVar("T")

_AT_LEAST_ONE = {
    "limit", "first_samples", "first_rounds", "candidates", "sweeps", "attempts", "ngram", "max_tokens",
    "thinking_tokens", "max_new_tokens", "concurrency", "batch_size", "row_tokens", "token_budget", "repeats",
    "max_length", "global_batch", "patience", "processes", "sequence_parallel", "gpus", "examples",
    "tokens_per_example", "max_calls",
}  # fmt: skip
"""Keys, by their last part, of which none makes no sense."""
_NOT_NEGATIVE = {
    "temperature", "max_cost", "input", "output", "cached_input", "latency", "max_wait", "resample", "max_retries",
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
    return view(**values)


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
