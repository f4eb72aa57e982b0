"""The draft: a small scorer of any family that ranks candidates, so that only the likeliest go to the scorer.

Its numbers rank and never decide. Where it cannot rank, everything is scored, and the event says why (`types.Whole`).
Also how y is scored under whole trajectories, which draft and scorer share: each has its own tokenizer, so each has
its own layout. Knows scorers through their protocol; knows nothing of models.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from reer.config import SearchConfig, SynthesizeConfig
from reer.errors import BackendError, ConfigError, LayoutError, ModelError, Unanswered
from reer.layout import Layout
from reer.method import objective
from reer.types import Example, Scored, Scorer, ScoreRequest, Step, Usage, Whole

log = logging.getLogger(__name__)

FAILURES = 3
"""Steps in a row that a draft may not rank before it is asked no more."""


def check(config: SynthesizeConfig) -> None:
    """Raises: ConfigError: a draft that nothing asks, settings that need one, or more kept than there is to rank."""
    search, drafts = config.search, config.search.first_samples * config.search.first_rounds
    if search.multi_start is not None and search.multi_start > drafts:
        raise ConfigError(f"search.multi_start={search.multi_start}: only {drafts} first drafts are drawn "
                          "(search.first_samples times search.first_rounds)")  # fmt: skip
    if search.screen is None:
        if config.draft is not None:
            raise ConfigError("backend@draft is given, but nothing asks it: say how many candidates go on to the "
                              "scorer with search.screen=2")  # fmt: skip
        if search.audit is not None:
            raise ConfigError(f"search.audit={search.audit}: there is nothing to audit without search.screen")
        return
    if config.draft is None:
        raise ConfigError(f"search.screen={search.screen} needs a draft that ranks: give backend@draft=hf "
                          "draft.model.path=...")  # fmt: skip
    if search.screen > max(search.candidates, search.first_samples):
        raise ConfigError(f"search.screen={search.screen} is more than there are candidates (search.candidates="
                          f"{search.candidates}, search.first_samples={search.first_samples})")  # fmt: skip
    if search.accept == "random":
        raise ConfigError("search.accept=random takes rewrites whatever their score, so search.screen has no sense")


class Measure:
    """y under whole trajectories, by one scorer."""

    def __init__(self, scorer: Scorer, layout: Layout, settings: SearchConfig) -> None:
        self.scorer = scorer
        self.layout = layout
        self.settings = settings.objective

    async def scores(
        self, example: Example, thinkings: Sequence[str | None], cuts: tuple[int, ...] = ()
    ) -> list[Scored | BackendError]:
        """Each request fails or succeeds on its own. `cuts`: of `types.ScoreRequest`."""
        requests = self.requests(example, thinkings)
        return await self.answers([r if isinstance(r, BackendError) else replace(r, cuts=cuts) for r in requests])

    def requests(self, example: Example, thinkings: Sequence[str | None]) -> list[ScoreRequest | BackendError]:
        skip = objective.skipped_tokens(example.answer, self.scorer.tokenizer, self.settings)
        return [self._laid_out(example, thinking, skip) for thinking in thinkings]

    async def answers(self, requests: Sequence[ScoreRequest | BackendError]) -> list[Scored | BackendError]:
        async def one(request: ScoreRequest | BackendError) -> Scored | BackendError:
            if isinstance(request, BackendError):
                return request
            try:
                return (await self.scorer.score([request]))[0]
            except BackendError as error:
                return error

        return list(await asyncio.gather(*(one(request) for request in requests)))

    def _laid_out(self, example: Example, thinking: str | None, skip: int) -> ScoreRequest | BackendError:
        """y under one thinking; one that the tokenizer cannot write is that candidate's failure, not the pair's."""
        try:
            encoded = self.layout.encode(example.query, thinking, example.answer, example.history)
        except LayoutError as error:
            if thinking is None:
                raise
            return BackendError(str(error))
        return encoded.score_request(skip, self.settings.clip, objective.kind_of(self.settings))


@dataclass(frozen=True, slots=True)
class Ranked:
    """What a draft made of some trajectories."""

    sent: tuple[str, ...]
    """Those that go to the scorer, in the order they came."""
    drafts: dict[str, float] = field(default_factory=dict)
    """The draft's number of each, as far as it gave one."""
    whole: Whole | None = None
    usage: Usage = Usage()


class Screen:
    """A draft in front of the scorer."""

    def __init__(self, draft: Measure, weight: float = 1.0) -> None:
        """`weight`: what a token of the draft costs in tokens of the scorer."""
        self.draft = draft
        self.weight = weight
        self.failed = False
        """It has failed for good in this process: nobody waits for it again."""
        self._failures = 0
        """Steps in a row that it could not rank."""

    async def rank(self, example: Example, wholes: Sequence[str], keep: int, audit: bool) -> Ranked:
        """The `keep` likeliest trajectories; all of them in an audit, or where they cannot be ranked."""
        every = tuple(wholes)
        if len(wholes) <= keep:
            return Ranked(every)
        if self.failed:
            return Ranked(every, whole="failed")
        requests = self.draft.requests(example, wholes)
        if any(isinstance(request, BackendError) for request in requests):
            return Ranked(every, whole="not_taken")
        limit = self.draft.scorer.max_length
        if any(request.end > limit for request in requests if isinstance(request, ScoreRequest)):
            return Ranked(every, whole="too_long")
        try:
            results = await self.draft.answers(requests)
        except (ModelError, RuntimeError) as error:  # its server refuses everything; its processor cannot
            self._give_up(error)
            return Ranked(every, whole="failed")
        scored = {w: r for w, r in zip(wholes, results, strict=True) if isinstance(r, Scored)}
        drafts, usage = {w: r.score.value for w, r in scored.items()}, self._usage(list(scored.values()))
        errors = [result for result in results if isinstance(result, BackendError)]
        self._failures = self._failures + 1 if errors else 0
        if errors:
            if self._failures >= FAILURES or any(isinstance(e, Unanswered) and not e.alone for e in errors):
                self._give_up(errors[0])
            return Ranked(every, drafts, "failed", usage)
        if audit:
            return Ranked(every, drafts, "audit", usage)
        best = likeliest(drafts, keep)
        return Ranked(tuple(whole for whole in wholes if whole in best), drafts, None, usage)

    def _usage(self, scored: Sequence[Scored]) -> Usage:
        tokens = sum(result.usage.scored_tokens for result in scored)
        return Usage(
            calls=sum(result.usage.calls for result in scored),
            draft_tokens=tokens,
            draft_counted=round(tokens * self.weight),
            seconds=sum(result.usage.seconds for result in scored),
        )

    def _give_up(self, error: Exception) -> None:
        if not self.failed:
            log.warning("the draft failed (%s): from here on every candidate is scored; the next run of the same "
                        "command asks it again", error)  # fmt: skip
        self.failed = True


def likeliest(drafts: dict[str, float], keep: int) -> set[str]:
    """The texts with the lowest numbers; the earlier one of equals."""
    return set(sorted(drafts, key=drafts.__getitem__)[:keep])


def missed(step: Step, keep: int) -> bool:
    """Whether an audited step kept a rewrite that the draft would have screened."""
    if step.kept is None:
        return False
    drafts = {c.text: c.draft for c in step.candidates if c.draft is not None}
    return step.candidates[step.kept].text not in likeliest(drafts, keep)
