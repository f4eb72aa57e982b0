"""Rows as they stand in files: JSON (a list, lines, a list under a key), CSV, TSV, Parquet, Arrow; packed; in shards.

A row that cannot be read is a `BadRow` in its place; only a source that cannot be read at all is an error. Rows are
read as they are asked for: of a file no more is held than a batch. Knows files; knows nothing of what a row means.
"""

import csv
import glob
import io
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import IO, Any, NamedTuple

from reer.config import one_line
from reer.errors import DataError
from reer.files.json_rows import CHUNK, is_lines, parsed, rows_of
from reer.files.json_rows import BadRow as BadRow
from reer.text import encodable

PACKED = (".gz", ".zst")
LONGEST = 300_000_000
"""Bytes of a line; a packed file of some kilobytes can hold one that fills the memory."""
SHOWN = 10_000
"""Bytes of a line that is too long that are shown."""
_SIGNS = "*?["
NO_DATA = re.compile(r"dataset_infos?\.json|state\.json|dataset_dict\.json")
"""Files beside the data of a saved dataset."""
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_NOT_UTF8 = re.compile("[\udc80-\udcff]")
_QUOTED = re.compile(r'"[^"]*(?:"|$)')
_EXCEL = re.compile(r"sep=.\s*", re.IGNORECASE)
"""A first line by which Excel names the sign between fields."""


class Row(NamedTuple):
    """One row of a source."""

    file: str
    number: int
    """Counted from 1: the line of a file of lines, the item of a list or table."""
    raw: Any
    """As the reader found it: bytes, text, or what a table holds."""
    value: Any
    """What it holds, or the `BadRow` that says why it holds nothing."""

    @property
    def text(self) -> str:
        """As it stands in the file, as far as that can be read."""
        if isinstance(self.raw, bytes):
            return self.raw.decode("utf-8-sig", errors="replace").strip()
        return encodable(self.raw if isinstance(self.raw, str) else str(self.raw))


Numbered = Iterator[tuple[int, Any, Any]]
"""Number, raw and value of rows."""


def read_rows(source: str | Path, *, without: Sequence[str] = ()) -> Iterator[Row]:
    """Every row of a file, of all files of a folder, or of all that match a pattern; files in their natural order.

    `without` names columns of a table that need not be read.

    Raises:
        DataError: there is no such file, its kind is unknown, or it cannot be read as a whole.
    """
    paths = files_of(source)
    shared = len({path.name for path in paths}) < len(paths)
    for path in paths:
        name = str(path) if shared else path.name
        try:
            for number, raw, value in _reader(path)(path, without):
                yield Row(name, number, raw, value)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: not UTF-8 ({error.reason})") from error


def hub_rows(name: str, subset: str | None, split: str, revision: str | None) -> Iterator[Row]:
    """Every row of a dataset of the Hugging Face hub; what has been fetched once is kept by `datasets`.

    Raises:
        DataError: it cannot be loaded, or has no such split.
    """
    rows = loaded(name, "; offline? name a local copy", path=name, name=subset, split=split, revision=revision)
    yield from (Row(name, n, row, row) for n, row in enumerate(rows, start=1))


def loaded(title: str, hint: str, **where: Any) -> Iterator[Any]:
    """What `datasets.load_dataset` gives; `title` and `hint` are for the sentence that says why it does not.

    Raises:
        DataError: it cannot be loaded.
    """
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    try:
        yield from load_dataset(**where)
    except (DatasetsError, OSError, ValueError, RuntimeError) as error:
        raise DataError(f"{title}: cannot be loaded ({one_line(error)[:300]}{hint})") from error


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
    if any(sign in str(source) for sign in _SIGNS):
        found = [Path(name) for name in glob.glob(str(source), recursive=True) if Path(name).is_file()]
        if not found:
            raise DataError(f"{source}: no file matches this pattern")
        return sorted(found, key=_natural)
    raise DataError(f"{source}: no such file")


def exists(source: str | Path) -> bool:
    """Whether there is anything to read, if only a folder."""
    return Path(source).exists() or any(sign in str(source) for sign in _SIGNS) and bool(glob.glob(str(source)))


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
    return [(1, int(p), "") if p.isdecimal() else (0, 0, p) for p in re.split(r"(\d+)", str(path))]


def kind_of(path: Path) -> str:
    """The ending that says what a file holds: that before .gz or .zst."""
    return (path.with_suffix("") if path.suffix.lower() in PACKED else path).suffix.lower()


def _reader(path: Path) -> Callable[[Path, Sequence[str]], Numbered]:
    if kind_of(path) not in READERS:
        raise DataError(f"{path}: unknown kind of file (known: {', '.join(READERS)}; packed: {', '.join(PACKED)})")
    return READERS[kind_of(path)]


def _open(path: Path) -> IO[bytes]:
    """A file's bytes, unpacked."""
    if path.suffix.lower() == ".gz":
        import gzip

        return io.BufferedReader(gzip.GzipFile(path))
    if path.suffix.lower() == ".zst":
        import pyarrow as pa

        return io.BufferedReader(pa.CompressedInputStream(pa.OSFile(str(path)), "zstd"))
    return path.open("rb")


def _json(path: Path, _: Sequence[str] = ()) -> Numbered:
    """Lines, a list, or a list under one key: what the file holds decides where its name and it differ."""
    with _open(path) as file:
        if file.peek(2)[:2] in _UTF16:  # type: ignore[attr-defined]
            raise DataError(f"{path}: is UTF-16; save it as UTF-8")
        lines = is_lines(file, kind_of(path) != ".json")
    if lines:
        yield from _lines(path)
        return
    with _open(path) as file, io.TextIOWrapper(file, encoding="utf-8-sig") as text:
        rows = rows_of(text, lambda sentence: DataError(f"{path}: {sentence}"))
        yield from ((number, *row) for number, row in enumerate(rows, start=1))


def _lines(path: Path) -> Numbered:
    with _open(path) as file:
        for number, raw in enumerate(iter(lambda: file.readline(LONGEST + 1), b""), start=1):
            if len(raw) > LONGEST:
                size = len(raw) + (0 if raw.endswith(b"\n") else _skipped(file))
                yield number, raw[:SHOWN], BadRow(f"has {size:,} bytes; the most that a row may have is {LONGEST:,}")
                continue
            if not raw.isspace():
                yield number, raw, parsed(raw)


def _skipped(file: IO[bytes]) -> int:
    """How many bytes there are up to the end of the line; none of them is kept."""
    size = 0
    while part := file.readline(CHUNK):
        size += len(part)
        if part.endswith(b"\n"):
            break
    return size


def _table(path: Path, _: Sequence[str] = ()) -> Numbered:
    """CSV and TSV with a header."""
    csv.field_size_limit(2**31 - 1)
    with _open(path) as file, io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="") as text:
        head = next((line for line in text if line.strip() and not _EXCEL.fullmatch(line)), "")
        if head.encode("utf-8", "surrogateescape").startswith(_UTF16):
            raise DataError(f"{path}: is UTF-16; save it as UTF-8")
        delimiter = "\t" if kind_of(path) == ".tsv" else max(",;\t", key=_QUOTED.sub("", head).count)
        lines: list[str] = []
        reader = csv.reader(_kept(chain([head], text), lines), delimiter=delimiter, strict=True)
        names = _header(path, reader)
        lines.clear()
        for number, fields in enumerate(_records(reader), start=1):
            yield number, "".join(lines).strip("\r\n"), _row(names, fields)
            lines.clear()


def _kept(lines: Iterable[str], kept: list[str]) -> Iterator[str]:
    """Lines as they are, kept in a list that is emptied from outside."""
    for line in lines:
        kept.append(line)
        yield line


def _header(path: Path, reader: Iterator[list[str]]) -> list[str]:
    try:
        names = next(reader, [])
    except csv.Error as error:
        raise DataError(f"{path}: its header cannot be read ({error})") from error
    if any(map(_NOT_UTF8.search, names)):
        raise DataError(f"{path}: is not UTF-8; save it as UTF-8")
    if len(set(names)) < len(names):
        raise DataError(f"{path}: two columns have the same name ({', '.join(names)})")
    return names


def _records(reader: Iterator[list[str]]) -> Iterator[list[str] | csv.Error]:
    """The fields of every record, or what is wrong with its quotes."""
    while True:
        try:
            fields: list[str] | csv.Error = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            fields = error
        if fields:
            yield fields


def _row(names: Sequence[str], fields: list[str] | csv.Error) -> Any:
    if isinstance(fields, csv.Error):
        return BadRow(f"broken CSV: {fields}")
    if any(not field.isascii() and _NOT_UTF8.search(field) for field in fields):
        return BadRow("not UTF-8")
    if len(fields) != len(names):
        return BadRow(f"{len(fields)} fields under {len(names)} columns")
    return dict(zip(names, fields, strict=True))


def _parquet(path: Path, without: Sequence[str]) -> Numbered:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path, pre_buffer=False)
        columns = [name for name in file.schema_arrow.names if name not in without]
        yield from _batches(file.iter_batches(batch_size=256, columns=columns))
    except pa.ArrowInvalid as error:
        raise DataError(f"{path}: is no Parquet file ({error})") from error


def _arrow(path: Path, without: Sequence[str]) -> Numbered:
    """As `save_to_disk` of datasets writes it."""
    import pyarrow as pa

    try:
        with pa.OSFile(str(path)) as file:
            yield from _batches(pa.ipc.open_stream(file))
    except pa.ArrowInvalid as error:
        raise DataError(f"{path}: is no Arrow stream ({error})") from error


def _batches(batches: Any) -> Numbered:
    rows = (row for batch in batches for row in batch.to_pylist())
    yield from ((number, row, row) for number, row in enumerate(rows, start=1))


READERS: dict[str, Callable[[Path, Sequence[str]], Numbered]] = {
    ".jsonl": _json,
    ".ndjson": _json,
    ".json": _json,
    ".csv": _table,
    ".tsv": _table,
    ".parquet": _parquet,
    ".arrow": _arrow,
}
