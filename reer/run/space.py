"""A disk that is full, fails, or may not be written, as one sentence: whoever writes says so in other words (errno,
safetensors, torch, SQLite)."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reer.errors import DiskFullError, RunDirError

_NUMBERS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FAILING = {errno.EIO, errno.EROFS, errno.ESTALE, errno.ENODEV}
"""A disk that does not answer, was made read-only, or is gone."""
_WORDS = (
    "no space left on device", "disk quota exceeded", "file too large",  # safetensors, and whoever wraps an OSError
    "database or disk is full",  # SQLite
    "pytorchstreamwriter failed", "file write failed", "unexpected pos",  # torch.save, which drops the number
)  # fmt: skip


@contextmanager
def room_on(folder: Path) -> Iterator[None]:
    """Around what writes in `folder`.

    Raises:
        DiskFullError: there was no room for it, naming the file and what is free.
        RunDirError: the disk fails, or may not be written.
    """
    try:
        yield
    except Exception as error:  # tokenizers raises just that; what is no fault of the disk goes on as it is
        if isinstance(error, OSError) and error.errno in _FAILING:
            name = _named(error) or _unnamed(error, folder)
            raise RunDirError(f"{name} cannot be written: {error.strerror}; what was whole before still is") from error
        if isinstance(error, DiskFullError) or not is_full(error):
            raise
        raise DiskFullError(sentence(error, folder)) from error


def is_full(error: BaseException) -> bool:
    """Whether an error, one in its group, or one that it came from, says that a disk, a quota or a file is full."""
    if isinstance(error, OSError) and error.errno in _NUMBERS:
        return True
    if any(words in str(error).lower() for words in _WORDS):
        return True
    inner = [*getattr(error, "exceptions", ()), error.__cause__, error.__context__]
    return any(is_full(other) for other in inner if other is not None)


def sentence(error: BaseException, folder: Path) -> str:
    """Which file there was no room for, and how much is free."""
    name = _named(error) or _unnamed(error, folder)
    return f"the disk is full: {name} could not be written whole, {free(folder) / 1e9:.2f} GB are free there"


def free(folder: Path) -> int:
    """Bytes free on the disk of a folder that may not be there yet."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(there).free


def _named(error: BaseException | None) -> str | None:
    while error is not None:
        if isinstance(error, OSError) and isinstance(error.filename, str):
            return error.filename
        error = error.__cause__ or error.__context__
    return None


def _unnamed(error: BaseException, folder: Path) -> str:
    """The file that was written last, where a library does not name it; safetensors takes its own away again."""
    files = [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []
    if not files:
        return f"a file in {folder}"
    newest = max(files, key=lambda path: path.stat().st_mtime_ns)
    return f"the weights in {newest.parent}" if type(error).__name__ == "SafetensorError" else str(newest)
