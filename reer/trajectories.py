"""What a search leaves behind: one row per kept trajectory (the contract of trajectories.jsonl), and the counts.

Knows events and examples; knows nothing of how they came about.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from reer import leak
from reer.backend import describe
from reer.config import SynthesizeConfig
from reer.search import State
from reer.types import FORMAT_VERSION, Example, Step


def to_row(example: Example, state: State, config: SynthesizeConfig) -> dict[str, Any]:
    """One object of trajectories.jsonl. NLLs are means in nats per answer token."""
    baseline, first = state.baseline, state.first
    assert baseline is not None
    assert first is not None
    thinking = state.trajectory.text
    return {
        "id": example.id,
        "trajectory": 0,
        "query": example.query,
        "answer": example.answer,
        "thinking": thinking,
        "segments": list(state.trajectory.segments),
        "first": {"thinking": "".join(first.segments), "segments": list(first.segments)},
        "nll": {"none": baseline.nll, "first": first.nll, "final": state.nll},
        "answer_tokens": baseline.answer_tokens,
        "leak": asdict(leak.measure(thinking, example.answer, config.search.leak.ngram)),
        "steps": [_step_row(step) for step in state.steps],
        "usage": asdict(state.usage),
        "layout": config.layout.name,
        "generator": describe(config.generator),
        "scorer": describe(config.scorer),
        "source": example.source,
        "licence": example.licence,
        "language": example.language,
        "domain": example.domain,
        "seed": config.seed,
        "format_version": FORMAT_VERSION,
    }


def _step_row(step: Step) -> dict[str, Any]:
    row = asdict(step)
    del row["usage"]  # the row carries the sum
    return row


def rejections(states: Iterable[State]) -> dict[str, int]:
    """How many proposals were never scored, by reason."""
    events = (event for state in states for event in (state.first, *state.steps) if event is not None)
    reasons = (candidate.rejected for event in events for candidate in event.candidates if candidate.rejected)
    return dict(sorted(Counter(reason.partition(":")[0] for reason in reasons).items()))


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    """The rows of trajectories.jsonl as a table, replaced in one step."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    temporary = path.with_name(f".{path.name}.tmp")
    pq.write_table(pa.Table.from_pylist(rows), temporary)
    temporary.replace(path)
