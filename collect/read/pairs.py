"""Pairs from files, and from datasets of the Hugging Face hub or local copies of them."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from reer.config import DataConfig, SourceConfig
from reer.errors import ConfigError, DataError
from reer.files.pairs import Notes, Quarantined, pairs_of, path_of, stream_pairs
from reer.files.rows import Row, loaded
from reer.types import Example

UNKNOWN = "unknown"
"""The licence of a row that nobody has named one for."""
SHOWN = 10_000
"""Characters of a broken row of a dataset that are kept."""


def from_files(source: SourceConfig, notes: Notes) -> Iterator[Example | Quarantined]:
    """Pairs of a file, a folder or a pattern, in every form that `reer.files.pairs` reads.

    Raises:
        DataError: there is no such file, or it holds no usable row.
    """
    path = path_of(Path(source.path) if source.path else None)
    data = DataConfig(path=str(path), columns=source.columns, turns=source.turns)
    for row in stream_pairs(path, source.limit, data, notes=notes):
        yield row if isinstance(row, Quarantined) else described(row, source, path.name)


def from_dataset(source: SourceConfig, notes: Notes) -> Iterator[Example | Quarantined]:
    """Rows of a dataset as pairs. A local copy is a file or folder in the same schema.

    Raises:
        ConfigError: there is no id to load by.
        DataError: it cannot be loaded, has no such split, or no usable row.
    """
    name = source.path or source.hub
    if name is None:
        raise ConfigError("source.hub is missing: the id of a dataset, or source.path=FOLDER of a local copy")
    data = DataConfig(columns=source.columns, turns=source.turns)
    rows = (Row(name, n, value, _plain(value)) for n, value in enumerate(_rows(source, name), start=1))
    for row in pairs_of(rows, name, source.limit, data, notes):
        if isinstance(row, Quarantined):
            yield replace(row, text=row.text[:SHOWN])
        else:
            yield described(row, source, name)


def _plain(value: Any) -> Any:
    """Columns without a value are left out, as readers of files do."""
    return {key: part for key, part in value.items() if part is not None} if isinstance(value, Mapping) else value


def _rows(source: SourceConfig, name: str) -> Iterator[Any]:
    """Raises: DataError: whatever `datasets` says of what it was asked for."""
    where: dict[str, Any] = {"path": name, "name": source.subset, "revision": source.revision}
    if source.path:
        where = _local(Path(source.path))
    hint = "; offline? source.path=FOLDER reads a local copy" if not source.path else ""
    return loaded(name, hint, split=source.split, streaming=True, **where)


def _local(path: Path) -> dict[str, Any]:
    """What `load_dataset` calls a local copy. Every file is read as one split, whatever it is called.

    Raises:
        DataError: there is no file of a kind that it reads.
    """
    kinds = {".parquet": "parquet", ".jsonl": "json", ".json": "json", ".csv": "csv", ".arrow": "arrow"}
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    found = [file for file in files if file.is_file() and file.suffix in kinds and "info" not in file.stem]
    if not found:
        raise DataError(f"{path}: no local copy of a dataset ({', '.join(kinds)})")
    suffix = found[0].suffix
    return {"path": kinds[suffix], "data_files": [str(file) for file in found if file.suffix == suffix]}


def described(example: Example, source: SourceConfig, name: str) -> Example:
    """The pair with what the config says of its origin, where the row itself does not."""
    extra = dict(example.extra)
    if source.score and source.score in extra:
        extra["score"] = extra.pop(source.score)
    extra.setdefault("document", example.id)
    return replace(
        example,
        source=example.source or source.source or name,
        licence=example.licence or source.licence or UNKNOWN,
        language=example.language if source.language is None else source.language,
        extra=extra,
    )
