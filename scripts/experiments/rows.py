"""The tables of the paper and of its controls, row by row: scripts/experiments/tables/TABLE.yaml.

A row is one experiment of conf/experiment. What a table adds to it: how it is called, what stands beside it in the
paper, and what a scale needs besides its own settings (a stand-in for a model that does not fit, say).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from reer.errors import ConfigError

SCALES = ("smoke", "tiny", "small", "full")
TABLES = Path(__file__).parent / "tables"
PAPER = Path(__file__).parents[2] / "reer/files/data/paper.json"


@dataclass(frozen=True, slots=True)
class Row:
    """One experiment of a table, at one scale."""

    experiment: str
    title: str
    paper: str | None = None
    """Its name in the paper's table."""
    overrides: tuple[str, ...] = ()
    """What this scale needs of every stage of this row."""
    stages: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """What single stages need, by the stage's folder."""
    budget_of: str | None = None
    """Experiment whose tokens a pair are this one's budget."""
    skip: str | None = None
    """Why there is no such row at this scale."""

    @property
    def label(self) -> str:
        return self.experiment.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Table:
    """A question, and the rows that answer it."""

    name: str
    question: str
    reference: str
    """Experiment that all others are compared with."""
    benchmarks: tuple[str, ...]
    rows: tuple[Row, ...]
    decides: tuple[str, ...] = ()
    """Experiments whose difference to the reference in the NLL of held-out answers answers it, said beforehand."""


@dataclass(frozen=True, slots=True)
class Column:
    """One number of a row, by where results.json holds it."""

    key: str
    benchmark: str
    part: tuple[str, ...] = ("overall",)
    """Within the benchmark's results, or (of `whole`) within the file."""
    whole: bool = False
    percent: bool = False


OWN = (
    Column("reasoning", "reasoning"),
    Column("lift", "reasoning", ("reference_lift",), whole=True),
    Column("well-formed", "reasoning", ("outputs", "well_formed"), whole=True, percent=True),
    Column("loops", "reasoning", ("outputs", "loop_rate"), whole=True, percent=True),
    Column("words", "reasoning", ("outputs", "words"), whole=True),
)
"""What we measure besides the paper's columns."""


def tables() -> list[str]:
    return sorted(path.stem for path in TABLES.glob("*.yaml"))


def read_table(name: str, scale: str) -> Table:
    """Raises: ConfigError: there is no such table."""
    if name not in tables():
        raise ConfigError(f"table {name} is unknown: choose one of {', '.join(tables())}")
    read = _read(name)
    rows = tuple(_row(row, read.get("stages") or {}, scale) for row in read["rows"])
    decides = tuple(read.get("decides") or ())
    return Table(name, read["question"], read["reference"], tuple(read["benchmarks"]), rows, decides)


def _read(name: str) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((TABLES / f"{name}.yaml").read_text(encoding="utf-8"))
    return read


def _row(read: Mapping[str, Any], all_rows: Mapping[str, Sequence[str]], scale: str) -> Row:
    """`as_in` names the table in which the row is described."""
    if table := read.get("as_in"):
        [read] = [row for row in _read(table)["rows"] if row["experiment"] == read["experiment"]]
    stages = _of_scale(all_rows, scale)
    for stage, words in _of_scale(read.get("stages") or {}, scale).items():
        stages[stage] = [*stages.get(stage, ()), *words]
    return Row(
        experiment=read["experiment"],
        title=read["title"],
        paper=read.get("paper"),
        overrides=tuple((read.get("at") or {}).get(scale) or ()),
        stages=stages,
        budget_of=read.get("budget_of"),
        skip=(read.get("skip") or {}).get(scale),
    )


def _of_scale(stages: Mapping[str, Sequence[str]], scale: str) -> dict[str, list[str]]:
    """By stage; STAGE@SCALE adds to STAGE at that scale."""
    named = dict.fromkeys(stage.partition("@")[0] for stage in stages)
    return {stage: [*stages.get(stage, ()), *stages.get(f"{stage}@{scale}", ())] for stage in named}


def paper_columns() -> list[Column]:
    """The columns of which the paper's numbers are known."""
    read = json.loads(PAPER.read_text(encoding="utf-8"))["columns"]
    return [
        Column(
            row["key"], row["benchmark"], ("groups", row["facet"], row["group"]) if "facet" in row else ("overall",)
        )
        for row in read
    ]


def paper_numbers() -> dict[str, Mapping[str, float]]:
    """By the paper's name of a row and column."""
    read = json.loads(PAPER.read_text(encoding="utf-8"))
    return {row["model"]: row["scores"] for row in [*read["rows"], *read["ablations"]]}
