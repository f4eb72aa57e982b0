"""Does a query belong to its passage? The passage has to be likelier under it than under another passage's query.

Both are scored as an answer without thinking, by the layout that the search will use. Knows scorers through their
protocol.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence

from reer.layout import Layout
from reer.text import seed_of
from reer.types import Event, Example, Scorer, Usage, Weighed


class Weigher:
    """`run` wants a pair with the other query under `other` in its `extra`."""

    def __init__(self, scorer: Scorer, layout: Layout) -> None:
        self.scorer = scorer
        self.layout = layout

    async def run(self, example: Example, recorded: Sequence[Event] = ()) -> AsyncGenerator[Event]:
        """One `Weighed`, unless it is recorded.

        Raises:
            LayoutError: the passage cannot be laid out under one of the queries.
            BackendError: the scorer failed for good.
        """
        if recorded:
            return
        other = example.extra["other"]
        laid = [self.layout.encode(query, None, example.answer) for query in (example.query, other)]
        own, foreign = await self.scorer.score([encoded.score_request() for encoded in laid])
        yield Weighed(
            other=other,
            nll=own.score.nll,
            nll_other=foreign.score.nll,
            usage=sum((scored.usage for scored in (own, foreign)), Usage()),
        )


def is_own(weighed: Weighed) -> bool:
    return weighed.nll < weighed.nll_other


def other_query(passage: str, queries: Mapping[str, str], seed: int) -> str | None:
    """A query of another passage, drawn by seed and passage; None where there is no other.

    `queries`: id of a passage -> its first query, of passages in one language.
    """
    ids = list(queries)
    if not ids or ids == [passage]:
        return None
    place = seed_of(seed, "other", passage) % len(ids)
    return queries[ids[place] if ids[place] != passage else ids[(place + 1) % len(ids)]]
