"""What scripts/search/compare found, read from its files, and what is still to be scored. Loads no model.

DIR/SET/PRESET/ is a run folder of reer-synthesize, DIR/scores.jsonl what was scored afterwards. NLL is in nats per
answer token; every interval is a 95 % bootstrap interval over pairs.
"""

import json
import math
import random
import re
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np

from eval.statistics import Estimate, bootstrap_mean
from reer.method.segment import sentences, with_core
from reer.method.worth.lexical import Frequencies, terms
from reer.text import seed_of
from reer.types import Example

DRAWS = 10_000

_FIRST_PERSON = re.compile(r"\b(?:I|[Mm]e|[Mm]y|[Mm]yself|[Ww]e|us|[Oo]ur|[Ll]et['’]?s)\b")
_ENDED = re.compile(r"[.!?…。！？][\"'”’」』）)\]]*\s*$")

Row = dict[str, Any]
Sets = Mapping[str, Mapping[str, Sequence[Row]]]
"""Trajectories by set of pairs and preset."""


class Key(NamedTuple):
    """Of a row of scores.jsonl."""

    set: str
    preset: str | None
    """None: no trajectory, hence the same for all."""
    id: str
    kind: str
    scorer: str


class Task(NamedTuple):
    """The answer of `row` is to be scored after this thinking, in the training layout."""

    key: Key
    row: Row
    thinking: str | None


class Result(NamedTuple):
    """One trajectory and all that was measured of it."""

    row: Row
    nll: Mapping[str, float]
    """none, first, final, the controls blind, shuffled and other, the anchors itself and words; `second ...`: under
    the second model."""
    path: Any
    """Array [events, 3]: forward tokens and model seconds spent so far, change of NLL against none."""


Results = Mapping[str, Result]
"""Of one preset, by the id of the pair."""


def read_rows(path: Path) -> list[Row]:
    """Rows of a JSONL file; none where there is no file. The torn last line of a killed run is left out."""
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]


def read_sets(folder: Path, sets: Iterable[str], presets: Sequence[str]) -> dict[str, dict[str, list[Row]]]:
    """The trajectories of every finished search."""
    found = {s: {p: read_rows(folder / s / p / "trajectories.jsonl") for p in presets} for s in sets}
    return {s: {p: rows for p, rows in by_preset.items() if rows} for s, by_preset in found.items()}


def tasks(sets: Sets, seconds: Collection[str] | None = None) -> list[Task]:
    """All there is to score: first by the model of the search, then by the second one; pair by pair.

    `seconds`: the sets that have a second model (None: all).
    """
    found = [task for name, presets in sets.items() for task in _anchors(name, presets)]
    found += [
        task
        for name, presets in sets.items()
        for preset, rows in presets.items()
        for row, following in zip(rows, [*rows[1:], rows[0]], strict=True)
        for task in _tasks(name, preset, row, None if following is row else following["thinking"])
    ]
    wanted = [t for t in found if seconds is None or t.key.scorer == "base" or t.key.set in seconds]
    once = {task.key: task for task in wanted}.values()
    return sorted(once, key=lambda task: (task.key.scorer, [*sets].index(task.key.set), task.key.id))


def _tasks(name: str, preset: str, row: Row, other: str | None) -> Iterator[Task]:
    base: Row = {"shuffled": shuffled(row["segments"], row["id"]), "other": other}
    if row["layout"] != "think":  # else the search itself has scored these
        base |= {"first": row["first"]["thinking"], "final": row["thinking"]}
    for scorer, texts in (("base", base), ("second", {"final": row["thinking"], "other": other})):
        for kind, text in texts.items():
            if text is not None:
                yield Task(Key(name, preset, row["id"], kind, scorer), row, text)
    yield Task(Key(name, None, row["id"], "none", "second"), row, None)


def _anchors(name: str, presets: Mapping[str, Sequence[Row]]) -> Iterator[Task]:
    """What no honest thinking can be better than: the answer itself as thinking, and its content words unordered."""
    rows = {row["id"]: row for rows in presets.values() for row in rows}
    frequencies = Frequencies()
    for row in rows.values():
        frequencies.add(_example(row))
    for row in rows.values():
        for kind, text in (("itself", row["answer"]), ("words", content_words(row, frequencies))):
            yield Task(Key(name, None, row["id"], kind, "base"), row, text)


def content_words(row: Row, frequencies: Frequencies) -> str:
    """The answer's terms that less than half of the answers hold (all of them where none is so rare), unordered."""
    own = sorted(terms(row["answer"]))
    rare = [term for term in own if frequencies.idf(row["language"], term) > math.log(2)] or own
    return " ".join(random.Random(seed_of("words", row["id"])).sample(rare, len(rare)))


def _example(row: Row) -> Example:
    return Example(id=row["id"], query=row["query"], answer=row["answer"], language=row["language"])


def shuffled(segments: Sequence[str], seed: str) -> str | None:
    """The segments in another order, white space as it was between them; None where there is no other order."""
    cores = [segment.strip() for segment in segments]
    if len(set(cores)) < 2:
        return None
    mixed, draw = cores, random.Random(seed_of("shuffled", seed))
    while mixed == cores:
        mixed = draw.sample(cores, len(cores))
    return "".join(with_core(segment, core) for segment, core in zip(segments, mixed, strict=True))


def collect(folder: Path, sets: Sets) -> dict[str, dict[str, Results]]:
    """Trajectories with all their scores and what their search spent."""
    scores: dict[Any, dict[str, float]] = {}
    for row in read_rows(folder / "scores.jsonl"):
        kind = row["kind"] if row["scorer"] == "base" else f"second {row['kind']}"
        scores.setdefault((row["set"], row["preset"], row["id"]), {})[kind] = row["nll"]
    found: dict[str, dict[str, Results]] = {}
    for name, presets in sets.items():
        none = {r["id"]: r["nll"]["none"] for rows in presets.values() for r in rows if r["layout"] == "think"}
        blind = {name: nll for rows in presets.values() for name, nll in map(_blind, rows) if nll}
        found[name] = {}
        for preset, rows in presets.items():
            events = read_events(folder / name / preset / "ledger.db")
            nlls = {
                row["id"]: (row["nll"] if row["layout"] == "think" else {"none": none[row["id"]]})
                | blind.get(row["id"], {})
                | scores.get((name, None, row["id"]), {})
                | scores.get((name, preset, row["id"]), {})
                for row in rows
            }
            found[name][preset] = {r["id"]: Result(r, nlls[r["id"]], path_of(events[r["id"]])) for r in rows}
    return found


def _blind(row: Row) -> tuple[str, dict[str, float]]:
    """Id, and mean NLL of y after the thinkings that have not seen it, which are the same for every preset."""
    drawn = row["worth"]["blind"] if row.get("worth") and row["layout"] == "think" else []
    nlls = [candidate["nll"] for candidate in drawn if candidate["nll"] is not None]
    return row["id"], {"blind": fmean(nlls)} if nlls else {}


def read_events(ledger: Path) -> dict[str, list[tuple[str, Row]]]:
    """Kind and content of every event of a finished search, by example; the file is not touched."""
    events: dict[str, list[tuple[str, Row]]] = {}
    db = sqlite3.connect(f"{ledger.resolve().as_uri()}?mode=ro&immutable=1", uri=True)
    for example, kind, body in db.execute("SELECT example, kind, body FROM events ORDER BY example, n"):
        events.setdefault(example, []).append((kind, json.loads(body)))
    db.close()
    return events


def path_of(events: Iterable[tuple[str, Row]]) -> Any:
    """`Result.path` of the best trajectory as it stands. The cost of the first draws, one sum, is divided evenly."""
    spent, none, change = np.zeros(2), 0.0, 0.0
    points = [(*spent, change)]
    standing: dict[int, float] = {}
    for kind, event in events:
        if kind == "Worth":  # measured, not searched
            continue
        cost = np.array([forward_tokens(event["usage"]), event["usage"]["seconds"]])
        draws = [draw["nll"] for draw in event["candidates"]] if kind == "First" else [None]
        if kind == "Baseline":
            none = event["nll"]
        for n in range(len(draws)):
            spent = spent + cost / len(draws)
            drawn = [nll for nll in draws[: n + 1] if nll is not None]
            change = min(drawn) - none if drawn else change
            if kind == "Step":
                standing[event.get("start", 0)] = event["nll"]
                change = min(standing.values()) - none
            points.append((*spent, change))
        if kind == "First":
            standing = dict(enumerate([event["nll"], *(start["nll"] for start in event.get("others", ()))]))
    return np.array(points)


def mean_curve(paths: Sequence[Any], column: int) -> tuple[Any, Any]:
    """Where, and the mean of the paths as step functions there; a finished search keeps its last value."""
    grid = np.linspace(0, max(path[-1, column] for path in paths), 120)
    return grid, np.mean([p[np.searchsorted(p[:, column], grid, side="right") - 1, 2] for p in paths], axis=0)


def reached(paths: Sequence[Any], change: float) -> float | None:
    """Forward tokens after which the mean of the paths has come down to a change of NLL; None: it never does."""
    grid, mean = mean_curve(paths, 0)
    there = np.flatnonzero(mean <= change)
    return float(grid[there[0]]) if len(there) else None


def forward_tokens(usage: Row) -> int:
    """The draft's, where one ranked, in tokens of the scorer."""
    counted = ("generated_tokens", "prefilled_tokens", "scored_tokens", "draft_counted")
    return int(sum(usage.get(key, 0) for key in counted))


def first_person(thinking: str) -> float:
    """Share of sentences with I, me, my, myself, we, us, our or let's."""
    return fmean(_FIRST_PERSON.search(sentence) is not None for sentence in _sentences(thinking))


def ended(thinking: str) -> float:
    """Share of sentences that end with a full stop, a question or exclamation mark, or an ellipsis."""
    return fmean(_ENDED.search(sentence) is not None for sentence in _sentences(thinking))


def _sentences(thinking: str) -> list[str]:
    """A line break ends a sentence, too."""
    return [sentence for line in thinking.splitlines() if line.strip() for sentence in sentences(line)]


def estimate(values: Sequence[float]) -> Estimate:
    return bootstrap_mean(values, seed=0, draws=DRAWS)


def differences(results: Results, a: str, b: str) -> list[float]:
    """nll[a] - nll[b] of every trajectory that has both."""
    return [r.nll[a] - r.nll[b] for r in results.values() if a in r.nll and b in r.nll]


def paired(mine: Results, theirs: Results) -> list[float]:
    """Final NLL of one preset minus that of another, on the pairs that both have."""
    both = [(mine[name].nll, theirs[name].nll) for name in mine if name in theirs]
    return [a["final"] - b["final"] for a, b in both if "final" in a and "final" in b]
