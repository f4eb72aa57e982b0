"""A rubric of one's own, from a YAML file.

name: tension
guidance: What to bear in mind.      # optional
criteria:
  - name: suspense
    title: Suspense                   # optional
    question: does the reader want to know what comes next?
    weight: 2                         # for all criteria or for none
    may_not_apply: false              # optional
    levels: {1: never, 2: seldom, 3: at times, 4: mostly, 5: throughout}
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reer.errors import DataError

from ..types import Criterion, Rubric
from .rubric import graded, make_rubric

MOST_LEVELS = 9
_KEYS = {"name", "title", "question", "weight", "may_not_apply", "levels"}


def read_rubric(path: Path) -> Rubric:
    """Raises: DataError: the file is no rubric; the sentence names the criterion and what it lacks."""
    content = _yaml(path)
    listed = content.get("criteria")
    if not isinstance(listed, list) or not listed:
        raise DataError(f"{path}: holds no list of criteria")
    weighted = any(isinstance(row, Mapping) and "weight" in row for row in listed)
    criteria = [_criterion(path, number, row, weighted) for number, row in enumerate(listed, start=1)]
    names = [criterion.name for criterion in criteria]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise DataError(f"{path}: two criteria are named {twice}")
    if len({criterion.scale for criterion in criteria}) > 1:
        raise DataError(f"{path}: its criteria have different scales, so they have no mean")
    return make_rubric(str(content.get("name") or path.stem), criteria, guidance=str(content.get("guidance") or ""))


def _criterion(path: Path, number: int, row: Any, weighted: bool) -> Criterion:
    if not isinstance(row, Mapping) or not isinstance(row.get("name"), str):
        raise DataError(f"{path}: criterion {number} has no name")
    name = row["name"]
    if unknown := sorted(set(map(str, row)) - _KEYS):
        raise DataError(f"{path}: criterion {name} has an unknown key {unknown[0]}")
    if not isinstance(row.get("question"), str):
        raise DataError(f"{path}: criterion {name} has no question")
    weight = row.get("weight") if weighted else 1.0
    if weight is None:
        raise DataError(f"{path}: criterion {name} has no weight, though others have one")
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight <= sys.float_info.max:
        raise DataError(f"{path}: criterion {name} has the weight {weight!r:.40}, which is no finite positive number")
    return graded(
        name,
        str(row.get("title") or name.replace("_", " ").capitalize()),
        row["question"],
        _levels(path, name, row.get("levels")),
        weight=float(weight),
        may_not_apply=bool(row.get("may_not_apply", False)),
    )


def _levels(path: Path, name: str, levels: Any) -> dict[int, str]:
    if not isinstance(levels, Mapping) or len(levels) < 2 or not all(type(level) is int for level in levels):
        raise DataError(f"{path}: criterion {name} has no levels, a mapping of at least two whole numbers to anchors")
    for level in range(min(levels), max(levels) + 1):
        anchor = levels.get(level, "")
        if not isinstance(anchor, str):  # YAML reads a bare no as false
            raise DataError(f"{path}: criterion {name} has an anchor for level {level} that is no text: {anchor!r}")
        if not anchor.strip():
            raise DataError(f"{path}: criterion {name} has no anchor for level {level}")
    if len(levels) > MOST_LEVELS:
        raise DataError(f"{path}: criterion {name} has {len(levels)} levels; at most {MOST_LEVELS} can be told apart")
    return dict(levels)


def _yaml(path: Path) -> Mapping[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: is no YAML ({' '.join(str(error).split())})") from error
    if not isinstance(content, Mapping):
        raise DataError(f"{path}: is no mapping")
    return content
