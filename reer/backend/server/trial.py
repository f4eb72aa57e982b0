"""Whether log-probabilities of given tokens can be believed, tried before any work is done.

Short: what an engine has just written has to be as likely when it is scored. Long: a text keeps its numbers when it is
scored again, after another text of the same beginning, and beside another text; and at the places where servers cut
long prompts, what was written there has to be as likely once more. What is known to go wrong: lists shifted by one;
numbers of an earlier request where the prefix was cached; the last token of each part left out.

Knows ids and numbers; whom it asks is up to the caller.
"""

import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from reer.errors import BackendError, ModelError

PROBE = "Once upon a time there was a little Thursday"
"""It ends with a surprise, and comes again after what is written: with less likely tokens on both sides of that, a
list shifted by one cannot look right."""
CONTINUED = 6
"""Tokens that are written on."""
TOLERANCE = 0.25
"""Nats by which a written token may differ when scored: batches round bfloat16 differently."""
FAR, OUTLIER = 1.0, 10.0
"""Rows of a long text may differ by `FAR` nats, and by `OUTLIER` times what one in a hundred differs: a mixture of
experts that is batched otherwise takes another expert now and then, wrong rows are off by several nats."""
SEAMS = (2048, 4096, 8192)
"""Where servers cut prompts: parts of 256, 512 ... 8192 tokens all end at one of these."""
BEYOND = 64
"""Tokens of the long texts after the last seam."""
TEXT = (
    "the of and a to in was it he that on with as his for had she said not but at from they were by one there out "
    "into when river evening Thursday lantern, whistled. orange; seventeen meanwhile harbour umbrella (quietly) "
    "Constantinople parliament accordion, rhubarb misunderstanding 1907 astronomer's windmill! zeppelin"
)
"""Words, drawn by rank, so that some tokens are likely and some are not: a row of another token is then seen."""


class Engine(Protocol):
    """What is tried."""

    @property
    def whole(self) -> bool:
        """Whether the whole text is run, wherever the span begins."""

    @property
    def no_cache(self) -> str:
        """The option that switches its prefix cache off."""

    @property
    def no_parts(self) -> str:
        """The option that makes it run long prompts in one piece."""

    def write(self, ids: Sequence[int], n: int) -> tuple[list[int], list[float]]:
        """The likeliest continuation of `n` tokens at most, one at least, and how likely. Raises: BackendError."""

    def score(self, ids: Sequence[int], start: int) -> list[float]:
        """Log-probabilities of `ids[start:]`. Raises: BackendError."""


def disagreement(engine: Engine, prompt: Sequence[int]) -> float:
    """Largest difference, in nats, between a token's log-probability when written and when scored.

    Raises: BackendError.
    """
    ids, written = engine.write(prompt, CONTINUED)
    scored = engine.score([*prompt, *ids, *prompt], len(prompt))
    return max(abs(a - b) for a, b in zip(written, scored[: len(ids)], strict=True))


def try_long(engine: Engine, encode: Callable[[str], tuple[int, ...]], longest: int) -> None:
    """Score long texts again and again; about ten requests of up to 8,256 tokens.

    Args:
        longest: tokens of the longest text that will be scored.

    Raises:
        ModelError: a sentence that says which of the numbers cannot be believed, and what to change.
    """
    LongTrial(engine, encode, min(longest, SEAMS[-1] + BEYOND)).run()


@dataclass(frozen=True)
class LongTrial:
    """Texts of `length` tokens that no cache knows."""

    engine: Engine
    encode: Callable[[str], tuple[int, ...]]
    length: int

    def run(self) -> None:
        """Raises: ModelError."""
        one, other = self._passage(), self._passage()
        # `other` overwrites what `one` may have left in the engine's memory
        alone = [self._score(text, 1, self._for_new) for text in (one, other)]
        self._sibling(one, alone[0])
        self._together([one, other], alone)

    def _sibling(self, text: list[int], alone: list[float]) -> None:
        """The same beginning, then tokens that are written at the seams."""
        sibling, written = self._with_written(text)
        shared, start = min(written), self._start
        found = self._score(sibling, start, self._uncached)
        if worst := too_far(found[: shared - start], alone[start - 1 : shared - 1]):
            raise ModelError(f"a text that begins like one before it is scored {self._off(worst)}; {self._uncached}")
        if worst := too_far([found[place - start] for place in written], list(written.values())):
            raise ModelError(
                f"in a text of {len(text)} tokens, log-probabilities are {worst:.1f} nats off those of its own "
                f"writing; {self._whole}, or {self._uncached}"
            )

    def _together(self, texts: list[list[int]], alone: list[list[float]]) -> None:
        """Both at once: neither is cut where it was cut alone, and all of it has been scored before."""
        start = self._start
        with ThreadPoolExecutor(len(texts)) as pool:
            found = list(pool.map(lambda text: self._score(text, start, self._uncached), texts))
        for n, again in enumerate(found):
            if worst := too_far(again, alone[n][start - 1 :]):
                # alone once more, and not right after itself
                *_, last = [self._score(text, start, self._uncached) for text in (texts[1 - n], texts[n])]
                if too_far(last, alone[n][start - 1 :]):
                    raise ModelError(f"the same text scored twice is scored {self._off(worst)}; {self._uncached}")
                raise ModelError(f"a text beside another one is scored {self._off(worst)}; {self._whole}")

    def _score(self, ids: Sequence[int], start: int, otherwise: str) -> list[float]:
        try:
            return self.engine.score(ids, start)
        except BackendError as error:
            raise ModelError(f"a text of {len(ids)} tokens: {error}; {otherwise}") from error

    def _with_written(self, text: list[int]) -> tuple[list[int], dict[int, float]]:
        """The text with what is written just before each seam, and how likely that was, by place."""
        mixed = list(text)
        expected: dict[int, float] = {}
        for seam in self._seams:
            begin = seam - CONTINUED // 2
            try:
                ids, logprobs = self.engine.write(mixed[:begin], CONTINUED)
            except BackendError as error:
                raise ModelError(f"a text of {begin} tokens is not written on: {error}") from error
            mixed[begin : begin + len(ids)] = ids
            expected |= dict(enumerate(logprobs, start=begin))
        return mixed, expected

    def _passage(self) -> list[int]:
        """Words that come in this order for the first time."""
        rng, words = random.Random(time.time_ns()), TEXT.split()
        weights = [1 / rank for rank in range(1, len(words) + 1)]
        ids = list(self.encode(" ".join(rng.choices(words, weights, k=self.length))))
        return (ids * (self.length // len(ids) + 1))[: self.length]

    @property
    def _seams(self) -> list[int]:
        """Those within the text; near its end if there is none."""
        return [seam for seam in SEAMS if seam + CONTINUED <= self.length] or [self.length - CONTINUED]

    @property
    def _start(self) -> int:
        """Where later spans begin: late where the engine then reads what stands before from its cache."""
        return 1 if self.engine.whole else max(1, self._seams[0] // 2)

    def _off(self, worst: float) -> str:
        return f"up to {worst:.1f} nats otherwise than alone and new"

    @property
    def _for_new(self) -> str:
        return f"{self._whole}, or, if it takes no text so long, set max_length to what it takes"

    @property
    def _uncached(self) -> str:
        return f"start it without a prefix cache ({self.engine.no_cache})"

    @property
    def _whole(self) -> str:
        return f"start it so that prompts are run in one piece ({self.engine.no_parts})"


def too_far(found: Sequence[float], expected: Sequence[float]) -> float:
    """The largest difference in nats where it is more than rounding, else 0."""
    differences = sorted(abs(a - b) for a, b in zip(found, expected, strict=True))
    if not differences:
        return 0.0
    usual, worst = differences[len(differences) * 99 // 100], differences[-1]
    return worst if usual > FAR or worst > max(FAR, OUTLIER * usual) else 0.0
