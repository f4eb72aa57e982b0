"""Which files a source is read from."""

from pathlib import Path

from reer.config import SourceConfig
from reer.files.pairs import path_of
from reer.files.rows import files_of

from .texts import text_files


def files_read(source: SourceConfig) -> list[Path]:
    """Those whose hashes the manifest records."""
    found = Path(source.path) if source.path else None
    if source.kind == "files":
        return files_of(path_of(found))
    if source.kind == "texts" and found:
        return text_files(found)
    return sorted(f for f in ([found] if found.is_file() else found.rglob("*")) if f.is_file()) if found else []
