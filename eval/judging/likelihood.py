"""A judge that writes nothing: it reads the level from a local model's own next-token probabilities.

Knows scorers by their protocol. No score is ever searched for in text.
"""

import math
from collections.abc import Sequence

from reer.backend.models import break_up
from reer.errors import BackendError, ModelError
from reer.types import Message, Scorer, Tokenizer, Usage

from ..benchmarks.rubric import ask_level, material
from ..types import Criterion, JudgeRequest, Verdict

MOST_LEVELS = 9
OPENINGS = (("Score: ", ""), ("Score:", " "))
"""Beginning of the judge's turn, and what a level's token begins with after it."""


class LikelihoodJudge:
    """Expected score under the model's probabilities of the level tokens, one prompt per criterion.

    Levels are the anchors of a criterion, counted from 1; 0 stands for "does not apply". The prompts of one answer
    differ only at their end, so a scorer that reuses prefixes reads the answer once.
    """

    def __init__(self, scorer: Scorer, name: str) -> None:
        """Raises: ModelError: the tokenizer does not write the levels as one token each."""
        self.name = name
        self._scorer = scorer
        self._opening, self._options = level_tokens(scorer.tokenizer, name)

    async def judge(self, request: JudgeRequest) -> Verdict:
        """See `types.Judge`. Scores are real numbers between the middles of the lowest and the highest anchor."""
        tokenizer, criteria = self._scorer.tokenizer, request.criteria
        judged = break_up(material(request.query, request.answer), tokenizer.special_texts)
        prompts = [
            tokenizer.chat([Message("user", judged + ask_level(criterion, request.rubric.guidance))]) + self._opening
            for criterion in criteria
        ]
        usage = Usage(calls=len(prompts), scored_tokens=sum(map(len, prompts)))
        levels = max(len(criterion.anchors) for criterion in criteria)
        try:
            found = await self._scorer.next_token(prompts, self._options[: levels + 1])
        except BackendError as error:
            return Verdict(status="api_error", usage=Usage(calls=len(prompts)), detail=str(error))
        pairs = zip(criteria, found, strict=True)
        try:
            scores = {criterion.name: expected_score(logprobs, criterion) for criterion, logprobs in pairs}
        except ValueError as error:
            return Verdict(status="api_error", usage=usage, detail=str(error))
        return Verdict(status="ok", scores=scores, usage=usage)


def level_tokens(tokenizer: Tokenizer, name: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Ids that open the judge's turn, and for each of the levels 0 to 9 the one token that follows them.

    Raises:
        ModelError: no opening is followed by single, distinct tokens.
    """
    levels = range(MOST_LEVELS + 1)
    for text, gap in OPENINGS:
        opening = tokenizer.encode(text)
        written = [tokenizer.encode(f"{text}{gap}{level}") for level in levels]
        options = {ids[-1] for ids in written if ids[:-1] == opening}
        if len(options) == len(levels):
            return opening, tuple(ids[-1] for ids in written)
    raise ModelError(f"{name} cannot judge by likelihood: its tokenizer does not write 0 to 9 as single tokens")


def expected_score(logprobs: Sequence[float], criterion: Criterion) -> float | None:
    """Mean score under the probabilities of the levels, renormalised over those of the criterion.

    `logprobs[n]`, in nats, is that of level n; level n >= 1 stands for the middle of the nth anchor. None: the
    criterion may not apply, and that is likelier than all levels together.

    Raises:
        ValueError: one of them is no finite number.
    """
    levels = range(1, len(criterion.anchors) + 1)
    relevant = [*levels, *([0] if criterion.may_not_apply else [])]
    if not all(math.isfinite(logprobs[level]) for level in relevant):
        raise ValueError(f"{criterion.name}: the model gives a level no finite log-probability")
    top = max(logprobs[level] for level in relevant)
    weights = {level: math.exp(logprobs[level] - top) for level in relevant}
    total = sum(weights[level] for level in levels)
    if weights.get(0, 0.0) > total:
        return None
    return sum(criterion.anchors[level - 1].middle * weights[level] for level in levels) / total
