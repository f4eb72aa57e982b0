"""What the search of one example will cost, by arithmetic: `search.Search` walked through with sizes instead of texts.

Knows the shape: what is asked how often, and how that grows with query and answer. Assumes how much a model writes
and knows nothing of early ends and refused candidates; a pilot makes up for that (`run/estimate.py`).
"""

import functools
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from math import inf
from statistics import fmean

from reer.config import SynthesizeConfig
from reer.layout import conversation, load_instruction
from reer.method import segment
from reer.method.prompts import Prompt, load_set
from reer.text import is_cjk, words
from reer.types import Example, Usage

# Sizes in tokens. SENTENCE is what SmolLM2-135M writes with `prompts=compact`, its opener included (runs/compare);
# PARAGRAPH, SKELETON and THINKING_SHARE, of search.first.max_tokens, are guesses for models of about 8B.
TOKENS_PER_WORD, THINKING_SHARE, PARAGRAPH, SENTENCE, SKELETON = 1.35, 0.6, 100, 33, 300
TEMPLATE = 20  # what a chat template adds to a text

_prompts = functools.cache(load_set)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What arithmetic cannot know: assumed, or measured on a pilot."""

    thinking: float
    """Tokens of a first trajectory."""
    segments: int
    scale: float = 1.0
    """The scorer's tokens for each that `tokens` counts."""
    seconds: float = 0.0
    """Of the models, per forward token; 0: not known."""


def cost(example: Example, config: SynthesizeConfig, sizes: Sizes | None = None) -> Usage:
    """Predicted usage of one example whose search ends by steps, sweeps or budget, and of what is measured after it.

    The piece in which a budget ends counts in part: searches end before or after it, whichever is nearer.
    """
    search, sizes = config.search, sizes or assumed(example.language, config)
    limit = inf if search.max_tokens is None else search.max_tokens
    if search.max_seconds is not None and sizes.seconds:
        limit = min(limit, search.max_seconds / sizes.seconds)
    work = _Work(example, config, sizes)
    spent = work.scores(1, thinking=0) + work.first()
    for piece in work.refinement():
        share = min(1.0, (limit - spent.forward_tokens) / piece.forward_tokens)
        if share <= 0:
            break
        spent += Usage(**{key: round(n * share) for key, n in asdict(piece).items()})
    return spent + work.worth()


class _Work:
    """The pieces of one example's search, each as the usage it costs."""

    def __init__(self, example: Example, config: SynthesizeConfig, sizes: Sizes) -> None:
        self.example, self.config, self.scale = example, config, sizes.scale
        search = config.search
        self.prompts = _prompts(config.prompts.set, example.language, search.start, search.worth.blind > 0)
        before = "".join(turn.content for turn in example.history)
        around = load_instruction(config.layout.instruction) if config.layout.instruction else str
        self.turn, self.answer = self._count(before + around(example.query)), self._count(example.answer)
        self.thinking, self.segments = sizes.thinking, sizes.segments

    def first(self) -> Usage:
        """One round of whole trajectories."""
        prompts, samples, limit = self.prompts, self.config.search.first_samples, self.config.search.first.max_tokens
        search = self.config.search
        scores = self.screened(samples, max(search.screen or samples, search.multi_start or 1), shared=0)
        if search.compose:
            scores += self.scores(1, shared=0)
        if prompts.skeleton and prompts.expand:
            plans = self._request(prompts.skeleton, samples, min(SKELETON, limit))
            return sum([self._request(prompts.expand, 1, min(self.thinking, limit))] * samples, plans + scores)
        return scores + self._wholes(prompts.first(self.config.search.start), samples)

    def _wholes(self, prompt: Prompt, samples: int) -> Usage:
        """Trajectories asked for at once, or opener by opener."""
        shares = len(prompt.openers) if prompt.by_opener else 1
        if prompt.by_part:
            shares = len(segment.parts(self.example.answer, shares))
        written = min(self.thinking / shares, self.config.search.first.max_tokens)
        asked = self._request(prompt, samples, written, shares)
        return sum([asked] * shares, Usage())

    def worth(self) -> Usage:
        """What is measured of the final trajectory."""
        asked, spent = self.config.search.worth, Usage()
        if asked.blind and self.prompts.blind:
            spent += self._wholes(self.prompts.blind, asked.blind) + self.scores(asked.blind, shared=0)
        if asked.decorative is not None:
            spent += self.scores(self.segments)
        return spent

    def refinement(self) -> Iterator[Usage]:
        """What may follow: further rounds, then the steps in the order of the search."""
        search = self.config.search
        yield from [self.first()] * (search.first_rounds - 1)
        operations = [self.rewrite(), *(self.scores(1) for _ in search.edits)]
        visits = self.segments * len(operations)  # of a sweep
        attribution = self.scores(self.segments)
        for step in range(min(search.max_steps, search.sweeps * visits * (search.multi_start or 1))):
            if search.order == "attribution" and step % visits == 0:
                yield attribution
            yield operations[step % len(operations)]

    def rewrite(self) -> Usage:
        """One step of the generator. A reply in tags says first what is missing, at about the length of the rest."""
        search, prompt = self.config.search, self.prompts.rewrite
        written = min(self.thinking / self.segments * (2 if prompt.reply_tag else 1), search.rewrite.max_tokens)
        return self._request(prompt, search.candidates, written, self.segments) + self.screened(
            search.candidates, search.screen or search.candidates, search.audit or inf
        )

    def screened(self, n: int, keep: int, audit: float = inf, shared: float = 0.5) -> Usage:
        """`n` candidates of which a draft lets `keep` through, and all of them every `audit`-th time.

        What a token of the draft costs in tokens of the scorer nobody knows here: it counts as one.
        """
        if self.config.draft is None or keep >= n:
            return self.scores(n, shared=shared)
        every, passed = self.scores(n, shared=shared), self.scores(keep, shared=shared)
        audited = {key: round((m - getattr(passed, key)) / audit) for key, m in asdict(every).items()}
        ranked = self.scores(n, shared=shared, kind=self.config.draft.kind).scored_tokens
        return passed + Usage(**audited) + Usage(calls=n, draft_tokens=ranked, draft_counted=ranked)

    def scores(self, n: int, thinking: float | None = None, shared: float = 0.5, kind: str | None = None) -> Usage:
        """y under `n` whole trajectories. `hf` keeps what they share with earlier ones: on average half of each."""
        thinking = self.thinking if thinking is None else thinking
        before = TEMPLATE + self.turn
        reused = n * (before + shared * thinking) if thinking and (kind or self.config.scorer.kind) == "hf" else 0
        return self._usage(calls=n, scored=n * (before + thinking + self.answer) - reused, reused=reused)

    def _request(self, prompt: Prompt, samples: int, written: float, shares: int = 1) -> Usage:
        """Texts of `written` tokens, each begun by an opener. A server reads the prompt once for each of them."""
        size = self.thinking / self.segments
        around = (self.thinking - size) / 2
        task = conversation.shown(self.example.query, self.example.history, self.example.language)
        opener = fmean(map(self._count, prompt.openers)) if prompt.openers else 0
        shown = {"query": self._count(task), "answer": self.answer, "part": self.answer / shares,
                 "skeleton": SKELETON, "segment": size, "before": around, "after": around,
                 "opener": opener}  # fmt: skip
        empty = self._count(prompt.render(**dict.fromkeys(shown, "")))
        read = TEMPLATE + empty + opener + sum(n for name, n in shown.items() if f"{{{name}}}" in prompt.user)
        calls = samples if self.config.generator.kind == "openai" else 1
        return self._usage(calls=calls, generated=samples * max(1, written - opener), prefilled=calls * read)

    def _count(self, text: str) -> float:
        return self.scale * tokens(text)

    @staticmethod
    def _usage(calls: int, **kinds: float) -> Usage:
        return Usage(calls=calls, **{f"{kind}_tokens": round(n) for kind, n in kinds.items()})


def assumed(language: str, config: SynthesizeConfig) -> Sizes:
    """Sizes without a pilot."""
    search = config.search
    prompts = _prompts(config.prompts.set, language, search.start, search.worth.blind > 0)
    initial = prompts.first(search.start)
    by_part = initial.by_opener and search.start != "skeleton"
    thinking = SENTENCE * len(initial.openers) if by_part else THINKING_SHARE * search.first.max_tokens
    size = min(max(SENTENCE if by_part else PARAGRAPH, search.segment.min_tokens), search.segment.max_tokens)
    return Sizes(thinking=thinking, segments=max(1, round(thinking / size)))


@functools.lru_cache(maxsize=64)
def tokens(text: str) -> int:
    """About how many tokens a text has."""
    found = words(text)
    characters = sum(map(is_cjk, found))
    return int(characters + TOKENS_PER_WORD * (len(found) - characters))
