"""LongBench-Write: prompts that ask for a given length; quality on six dimensions (S_q), and length (S_l).

Source: THUDM/LongWriter (arXiv 2408.07055), `evaluation/`. The formulas and what the six dimensions are called are
theirs; the anchors and every word a judge reads are ours. Differences are listed in docs/evaluation.md.
"""

import re
from pathlib import Path

from reer.config import BenchmarkConfig
from reer.files.rows import BadRow
from reer.text import language_of

from .fetch import SAMPLE, Pinned, fetch, local, packaged
from .items import Benchmark, Item, make_benchmark
from .rows import Row, load_rows, source_of, want
from .rubric import graded, make_rubric

COMMIT = "3fcfdff43deceb49f7936c6bf25ad88d61df0bfa"
PINS = (
    Pinned(
        "longbench_write.jsonl",
        f"https://raw.githubusercontent.com/THUDM/LongWriter/{COMMIT}/evaluation/longbench_write.jsonl",
        "1f6e99497cc24d65894d65e014062f398ba946ebdd254b7f8b339e48d3ab5779",
    ),
)
GUIDANCE = """\
You are a demanding editor who judges how well a text is written. Whether it has the length that the task asks for is \
measured elsewhere: neither reward nor punish it here, and do not take a longer text for a better one. Give the \
highest level only to what a professional would publish unchanged."""

CRITERIA = (
    graded(
        "relevance",
        "Relevance",
        "does the text do what the task asks, for its subject, reader and form?",
        {
            1: "about something else, or no attempt at the task",
            2: "touches the subject; most of it is beside the task",
            3: "does the main thing asked, with digressions or an aspect missed",
            4: "stays on the task throughout; a minor demand is missed",
            5: "every part serves the task, and every demand is met",
        },
    ),
    graded(
        "accuracy",
        "Accuracy",
        "are its statements right, and true to what the task gives (in fiction: to its own world)?",
        {
            1: "wrong or made up in what matters",
            2: "several errors that mislead",
            3: "right in the main, with some errors or doubtful claims",
            4: "right, with a slip that does no harm",
            5: "no error found; specifics hold up",
        },
    ),
    graded(
        "coherence",
        "Coherence",
        "do its parts hang together in a sensible order?",
        {
            1: "unconnected sentences, or a loop",
            2: "some order, but jumps and repetition break it",
            3: "an order can be followed; transitions are rough or parts repeat",
            4: "well ordered, with an abrupt passage at most",
            5: "each part leads to the next and the whole is of one piece",
        },
    ),
    graded(
        "clarity",
        "Clarity",
        "is it plainly said, in exact words and sound grammar?",
        {
            1: "cannot be understood",
            2: "often obscure, wordy or ungrammatical",
            3: "understood with some effort or re-reading",
            4: "clear, with a clumsy or vague place here and there",
            5: "clear at first reading throughout",
        },
    ),
    graded(
        "breadth_and_depth",
        "Breadth and depth",
        "does it cover the subject, and go into it?",
        {
            1: "says next to nothing",
            2: "a few points, none of them developed",
            3: "the obvious points, thinly developed",
            4: "most aspects, several of them in depth",
            5: "all that matters, with detail and thought of its own",
        },
    ),
    graded(
        "reading_experience",
        "Reading experience",
        "does one like to read it, in tone, style and liveliness?",
        {
            1: "a torment to read",
            2: "dull or jarring; one would stop",
            3: "readable, but flat or formulaic",
            4: "pleasant, with good moments",
            5: "gripping or a pleasure from beginning to end",
        },
    ),
)

RUBRIC = make_rubric("longbench_write", CRITERIA, guidance=GUIDANCE, factor=25.0, offset=-25.0)
_COUNTED = re.compile(r"[\u4e00-\u9fff]|[a-zA-Z]+")
REQUIRED = ((500, "under 500"), (2000, "500 to 2,000"), (4000, "2,000 to 4,000"))


def load(config: BenchmarkConfig) -> Benchmark:
    """The prompts, with the length each requires.

    Raises:
        DataError: the file cannot be had, differs from the published one, or has no usable row.
    """
    if config.path == SAMPLE:
        paths = packaged(config.name)
    else:
        paths = local(Path(config.path), ["longbench_write.jsonl"]) if config.path else fetch(config.name, PINS)
    loaded = load_rows(paths[:1], _item)
    return make_benchmark(
        config, loaded.items, source_of(paths[:1], PINS), (0.0, 100.0), loaded.quarantined, facet="type"
    )


def _item(row: Row, number: int, path: Path) -> Item:
    query, required = want(row, "prompt", str), want(row, "length", int)
    if required < 1:
        raise BadRow("'length' is not positive")
    name = next((name for below, name in REQUIRED if required < below), "4,000 and more")
    groups = {"type": want(row, "type", str), "language": language_of(query), "required": name}
    return Item(id=str(row.get("id") or number), query=query, rubric=RUBRIC, groups=groups, required_words=required)


def length(text: str) -> int:
    """Chinese characters and Latin words; numbers do not count. (As the benchmark counts, unlike the rest of REER.)"""
    return len(_COUNTED.findall(text))


def length_score(produced: int, required: int) -> float:
    """S_l: 100 at the required length, 0 from four times as much or a third as much on."""
    if produced > required:
        return 100 * max(0.0, 1 - (produced / required - 1) / 3)
    return 100 * max(0.0, 1 - (required / produced - 1) / 2) if produced else 0.0
