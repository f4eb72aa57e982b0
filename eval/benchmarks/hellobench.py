"""HelloBench: five tasks of long writing, each category with a checklist and weights of its own.

Source: Quehry/HelloBench (arXiv 2409.16191). Checklists and weights are its data; the weights are a regression of
human overall scores on checklist scores, and add up to 100 in each category. Every other word a judge reads is ours.
Differences are listed in docs/evaluation.md.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from reer.config import BenchmarkConfig
from reer.errors import DataError
from reer.files.rows import BadRow

from ..types import Anchor, Criterion, Rubric
from .fetch import PACKAGED, SAMPLE, Pinned, fetch, local, packaged
from .items import Benchmark, Item, make_benchmark
from .rows import Row, load_rows, source_of, want
from .rubric import make_rubric

TASKS = ("open_ended_qa", "summarization", "chat", "text_completion", "heuristic_text_generation")
"""Published pins hold four of them: summarization was not to be had (docs/evaluation.md)."""
WEIGHTS = "hellobench_weights.json"
_ADDRESS = (
    "https://raw.githubusercontent.com/Quehry/HelloBench/d403282968b0a61a4963a73c631d3fc1318f17d7/data/main_data"
)
_SHA256 = {
    "open_ended_qa": "57e76a480395a65d000b6081c24b76b8d6940758e953e3ae5c20d4bec8b9c102",
    "chat": "04f7a75417ab50f245c226143fa4f7ad48849459ae65ab5b3d0fceda9d36eff6",
    "text_completion": "01852f09ebdeb4f8fc352ea23fffb504923cd3ec64824e23d39b4caa8afc2c84",
    "heuristic_text_generation": "2b4a61adb627d2b54fb0ac77c5de427e0a7aa523c6f37b812087382a378b165c",
}
PINS = tuple(Pinned(f"{task}.jsonl", f"{_ADDRESS}/{task}.jsonl", found) for task, found in _SHA256.items())
GUIDANCE = """\
Each criterion is a yes-or-no question from a checklist for this kind of text. Answer it strictly: the full score is \
for a text in which you find nothing to object to on that point, and a doubt lowers it. Judge the text as it stands \
between its marks, to its last line and no further; a task half done meets no question about completeness."""
SCALE = (
    Anchor(0.0, 0.0, "no: the text fails the question altogether"),
    Anchor(0.25, 0.25, "mostly no: met in a few places only"),
    Anchor(0.5, 0.5, "in part: about as much speaks for it as against it"),
    Anchor(0.75, 0.75, "mostly yes: met but for small faults"),
    Anchor(1.0, 1.0, "yes: met throughout, without exception"),
)


def load(config: BenchmarkConfig) -> Benchmark:
    """The instructions, each with the checklist of its category.

    Raises:
        DataError: the files cannot be had, differ from the published ones, or a category has no weights.
    """
    if config.path == SAMPLE:
        paths = packaged(config.name)
    else:
        names = [f"{task}*.jsonl" for task in TASKS]
        paths = local(Path(config.path), names) if config.path else fetch(config.name, PINS)
    loaded = load_rows(paths, _item)
    return make_benchmark(config, loaded.items, source_of(paths, PINS), (0.0, 100.0), loaded.quarantined, facet="task")


def _item(row: Row, number: int, path: Path) -> Item:
    id_, category = want(row, "id", str), want(row, "category", str)
    checklist = want(row, "checklists", list)
    if not all(isinstance(question, str) and question.strip() for question in checklist):
        raise BadRow("'checklists' is no list of texts")
    return Item(
        id=id_,
        query=want(row, "instruction", str),
        rubric=_rubric(category, tuple(checklist)),
        groups={"task": _task(id_), "category": category},
    )


def _task(id_: str) -> str:
    task = id_.rpartition("_")[0]
    if task not in TASKS:
        raise BadRow(f"'id' names no task (known: {', '.join(TASKS)})")
    return task


@cache
def _rubric(category: str, checklist: tuple[str, ...]) -> Rubric:
    criteria = [
        Criterion(
            name=f"item_{number}",
            title=f"Item {number}",
            question=question,
            scale=tuple(anchor.low for anchor in SCALE),
            anchors=SCALE,
            weight=weight,
        )
        for number, (question, weight) in enumerate(
            zip(checklist, weights_of(category, len(checklist)), strict=True), start=1
        )
    ]
    return make_rubric(f"hellobench {category}", criteria, guidance=GUIDANCE, factor=100.0)


def weights_of(category: str, items: int) -> Sequence[float]:
    """The weights of a category's checklist; they add up to 100.

    Raises:
        DataError: there are none, or not as many as the checklist has items.
    """
    weights = _weights().get(category)
    if weights is None:
        raise DataError(f"{WEIGHTS}: no weights for the category {category}")
    if len(weights) != items:
        raise DataError(f"{WEIGHTS}: {len(weights)} weights for the category {category}, which has {items} items")
    return weights


@cache
def _weights() -> Mapping[str, Sequence[float]]:
    found: Mapping[str, Sequence[float]] = json.loads((PACKAGED / WEIGHTS).read_text(encoding="utf-8"))
    return found


def weighted(category: str, scores: Sequence[float]) -> float:
    """One answer's score, 0 to 100, from the scores of its checklist (0 to 1 each)."""
    weights = weights_of(category, len(scores))
    return sum(weight * score for weight, score in zip(weights, scores, strict=True))


def rescaled(score: float) -> float:
    """The paper's presentation: 75 becomes 0, 100 stays 100, 0 becomes -300."""
    return (score - 75) * 4
