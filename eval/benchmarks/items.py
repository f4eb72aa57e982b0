"""What a benchmark is to the steps of an evaluation: items to answer and to judge, and how their scores are grouped.

Knows nothing of files, models or judges.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from reer.config import BenchmarkConfig
from reer.files.pairs import Quarantined
from reer.layout import conversation
from reer.text import digest
from reer.types import Example, Message

from ..types import Rubric
from .rubric import WORDING


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One prompt of a benchmark, and what its answer is judged by."""

    id: str
    query: str
    """What the user says last."""
    history: tuple[Message, ...] = ()
    """The turns before it."""
    rubric: Rubric
    groups: Mapping[str, str] = field(default_factory=dict)
    """Facet -> the group the item belongs to: domain, task, type, language."""
    requirements: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """A requirement that the query makes -> the criteria that test it."""
    required_words: int | None = None
    reference: Example | None = None
    """The pair with a known good answer, where there is one."""

    @property
    def prompt(self) -> str:
        """What judges and readers see as the task: the query, or the conversation that it ends."""
        return conversation.shown(self.query, self.history)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a benchmark's items come from."""

    version: str
    files: Mapping[str, str]
    """File name -> sha256."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """A benchmark with its items, loaded and limited."""

    name: str
    items: Sequence[Item]
    known: frozenset[str]
    """Ids of all its items, those beyond the limit too."""
    source: Source
    low: float
    high: float
    """Bounds of an answer's score."""
    version: str
    """Hash over the rubrics of all its items: of everything that judges read besides queries and answers."""
    weights: str
    """Hash of what makes an answer's score of its verdicts: weights may change without a new verdict."""
    quarantined: Sequence[Quarantined] = ()
    told: Sequence[str] = ()
    """What reading did to the rows, as lines for the terminal."""


def make_benchmark(
    config: BenchmarkConfig,
    items: Sequence[Item],
    source: Source,
    bounds: tuple[float, float],
    quarantined: Sequence[Quarantined],
    *,
    facet: str,
) -> Benchmark:
    """A benchmark of all these items, limited as the config says and spread over the groups of `facet`."""
    return Benchmark(
        name=config.name,
        items=spread(items, facet, config.limit),
        known=frozenset(item.id for item in items),
        source=source,
        low=bounds[0],
        high=bounds[1],
        version=digest(WORDING, sorted({item.rubric.version for item in items}))[:16],
        weights=digest([_weights(item.rubric) for item in items])[:16],
        quarantined=quarantined,
    )


def _weights(rubric: Rubric) -> tuple[object, ...]:
    return rubric.factor, rubric.offset, [(criterion.name, criterion.weight) for criterion in rubric.criteria]


def spread(items: Iterable[Item], facet: str, limit: int | None) -> list[Item]:
    """The first `limit` items when every group of a facet is dealt from in turn, in the order in which groups occur.

    What a lower limit takes, a higher one takes too. Without a limit the order stays as it is.
    """
    if limit is None:
        return list(items)
    rank: dict[str, int] = {}
    place: dict[str, int] = {}
    keyed = []
    for item in items:
        group = item.groups.get(facet, "")
        place.setdefault(group, len(place))
        rank[group] = rank.get(group, -1) + 1
        keyed.append(((rank[group], place[group]), item))
    return [item for _, item in sorted(keyed, key=lambda pair: pair[0])[:limit]]
