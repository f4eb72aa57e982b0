"""What a search may minimise instead of the mean NLL over all of y: the authors' objective, or probabilities.

The authors' code leaves out the first segment of y and counts no token with more than 2 nats (synthesize.py:571-628
of the release); of an answer that is one segment it scores a single token. Both are off by default. What is minimised
is computed where scores are (`types.score_of`).
"""

import re
from itertools import takewhile

from reer.config import ObjectiveConfig
from reer.types import ObjectiveKind, Tokenizer

SEGMENT = 100
"""Characters under which the authors' code joins a paragraph to the next."""
UNITS: dict[ObjectiveKind, str] = {
    "mean_nll": "nats per token",
    "mean_prob": "1 - mean probability of a token",
}
"""Of each objective; of all of them less is better."""


def skipped_tokens(answer: str, tokenizer: Tokenizer, settings: ObjectiveConfig) -> int:
    """How many of the answer's tokens the objective leaves out; at least the last one counts."""
    if not settings.skip_opening:
        return 0
    ids, opening = tokenizer.encode(answer), tokenizer.encode(opening_of(answer))
    common = list(takewhile(lambda pair: pair[0] == pair[1], zip(ids, opening, strict=False)))
    return min(len(common), len(ids) - 1)


def opening_of(answer: str) -> str:
    """The first segment of y: paragraphs (without blank lines: lines) until 100 characters are together.

    A rest shorter than that belongs to the segment before it, which may make the whole answer one.
    """
    for paragraph in (r"\s*.+?(?:\n\s*\n|\Z)", r"\s*.+?(?:\n|\Z)"):
        opening = ""
        for piece in re.findall(paragraph, answer, re.DOTALL):
            opening += piece
            if len(opening.strip()) >= SEGMENT:
                break
        if len(answer[len(opening) :].strip()) >= SEGMENT:
            return opening
    return answer


def kind_of(settings: ObjectiveConfig) -> ObjectiveKind:
    """The kind that a checked config names (`policy.check`)."""
    return next(kind for kind in UNITS if kind == settings.kind)
