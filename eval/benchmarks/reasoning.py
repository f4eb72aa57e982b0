"""The benchmark `reasoning`: held-out queries, and five anchored dimensions of the final answer.

The judged text is the answer alone; thinking is stripped before. The paper names the five dimensions and publishes
neither prompt nor anchors, so both are ours. Criteria of one's own take their place with `benchmark.rubric`.
"""

from dataclasses import replace
from pathlib import Path

from reer.config import BenchmarkConfig, DataConfig
from reer.files.pairs import Pairs, read_pairs
from reer.files.rows import files_of
from reer.run.manifest import sha256
from reer.types import Example

from ..types import Rubric
from .fetch import SAMPLE
from .items import Benchmark, Item, Source, make_benchmark
from .rubric import graded, make_rubric
from .rubric_file import read_rubric

SHIPPED = "eval_pairs.jsonl"

CRITERIA = (
    graded(
        "problem_deconstruction",
        "Problem deconstruction",
        "does the answer see what the task is made of, and attend to each part?",
        {
            1: "misses the task; no part of it is recognisable",
            2: "takes up the topic but passes over most of what is asked",
            3: "meets the main demand; some parts are missing or blurred",
            4: "covers all stated parts in a sensible order",
            5: "covers all parts, the unstated ones too, and weighs them well",
        },
    ),
    graded(
        "logical_consistency",
        "Logical consistency",
        "does each part follow from the ones before, without contradiction?",
        {
            1: "contradicts itself, or its sentences are unconnected",
            2: "several breaks or contradictions; the line is hard to follow",
            3: "mostly consistent; a gap or an unexplained jump remains",
            4: "consistent throughout, with a loose step at most",
            5: "every step follows, and what is set up is resolved",
        },
    ),
    graded(
        "depth_of_analysis",
        "Depth of analysis",
        "does it go beneath the surface, to causes, motives, consequences, telling detail?",
        {
            1: "empty phrases or repetition; nothing is developed",
            2: "names points without developing them",
            3: "develops some points; others stay flat",
            4: "develops most points with specific reasons or detail",
            5: "specific, original insight or invention carried through the text",
        },
    ),
    graded(
        "presentation_clarity",
        "Presentation clarity",
        "can it be read with ease, in order, wording and tone?",
        {
            1: "unreadable: broken, looping or without order",
            2: "readable in parts; order or wording often get in the way",
            3: "understandable, with some disorder or awkward wording",
            4: "clear and well ordered, with small blemishes",
            5: "effortless; structure and wording serve the purpose throughout",
        },
    ),
    graded(
        "factual_grounding",
        "Factual grounding",
        "is what it says about the real world right and supported?",
        {
            1: "its central statements are false or made up",
            2: "several statements are wrong or unsupported",
            3: "mostly right; some statements are doubtful or vague",
            4: "right and plausible; few statements lack support",
            5: "every statement is right, specific and supported, or marked as uncertain",
        },
        may_not_apply=True,
    ),
)

RUBRIC = make_rubric("reasoning", CRITERIA)


def load(config: BenchmarkConfig) -> Benchmark:
    """Queries with their reference answers.

    Raises:
        DataError: a file is missing or has no usable row, or the rubric's is not one.
    """
    path = None if config.path in (None, SAMPLE) else Path(str(config.path))
    pairs = _pairs(path, config)
    rubric = read_rubric(Path(config.rubric)) if config.rubric else RUBRIC
    items = [_item(example, rubric) for example in pairs.examples]
    files = {file.name if file == pairs.path else str(file): sha256(file) for file in files_of(pairs.path)}
    source = Source(version="shipped" if path is None else "own", files=files)
    scores = [rubric.points(score) for criterion in rubric.criteria for score in criterion.scale]
    bounds = min(scores), max(scores)
    found = make_benchmark(config, items, source, bounds, pairs.quarantined, facet="domain")
    return replace(found, told=pairs.notes.told(pairs.path.name, "benchmark"))


def _pairs(path: Path | None, config: BenchmarkConfig) -> Pairs:
    """Pairs in any form that a search reads."""
    pairs = read_pairs(path, data=DataConfig(columns=config.columns), default=SHIPPED, group="benchmark")
    pairs.notes.riding.clear()  # an item keeps nothing but what it is asked and judged by
    return pairs


def _item(example: Example, rubric: Rubric) -> Item:
    groups = {"domain": example.domain} if example.domain else {}
    return Item(
        id=example.id, query=example.query, history=example.history, rubric=rubric, groups=groups, reference=example
    )
