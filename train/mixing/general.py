"""General reasoning data as rows: from files in every form that trajectories take, or from the Hugging Face hub."""

from collections.abc import Iterator
from pathlib import Path

from reer.config import GeneralConfig
from reer.errors import DataError
from reer.files.rows import BadRow, Row, files_of, hub_rows, read_rows

from .schemas import in_our_columns

UNKNOWN = "unknown"
"""The licence of a row that nobody has named one for."""


def name_of(general: GeneralConfig) -> str:
    """What rows say of their origin that do not say it themselves."""
    return general.source or general.hub or Path(general.path or "").name


def inputs_of(general: GeneralConfig) -> list[Path]:
    """Files whose hashes a manifest records.

    Raises:
        DataError: there is no such file.
    """
    try:
        return files_of(general.path) if general.path else []
    except DataError as error:
        raise DataError(f"mix.general.path={error}") from error


def rows_of(general: GeneralConfig) -> Iterator[Row]:
    """Every row, in our columns where a schema is named; one that does not fit it holds the reason.

    Raises:
        DataError: the files cannot be read, or the dataset cannot be loaded.
    """
    try:
        for row in (
            read_rows(general.path)
            if general.path
            else hub_rows(str(general.hub), general.subset, general.split, general.revision)
        ):
            yield row._replace(value=_converted(row, general.schema))
    except DataError as error:
        key = "path" if general.path else "hub"
        raise DataError(f"mix.general.{key}={error}") from error


def _converted(row: Row, schema: str | None) -> object:
    try:
        return in_our_columns(row.value, schema)
    except BadRow as error:
        return error
