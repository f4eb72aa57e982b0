"""Rows as they stand in files: JSON (a list, lines, a list under a key), CSV, TSV, Parquet, Arrow; packed; in shards.

A row that cannot be read is a `BadRow` in its place; only a source that cannot be read at all is an error. Rows are
read as they are asked for: of a file no more is held than a batch. Knows files; knows nothing of what a row means.
"""

import csv
import glob
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from reer.errors import DataError

PACKED = (".gz", ".zst")
NO_DATA = re.compile(r"dataset_infos?\.json|state\.json|dataset_dict\.json")
"""Files beside the data of a saved dataset."""
CHUNK = 1 << 20
"""Characters of a JSON list that are read at once."""
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_NOT_UTF8 = re.compile("[\udc80-\udcff]")
_LIST_UNDER_KEY = re.compile(r'\s*\{\s*"([^"\\]*)"\s*:\s*(?=\[\s*(?:\{|\]))')
_LIST = re.compile(r'"([^"\\]*)"\s*:\s*\[\s*\{')
_SPACE = re.compile(r"[\s,]*")


class BadRow(ValueError):
    """A row that cannot be used; the message is the reason."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a source."""

    file: str
    number: int
    """Counted from 1: the line of a file of lines, the item of a list or table."""
    text: str
    """As it stands in the file, as far as that can be read."""
    value: Any
    """What it holds, or the `BadRow` that says why it holds nothing."""


Numbered = Iterator[tuple[int, str, Any]]


def read_rows(source: str | Path, *, without: Sequence[str] = ()) -> Iterator[Row]:
    """Every row of a file, of all files of a folder, or of all that match a pattern; files in their natural order.

    `without` names columns of a table that need not be read.

    Raises:
        DataError: there is no such file, its kind is unknown, or it cannot be read as a whole.
    """
    for path in files_of(source):
        try:
            for number, text, value in _reader(path)(path, without):
                yield Row(path.name, number, text, value)
        except (OSError, EOFError) as error:
            raise DataError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error


def files_of(source: str | Path) -> list[Path]:
    """The files that a path, a folder or a pattern stands for.

    Raises:
        DataError: none, or files of several kinds in one folder.
    """
    path = Path(source)
    if path.is_file():
        return [path]
    if path.is_dir():
        return _of_folder(path)
    if any(sign in str(source) for sign in "*?["):
        found = [Path(name) for name in glob.glob(str(source), recursive=True) if Path(name).is_file()]
        if not found:
            raise DataError(f"{source}: no file matches this pattern")
        return sorted(found, key=_natural)
    raise DataError(f"{source}: no such file")


def _of_folder(folder: Path) -> list[Path]:
    found = [p for p in folder.rglob("*") if p.is_file() and kind_of(p) in READERS and not NO_DATA.fullmatch(p.name)]
    found = [p for p in found if not any(part.startswith(".") for part in p.relative_to(folder).parts)]
    kinds = sorted({kind_of(path) for path in found})
    if not found:
        raise DataError(f"{folder}: holds no file of rows ({', '.join(READERS)})")
    if len(kinds) > 1:
        raise DataError(f"{folder}: holds {' and '.join(kinds)} files; say which: {folder}/*{kinds[0]}")
    return sorted(found, key=_natural)


def _natural(path: Path) -> list[tuple[int, int, str]]:
    """part-2 before part-10."""
    return [(1, int(p), "") if p.isdigit() else (0, 0, p) for p in re.split(r"(\d+)", str(path))]


def kind_of(path: Path) -> str:
    """The ending that says what a file holds: that before .gz or .zst."""
    return (path.with_suffix("") if path.suffix in PACKED else path).suffix.lower()


def _reader(path: Path) -> Callable[[Path, Sequence[str]], Numbered]:
    if kind_of(path) not in READERS:
        raise DataError(f"{path}: unknown kind of file (known: {', '.join(READERS)}; packed: {', '.join(PACKED)})")
    return READERS[kind_of(path)]


def _open(path: Path) -> IO[bytes]:
    """A file's bytes, unpacked."""
    if path.suffix == ".gz":
        import gzip

        return io.BufferedReader(gzip.GzipFile(path))
    if path.suffix == ".zst":
        import pyarrow as pa

        return io.BufferedReader(pa.CompressedInputStream(pa.OSFile(str(path)), "zstd"))
    return path.open("rb")


def _lines(path: Path, _: Sequence[str] = ()) -> Numbered:
    with _open(path) as file:
        for number, raw in enumerate(file, start=1):
            if number == 1 and raw.startswith(_UTF16):
                raise DataError(f"{path}: is UTF-16; save it as UTF-8")
            text = raw.decode("utf-8-sig" if number == 1 else "utf-8", errors="replace").strip()
            if text:
                yield number, text, parsed(raw)


def parsed(raw: bytes) -> Any:
    """The JSON value of a line, or the `BadRow` that says why there is none."""
    try:
        return json.loads(raw.decode("utf-8-sig").strip())
    except UnicodeDecodeError as error:
        return BadRow(f"not UTF-8 (byte {error.start + 1})")
    except json.JSONDecodeError as error:
        return BadRow(f"broken JSON: {error.msg} (column {error.colno})")
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets without end
        return BadRow(f"JSON that cannot be read: {error}")


def _json(path: Path, _: Sequence[str] = ()) -> Numbered:
    """A list, a list under one key, one object, or lines in a file that only its name calls JSON."""
    with _open(path) as file:
        head = file.readline(CHUNK)
        more = head.endswith(b"\n") and bool(file.readline(CHUNK).strip())
    if head.startswith(_UTF16):
        raise DataError(f"{path}: is UTF-16; save it as UTF-8")
    if more and isinstance(parsed(head), dict):
        yield from _lines(path)
        return
    with _open(path) as file, io.TextIOWrapper(file, encoding="utf-8-sig") as text:
        try:
            yield from _items(path, text)
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: not UTF-8 ({error.reason})") from error


def _items(path: Path, file: IO[str]) -> Numbered:
    """Items of a list that is read piece by piece."""
    buffer = file.read(CHUNK)
    under_key = _LIST_UNDER_KEY.match(buffer)
    at = under_key.end() if under_key and not _is_row(under_key.group(1)) else len(buffer) - len(buffer.lstrip())
    if buffer[at : at + 1] != "[":
        yield from _object(path, buffer + file.read())
        return
    decoder, at, number = json.JSONDecoder(), at + 1, 0
    while True:
        at = _SPACE.match(buffer, at).end()  # type: ignore[union-attr]
        if buffer[at : at + 1] == "]":
            if another := _LIST.search(buffer[at + 1 :] + file.read()):
                raise DataError(f"{path}: holds another list of rows ({another.group(1)}); give it a file of its own")
            return
        try:
            value, end = decoder.raw_decode(buffer, at)
            if end == len(buffer) and (more := file.read(CHUNK)):  # a number may go on
                buffer, at = buffer[at:] + more, 0
                continue
        except (ValueError, RecursionError) as error:
            buffer, at = buffer[at:], 0
            more = file.read(max(CHUNK, len(buffer)))
            if not more:
                raise DataError(f"{path}: broken JSON after row {number} ({error})") from error
            buffer += more
            continue
        number += 1
        yield number, buffer[at:end], value
        at = end
        if at > CHUNK:
            buffer, at = buffer[at:], 0


def _object(path: Path, text: str) -> Numbered:
    """A file that holds one object: the rows are a list in it, or it is a row itself."""
    value = parsed(text.encode("utf-8", "surrogatepass"))
    if isinstance(value, BadRow):
        raise DataError(f"{path}: {value}")
    if not isinstance(value, dict):
        raise DataError(f"{path}: holds no list of rows")
    lists = [key for key, part in value.items() if isinstance(part, list) and part and isinstance(part[0], dict)]
    if any(map(_is_row, value)) or not lists:
        if not value:
            raise DataError(f"{path}: holds no list of rows")
        yield 1, text, value
        return
    if len(lists) > 1:
        raise DataError(f"{path}: holds several lists of rows ({', '.join(lists)}); give each a file of its own")
    for number, row in enumerate(value[lists[0]], start=1):
        yield number, json.dumps(row, ensure_ascii=False), row


def _is_row(key: str) -> bool:
    """Whether a key belongs to a row rather than to a list of them."""
    return key in ("messages", "conversations", "conversation", "chat", "prompt", "completion", "history", "query")


def _table(path: Path, _: Sequence[str] = ()) -> Numbered:
    """CSV and TSV with a header."""
    csv.field_size_limit(2**31 - 1)
    with _open(path) as file, io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="") as text:
        header = text.readline()
        if header.encode("utf-8", "surrogateescape").startswith(_UTF16):
            raise DataError(f"{path}: is UTF-16; save it as UTF-8")
        delimiter = "\t" if kind_of(path) == ".tsv" else max(",;\t", key=header.count)
        names = next(csv.reader([header], delimiter=delimiter), [])
        if len(set(names)) < len(names):
            raise DataError(f"{path}: two columns have the same name ({', '.join(names)})")
        for number, fields in enumerate(csv.reader(text, delimiter=delimiter), start=1):
            if fields:
                yield number, delimiter.join(fields), _named(names, fields)


def _named(names: Sequence[str], fields: Sequence[str]) -> Any:
    if any(_NOT_UTF8.search(field) for field in fields):
        return BadRow("not UTF-8")
    if len(fields) != len(names):
        return BadRow(f"{len(fields)} fields under {len(names)} columns")
    return dict(zip(names, fields, strict=True))


def _parquet(path: Path, without: Sequence[str]) -> Numbered:
    import pyarrow.parquet as pq
    from pyarrow import ArrowInvalid

    try:
        file = pq.ParquetFile(path, pre_buffer=False)
    except ArrowInvalid as error:
        raise DataError(f"{path}: is no Parquet file ({error})") from error
    columns = [name for name in file.schema_arrow.names if name not in without]
    yield from _batches(file.iter_batches(batch_size=256, columns=columns))


def _arrow(path: Path, without: Sequence[str]) -> Numbered:
    """As `save_to_disk` of datasets writes it."""
    import pyarrow as pa

    try:
        with pa.memory_map(str(path)) as file:
            yield from _batches(pa.ipc.open_stream(file))
    except pa.ArrowInvalid as error:
        raise DataError(f"{path}: is no Arrow stream ({error})") from error


def _batches(batches: Any) -> Numbered:
    number = 0
    for batch in batches:
        for row in batch.to_pylist():
            number += 1
            yield number, str(row), row


READERS: dict[str, Callable[[Path, Sequence[str]], Numbered]] = {
    ".jsonl": _lines,
    ".ndjson": _lines,
    ".json": _json,
    ".csv": _table,
    ".tsv": _table,
    ".parquet": _parquet,
    ".arrow": _arrow,
}
