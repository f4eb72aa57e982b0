"""What a search leaves behind: one row per kept trajectory (the contract of trajectories.jsonl), and the counts.

Knows events and examples; knows nothing of how they came about.
"""

import functools
import json
import math
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from reer.backend import describe
from reer.config import SynthesizeConfig
from reer.layout import conversation
from reer.method.guards import echo, leak
from reer.method.objective import UNITS
from reer.method.prompts import load_set
from reer.method.screen import missed
from reer.method.state import State
from reer.method.worth.facts import KINDS, worth_of
from reer.method.worth.lexical import Frequencies
from reer.method.worth.means import Means
from reer.text import words
from reer.types import FORMAT_VERSION, Candidate, Example, First, ObjectiveKind, Step, Usage

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
        "objective": _objective(state, config),
        "answer_tokens": baseline.answer_tokens,
        "leak": asdict(leak.measure(thinking, example.answer, config.search.leak.ngram)),
        "echo": asdict(echo_of(thinking, example, config)),
        "worth": worth_of(example, state, frequencies, config.search.worth.decorative)
        | {"usage": tokens_of(state.worth.usage) if state.worth else None},
        "steps": [_step_row(step) for step in state.steps],
        "start": state.start,
        "usage": tokens_of(state.usage),
        "layout": config.layout.name,
        "instruction": config.layout.instruction,
        "generator": describe(config.generator),
        "scorer": describe(config.scorer),
        "draft": describe(config.draft) if config.draft else None,
        "source": example.source,
        "licence": example.licence,
        "language": example.language,
        "domain": example.domain,
        "seed": config.seed,
        "extra": plain(example.extra),
        "format_version": FORMAT_VERSION,
    }


def _objective(state: State, config: SynthesizeConfig) -> dict[str, Any] | None:
    """What was minimised, where that is not the NLL; `none` is null in runs from before it was kept."""
    if state.baseline is None or state.first is None or state.first.objective is None:
        return None
    kind, none = config.search.objective.kind, state.baseline.objective
    return {"kind": kind, "none": none, "first": state.first.objective, "final": state.value}


def plain(value: Any) -> Any:
    """A value as JSON can hold it: no number for NaN and infinities, a text for dates and other kinds."""
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value)


def echo_of(thinking: str, example: Example, config: SynthesizeConfig) -> echo.Echo:
    """How much of the prompts' own text stands in a thinking, whichever of them it was drawn with."""
    prompts = _prompts(config.prompts.set, example.language, config.search.start)
    fixed = (*prompts.fixed, *conversation.heading(example.history, example.language))
    return echo.measure(thinking, fixed, config.search.echo.ngram)


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
        "whole": step.whole,
    }


def _candidate_row(candidate: Candidate) -> dict[str, Any]:
    return {
        "text": candidate.text,
        "nll": candidate.nll,
        "rejected": candidate.rejected,
        "objective": candidate.objective,
        "draft": candidate.draft,
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

    candidate = struct(text=text, nll=number, rejected=text, objective=number, draft=number)
    step = struct(
        sweep=count, segment=count, operation=text, before=text, candidates=pa.list_(candidate), kept=count,
        nll=number, objective=number, whole=text,
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
        "objective": struct(kind=text, none=number, first=number, final=number), "answer_tokens": count,
        "leak": struct(longest_run=count, containment=number),
        "echo": struct(longest_run=count, containment=number), "worth": worth, "steps": pa.list_(step),
        "start": count, "usage": usage,
        "layout": text, "instruction": text, "generator": engine, "scorer": engine, "draft": engine,
        **dict.fromkeys(("source", "licence", "language", "domain"), text), "seed": count, "extra": text,
        "format_version": count,
    }  # fmt: skip
    return pa.schema(list(columns.items()))


def of_draft(events: Sequence[First | Step], screen: int) -> dict[str, int]:
    """What a draft did in one search: candidates it ranked and screened, audits and what they missed, and how often
    all were scored and why (`too_long` counts the pair, once)."""
    candidates = [candidate for event in events for candidate in event.candidates]
    whole = Counter(event.whole for event in events if event.whole)
    audits = [event for event in events if isinstance(event, Step) and event.whole == "audit"]
    return {
        "ranked": sum(candidate.draft is not None for candidate in candidates),
        "screened": sum(candidate.rejected == "screened" for candidate in candidates),
        "audits": len(audits),
        "kept": sum(step.kept is not None for step in audits),
        "missed": sum(missed(step, screen) for step in audits),
        "too_long": int(whole["too_long"] > 0),
        "not_taken": whole["not_taken"],
        "failed": whole["failed"],
    }


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
    objective: dict[str, "array[float]"] = field(default_factory=lambda: {key: array("d") for key in NLLS})
    """Of trajectories whose search minimised something else than the NLL."""
    kind: ObjectiveKind = "mean_nll"
    words: "array[int]" = field(default_factory=lambda: array("q"))
    """Of each final thinking."""
    worth: Means = field(default_factory=Means)
    steps: int = 0
    accepted: int = 0
    usage: Usage = Usage()
    draft: Counter[str] = field(default_factory=Counter)
    """What a draft did: see `of_draft`."""

    def add(self, state: State, screen: int | None = None) -> None:
        """A search that ended well, all of its starts. `screen`: how many candidates a draft lets through."""
        steps = state.every_step
        proposals = (c for event in (state.first, *steps) if event is not None for c in event.candidates)
        self.rejected.update(c.rejected.partition(":")[0] for c in proposals if c.rejected)
        self.steps += len(steps)
        self.accepted += sum(step.kept is not None for step in steps)
        self.usage += state.usage_in_all
        if screen is not None:
            self.draft.update(of_draft([*([state.first] if state.first else []), *steps], screen))

    def keep(self, row: Mapping[str, Any]) -> None:
        """A trajectory that is kept."""
        for key, values in self.nll.items():
            values.append(row["nll"][key])
        self.words.append(len(words(row["thinking"])))
        if found := row["objective"]:
            self.kind = found["kind"]
            for key, values in self.objective.items():
                values.append(math.nan if found[key] is None else found[key])
        self.worth.add(row["worth"])

    def summary(self, examples: int, seconds: float) -> dict[str, Any]:
        """The content of summary.json; NLLs and lengths are means over the kept trajectories."""
        return {
            "examples": {
                "input": examples,
                "done": len(self.nll["none"]),
                "dropped": dict(sorted(self.dropped.items())),
                "failed": self.refused["failed"],
                "quarantined": self.refused["quarantined"],
            },
            "nll": {key: fmean(values) if values else None for key, values in self.nll.items()},
            "thinking_words": fmean(self.words) if self.words else None,
            "objective": self._objective(),
            "worth": self.worth.summary(),
            "steps": {"done": self.steps, "accepted": self.accepted},
            "rejected": dict(sorted(self.rejected.items())),
            "draft": self._draft(),
            "usage": asdict(self.usage),
            "pending": self.refused["pending"],
            "seconds": seconds,
            "format_version": FORMAT_VERSION,
        }

    def _objective(self) -> dict[str, Any] | None:
        """Means of what was minimised, with its unit; None where that is the NLL."""
        if not self.objective["final"]:
            return None
        means = {key: plain(fmean(values)) for key, values in self.objective.items()}
        return {"kind": self.kind, "unit": UNITS[self.kind], **means}

    def _draft(self) -> dict[str, Any] | None:
        if not self.draft:
            return None
        found = dict(self.draft)
        steps, kept, missed = (found.pop(key) for key in ("audits", "kept", "missed"))
        audit = {"steps": steps, "kept": kept, "missed": missed, "share": missed / steps if steps else None}
        return found | {"audit": audit}


def arithmetic(usage: Usage, models: Mapping[str, Any]) -> dict[str, int | None]:
    """Parameters times tokens by role, from what the manifest says of the models; None where nobody tells."""
    tokens = {
        "generator": usage.generated_tokens + usage.prefilled_tokens,
        "scorer": usage.scored_tokens,
        "draft": usage.draft_tokens,
    }
    known = {role: models[role].get("parameters") for role in tokens if role in models}
    return {role: None if count is None else count * tokens[role] for role, count in known.items()}
