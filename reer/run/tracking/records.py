"""What a stage tells a tracker besides numbers: which files came of which, and tables.

A file is known by its content: `Item.name` is its kind and its hash, so that the stage that makes a file and the one
that reads it name it alike without having heard of each other.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from reer.run.manifest import sha256
from reer.text import digest

KNOWN = ("pairs", "held_out", "trajectories", "mix", "answers", "verdicts")
"""File names, without their ending, that say what is in them; that of any other file says the stage that reads it."""


@dataclass(frozen=True, slots=True)
class Item:
    """A file, or a folder with a model."""

    kind: str
    path: str
    hash: str
    """sha256 of a file; of a model's weights `reer.backend.models.fingerprint`."""

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.hash[:16]}"


@dataclass(frozen=True, slots=True)
class Lineage:
    """What one stage read and made."""

    inputs: Sequence[Item]
    outputs: Mapping[Item, Sequence[Item]]
    """Each with what it came of."""

    def as_dict(self) -> dict[str, Any]:
        """For configs and metadata: names and hashes by direction."""
        return {
            "inputs": [described(item) for item in self.inputs],
            "outputs": [described(item) for item in self.outputs],
        }


@dataclass(frozen=True, slots=True)
class Table:
    """Rows to look at; `plot` draws the second column over the first one."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]] = field(default_factory=list)
    plot: Literal["line", "bar"] | None = None


def described(item: Item) -> dict[str, str]:
    return {"name": item.name, "kind": item.kind, "hash": item.hash, "path": item.path}


def file_item(path: Path, otherwise: str = "data") -> Item:
    """A file by what its name says is in it."""
    return Item(_kind(path, otherwise), str(path), sha256(path))


def model_item(path: str, weights: str | None, revision: str | None = None) -> Item:
    """A model: by the fingerprint of its weights, or where these are not at hand by the name it is loaded by."""
    return Item("model", path, weights or digest(path, revision))


def engine_item(engine: Mapping[str, str | None], weights: str | None) -> Item:
    """A model as `reer.backend.describe` names it."""
    return model_item(str(engine["model"]), weights, engine["revision"])


def stage_lineage(
    run_dir: Path, made: Sequence[str], *, models: Sequence[Item] = (), otherwise: str = "data"
) -> Lineage:
    """What manifest.json says that a stage read, the models it loaded, and those of the files that it has made."""
    listed = json.loads((run_dir / "manifest.json").read_text(encoding="utf-8"))["inputs"]
    read = [Item(_kind(Path(row["path"]), otherwise), row["path"], row["sha256"]) for row in listed]
    inputs = list(dict.fromkeys([*read, *models]))
    return Lineage(inputs, {file_item(run_dir / name): inputs for name in made if (run_dir / name).is_file()})


def _kind(path: Path, otherwise: str) -> str:
    stem = path.name.partition(".")[0]
    return stem if stem in KNOWN else otherwise
