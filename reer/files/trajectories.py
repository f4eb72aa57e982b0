"""What a search leaves behind: one row per kept trajectory (the contract of trajectories.jsonl), and the counts.

Knows events and examples; knows nothing of how they came about.
"""

import functools
import json
import math
from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from reer.backend import describe
from reer.config import SynthesizeConfig
from reer.method.guards import echo, leak
from reer.method.prompts import load_set
from reer.method.state import State
from reer.method.worth.facts import KINDS, worth_of
from reer.method.worth.lexical import Frequencies
from reer.method.worth.means import Means
from reer.types import FORMAT_VERSION, Candidate, Example, Step, Usage

_prompts = functools.cache(load_set)


def to_row(example: Example, state: State, config: SynthesizeConfig, frequencies: Frequencies) -> dict[str, Any]:
    """One object of trajectories.jsonl. NLLs are means in nats per answer token; `frequencies` are the run's."""
    baseline, first = state.baseline, state.first
    assert baseline is not None
    assert first is not None
    thinking = state.trajectory.text
    return {
        "id": example.id,
        "trajectory": 0,
        "query": example.query,
        "answer": example.answer,
        "history": [asdict(message) for message in example.history],
        "thinking": thinking,
        "segments": list(state.trajectory.segments),
        "first": {"thinking": "".join(first.segments), "segments": list(first.segments)},
        "nll": {"none": baseline.nll, "first": first.nll, "final": state.nll},
        "objective": None if first.objective is None else {"first": first.objective, "final": state.value},
        "answer_tokens": baseline.answer_tokens,
        "leak": asdict(leak.measure(thinking, example.answer, config.search.leak.ngram)),
        "echo": asdict(echo_of(thinking, example.language, config)),
        "worth": worth_of(example, state, frequencies, config.search.worth.decorative)
        | {"usage": tokens_of(state.worth.usage) if state.worth else None},
        "steps": [_step_row(step) for step in state.steps],
        "usage": tokens_of(state.usage),
        "layout": config.layout.name,
        "instruction": config.layout.instruction,
        "generator": describe(config.generator),
        "scorer": describe(config.scorer),
        "source": example.source,
        "licence": example.licence,
        "language": example.language,
        "domain": example.domain,
        "seed": config.seed,
        "extra": plain(example.extra),
        "format_version": FORMAT_VERSION,
    }


def plain(value: Any) -> Any:
    """A value as JSON can hold it: no number for NaN and infinities, a text for dates and other kinds."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int) else str(value)


def echo_of(thinking: str, language: str, config: SynthesizeConfig) -> echo.Echo:
    """How much of the prompts' own text stands in a thinking, whichever of them it was drawn with."""
    prompts = _prompts(config.prompts.set, language, config.search.start)
    return echo.measure(thinking, prompts.fixed, config.search.echo.ngram)


def tokens_of(usage: Usage) -> dict[str, int]:
    """What a search cost, without the seconds: the same search gives the same row on any machine."""
    row = asdict(usage)
    del row["seconds"]
    return row


def _step_row(step: Step) -> dict[str, Any]:
    """Without its usage: the row carries the sum."""
    return {
        "sweep": step.sweep,
        "segment": step.segment,
        "operation": step.operation,
        "before": step.before,
        "candidates": tuple(_candidate_row(candidate) for candidate in step.candidates),
        "kept": step.kept,
        "nll": step.nll,
        "objective": step.objective,
    }


def _candidate_row(candidate: Candidate) -> dict[str, Any]:
    return {
        "text": candidate.text,
        "nll": candidate.nll,
        "rejected": candidate.rejected,
        "objective": candidate.objective,
    }


class TrajectoryFiles:
    """trajectories.jsonl and .parquet, written row by row; both appear, complete, when all rows are in."""

    BATCH = 256
    """Rows of one Parquet row group: what is held in memory."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._batch: list[dict[str, Any]] = []

    def __enter__(self) -> "TrajectoryFiles":
        import pyarrow.parquet as pq

        self._jsonl = self._temporary("trajectories.jsonl").open("w", encoding="utf-8")
        self._parquet = pq.ParquetWriter(self._temporary("trajectories.parquet"), arrow_schema())
        return self

    def write(self, row: dict[str, Any]) -> None:
        self._jsonl.write(json.dumps(row, ensure_ascii=False) + "\n")
        self._batch.append(row | {"extra": json.dumps(row["extra"], ensure_ascii=False)})
        if len(self._batch) == self.BATCH:
            self._flush()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if kind is None:
            self._flush()
        self._jsonl.close()
        self._parquet.close()
        if kind is None:
            for name in ("trajectories.jsonl", "trajectories.parquet"):
                self._temporary(name).replace(self._run_dir / name)

    def _flush(self) -> None:
        import pyarrow as pa

        self._parquet.write_table(pa.Table.from_pylist(self._batch, schema=arrow_schema()))
        self._batch = []

    def _temporary(self, name: str) -> Path:
        return self._run_dir / f".{name}.tmp"


def arrow_schema() -> Any:
    """The contract of trajectories.parquet: fixed, so that files of different runs can be read together."""
    import pyarrow as pa

    text, number, count = pa.string(), pa.float64(), pa.int64()

    def struct(**fields: Any) -> Any:
        return pa.struct(list(fields.items()))

    candidate = struct(text=text, nll=number, rejected=text, objective=number)
    step = struct(
        sweep=count, segment=count, operation=text, before=text, candidates=pa.list_(candidate), kept=count,
        nll=number, objective=number,
    )  # fmt: skip
    engine = struct(model=text, revision=text, dtype=text)
    segments, usage = struct(segments=count, decorative=count), struct(**dict.fromkeys(tokens_of(Usage()), count))
    decorative = struct(epsilon=number, share=number, **dict.fromkeys(KINDS, segments), removals=pa.list_(number))
    worth = struct(
        a_prob=number, a_lex=number, gain_over_blind=number,
        blind=pa.list_(struct(text=text, nll=number, rejected=text)), decorative=decorative, usage=usage,
    )  # fmt: skip
    columns = {
        "id": text, "trajectory": count, "query": text, "answer": text,
        "history": pa.list_(struct(role=text, content=text)), "thinking": text,
        "segments": pa.list_(text), "first": struct(thinking=text, segments=pa.list_(text)),
        "nll": struct(none=number, first=number, final=number),
        "objective": struct(first=number, final=number), "answer_tokens": count,
        "leak": struct(longest_run=count, containment=number),
        "echo": struct(longest_run=count, containment=number), "worth": worth, "steps": pa.list_(step), "usage": usage,
        "layout": text, "instruction": text, "generator": engine, "scorer": engine,
        **dict.fromkeys(("source", "licence", "language", "domain"), text), "seed": count, "extra": text,
        "format_version": count,
    }  # fmt: skip
    return pa.schema(list(columns.items()))


NLLS = ("none", "first", "final")


@dataclass(slots=True)
class Tally:
    """What summary.json says of a search, added up example by example."""

    refused: Counter[str] = field(default_factory=Counter)
    """Examples without a trajectory, by status: quarantined, failed, or pending (still to be searched)."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Trajectories refused by a filter, by its name."""
    rejected: Counter[str] = field(default_factory=Counter)
    """Proposals that were never scored, by reason."""
    nll: dict[str, "array[float]"] = field(default_factory=lambda: {key: array("d") for key in NLLS})
    worth: Means = field(default_factory=Means)
    steps: int = 0
    accepted: int = 0
    usage: Usage = Usage()

    def add(self, state: State) -> None:
        """A search that ended well."""
        proposals = (c for event in (state.first, *state.steps) if event is not None for c in event.candidates)
        self.rejected.update(c.rejected.partition(":")[0] for c in proposals if c.rejected)
        self.steps += len(state.steps)
        self.accepted += sum(step.kept is not None for step in state.steps)
        self.usage += state.usage_in_all

    def keep(self, row: Mapping[str, Any]) -> None:
        """A trajectory that is kept."""
        for key, values in self.nll.items():
            values.append(row["nll"][key])
        self.worth.add(row["worth"])

    def summary(self, examples: int, seconds: float) -> dict[str, Any]:
        """The content of summary.json; NLLs are means over the kept trajectories."""
        return {
            "examples": {
                "input": examples,
                "done": len(self.nll["none"]),
                "dropped": dict(sorted(self.dropped.items())),
                "failed": self.refused["failed"],
                "quarantined": self.refused["quarantined"],
            },
            "nll": {key: fmean(values) if values else None for key, values in self.nll.items()},
            "worth": self.worth.summary(),
            "steps": {"done": self.steps, "accepted": self.accepted},
            "rejected": dict(sorted(self.rejected.items())),
            "usage": asdict(self.usage),
            "pending": self.refused["pending"],
            "seconds": seconds,
            "format_version": FORMAT_VERSION,
        }
