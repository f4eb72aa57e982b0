"""Where the files of a benchmark are: on this machine, in the package, or published, fetched once and checked.

Fetching and checking is pooch's. Only pinned files are fetched: an address at one commit, and the hash of the bytes.
Knows nothing of what the files hold.
"""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from reer.backend.models import cache_dir
from reer.errors import DataError
from reer.run.manifest import sha256

SAMPLE = "sample"
PACKAGED = Path(str(resources.files("reer"))) / "files" / "data" / "benchmarks"


@dataclass(frozen=True, slots=True)
class Pinned:
    """A published file."""

    name: str
    """By which it is kept; the folder is the benchmark's."""
    url: str
    sha256: str
    member: str | None = None
    """The file is this part of the zip archive (a wheel, say) that stands at the address; its own hash is `inner`."""
    inner: str | None = None

    @property
    def content(self) -> str:
        """Hash of the file itself."""
        return self.inner or self.sha256


def packaged(benchmark: str) -> list[Path]:
    """The sample of a benchmark that is shipped with the package."""
    return sorted((PACKAGED / benchmark).glob("*.jsonl"))


def local(path: Path, patterns: Sequence[str]) -> list[Path]:
    """The file at `path`, or those files below it whose names match, in the order of the patterns.

    Raises:
        DataError: there is none.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError(f"{path}: no such file or folder")
    found = [file for pattern in patterns for file in sorted(path.rglob(pattern)) if file.is_file()]
    if not found:
        raise DataError(f"{path}: holds no file named {' or '.join(patterns)}")
    return list(dict.fromkeys(found))


def fetch(benchmark: str, pins: Sequence[Pinned]) -> list[Path]:
    """The pinned files, from the user's cache folder or from where they are published.

    Raises:
        DataError: one cannot be had, or its bytes are not the pinned ones.
    """
    folder = Path(os.environ.get("REER_BENCHMARKS") or cache_dir() / "benchmarks") / benchmark
    return [_fetch(pin, folder) for pin in pins]


def _fetch(pin: Pinned, folder: Path) -> Path:
    import pooch

    kept = folder / pin.name
    if kept.exists():
        return _checked(kept, pin)
    pooch.get_logger().setLevel(logging.WARNING)
    unpack = pooch.Unzip(members=[pin.member], extract_dir=str(folder)) if pin.member else None
    try:
        found = pooch.retrieve(
            pin.url,
            known_hash=f"sha256:{pin.sha256}",
            fname=pin.url.rpartition("/")[2] if pin.member else pin.name,
            path=folder,
            processor=unpack,
            progressbar=True,
        )
    except ValueError as error:  # pooch's word for other bytes than the pinned ones
        raise DataError(
            f"{pin.url}: its checksum is not the pinned sha256 {pin.sha256[:16]}…; nothing was kept"
        ) from error
    except OSError as error:  # requests' errors are OSErrors
        where = "benchmark.path=FILE takes a copy of yours, benchmark.path=sample the few rows shipped here"
        raise DataError(f"{pin.url}: cannot be fetched ({type(error).__name__}); {where}") from error
    if pin.member:
        Path(found[0]).replace(kept)
    return _checked(kept, pin)


def _checked(path: Path, pin: Pinned) -> Path:
    if (found := sha256(path)) != pin.content:
        raise DataError(f"{path}: its checksum {found[:16]}… is not the pinned {pin.content[:16]}…; delete the file")
    return path
