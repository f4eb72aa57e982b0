"""The search: a first trajectory, then one segment after the other, each rewrite kept only if y becomes likelier.

z* = argmin NLL(y | x, z) over thinking z (paper, section 3): start from the best of a few whole trajectories,
visit the segments one by one, draw K rewrites of each, and keep the best of {original, rewrites}.
The search is a stream of events; fed the events already recorded it continues where they end.
Knows scores and proposals through their protocols; knows nothing of models, files or prompts.
"""

import logging
from collections.abc import AsyncGenerator, Mapping, Sequence

from reer.config import SearchConfig
from reer.errors import BackendError, ExampleError, Unanswered
from reer.layout import Layout
from reer.method import policy, segment
from reer.method.propose import Proposal, Proposer
from reer.method.screen import Measure, Ranked, Screen
from reer.method.state import Starts, State
from reer.text import seed_of
from reer.types import (
    FAULTS,
    Attribution,
    Baseline,
    Candidate,
    Event,
    Example,
    First,
    Operation,
    Scored,
    Scorer,
    Start,
    Step,
    Usage,
    Whole,
    Worth,
)

log = logging.getLogger(__name__)


class Search:
    """The search of one run: what it draws from, what it scores with, when it stops."""

    def __init__(
        self,
        proposer: Proposer,
        scorer: Scorer,
        layout: Layout,
        settings: SearchConfig,
        screen: Screen | None = None,
    ) -> None:
        """`screen`: the draft that ranks what is scored, where the settings ask for one.

        Raises:
            ConfigError: an unknown order, acceptance, start or edit.
        """
        policy.check(settings)
        self.proposer = proposer
        self.scorer = scorer
        self.layout = layout
        self.settings = settings
        self.screen = screen

    async def run(self, example: Example, recorded: Sequence[Event] = ()) -> AsyncGenerator[Event]:
        """The events that follow the recorded ones, each as soon as it is decided.

        Raises:
            ExampleError: this pair cannot be searched (too long, control tokens, no usable first trajectory).
            BackendError: a model failed for good before the search was over.
        """
        starts = Starts.of(recorded, self.settings)
        if starts.best.baseline is None:
            baseline = await self._baseline(example)
            starts.apply(baseline)
            yield baseline
        if starts.best.first is None:
            first = await self._first(example, starts.best)
            starts.apply(first)
            yield first
        while starts.best.worth is None and (state := policy.next_start(starts, self.settings)) is not None:
            event = await self._next(example, state)
            starts.apply(event)
            yield event
        if starts.best.worth is None and policy.asks_worth(self.settings):
            try:
                worth = await self._worth(example, starts.best)
            except BackendError as error:  # the search is over: its trajectory stands without
                log.warning("example %s: what its thinking is worth could not be measured (%s); the next run of the "
                            "same command tries again", example.id, error)  # fmt: skip
                return
            yield worth

    async def _baseline(self, example: Example) -> Baseline:
        [scored] = await self._score(example, [None])
        if isinstance(scored, Unanswered):
            raise scored
        if isinstance(scored, BackendError):
            raise ExampleError(f"its answer cannot be scored: {scored}")
        score = scored.score
        return Baseline(nll=score.nll, answer_tokens=score.tokens, objective=score.objective, usage=scored.usage)

    async def _first(self, example: Example, state: State) -> First:
        """Draw whole trajectories, round by round; the best becomes the start of the sweep."""
        drawn: list[Candidate] = []
        rounds: list[Usage] = []
        wholes: list[Whole | None] = []
        kept = None
        pool = self._pool(example)
        while not self._drawn_enough(state, rounds, kept):
            candidates, spent, whole = await self._round(example, len(rounds), pool)
            drawn += candidates
            wholes.append(whole)
            rounds.append(spent)
            kept = policy.best(drawn)
        if kept is None:
            raise _none_usable(drawn)
        best, *others = (self._start(drawn, n) for n in policy.several(drawn, self.settings.multi_start or 1))
        return First(
            candidates=tuple(drawn),
            kept=best.kept,
            segments=best.segments,
            nll=best.nll,
            objective=best.objective,
            others=tuple(others),
            whole=next((whole for whole in wholes if whole), None),
            usage=sum(rounds, Usage()),
        )

    async def _round(
        self, example: Example, attempt: int, pool: policy.Pool | None
    ) -> tuple[list[Candidate], Usage, Whole | None]:
        """Drafts drawn at once, and what is put together of all so far."""
        proposals, spent = await self.proposer.first(example, attempt)
        texts = [proposal.text for proposal in proposals]
        keep = max(self.settings.screen or 1, self.settings.multi_start or 1)
        if pool is not None:
            pool.add(proposals)
        candidates, scored, whole = await self._judge(example, proposals, texts, keep, pool=pool)
        if pool is not None:
            composed, more = await self._composed(example, pool)
            candidates, scored = candidates + composed, scored + more
        return candidates, spent + scored, whole

    def _pool(self, example: Example) -> policy.Pool | None:
        """Where drafts are put together; None: nobody asked for it, or the answer is a single passage."""
        passages = self.proposer.passages(example) if self.settings.compose else ()
        return policy.Pool(passages, self._count) if len(passages) > 1 else None

    async def _composed(self, example: Example, pool: policy.Pool) -> tuple[list[Candidate], Usage]:
        """The trajectory of the likeliest piece of every place, unless the scorer saw it or a guard refused it."""
        composed = self.proposer.composed(example, pool.likeliest())
        if not composed.text or composed.text in pool.asked or (composed.rejected and pool.holds(composed.text)):
            return [], Usage()
        pool.add([composed])
        candidates, spent, _ = await self._judge(example, [composed], [composed.text], None, pool=pool)
        return candidates, spent

    def _start(self, drawn: Sequence[Candidate], index: int) -> Start:
        found, limits = drawn[index], self.settings.segment
        assert found.nll is not None
        segments = segment.split(found.text, limits.min_tokens, limits.max_tokens, self._count)
        return Start(index, segments, found.nll, found.objective)

    def _drawn_enough(self, state: State, rounds: Sequence[Usage], kept: int | None) -> bool:
        """After `first_rounds`, or where a budget ends them; while none is usable, not before `attempts`."""
        if kept is None and len(rounds) < self.settings.attempts:
            return False
        spent = sum(rounds, state.usage)
        return len(rounds) >= self.settings.first_rounds or policy.is_spent(spent, rounds, self.settings)

    def _count(self, text: str) -> int:
        return len(self.scorer.tokenizer.encode(text))

    async def _next(self, example: Example, state: State) -> Attribution | Step:
        if not policy.open_visits(state, self.settings):
            state.begin_sweep()
        if policy.attributes_next(state, self.settings):
            return await self._attribute(example, state)
        index, operation = policy.next_visit(state, self.settings, self.proposer.seed, example.id)
        return await self._step(example, state, index, operation)

    async def _attribute(self, example: Example, state: State) -> Attribution:
        scored = await self._without_each(example, state)
        return Attribution(
            sweep=state.sweep,
            changes=tuple(abs(s.score.value - state.value) if isinstance(s, Scored) else None for s in scored),
            start=state.start,
            usage=sum((s.usage for s in scored if isinstance(s, Scored)), Usage()),
        )

    async def _without_each(self, example: Example, state: State) -> list[Scored | BackendError]:
        """Score y with each segment taken out."""
        without = [state.trajectory.edited("delete", n, "").text for n in range(len(state.ids))]
        return await self._score(example, [text if text.strip() else None for text in without])

    async def _worth(self, example: Example, state: State) -> Worth:
        """What the final trajectory is worth beside thinking that has not seen y, and what each segment adds to it."""
        asked, spent = self.settings.worth, Usage()
        blind: list[Candidate] = []
        removals = None
        if asked.blind:
            proposals, spent = await self.proposer.blind(example, asked.blind, "worth")
            blind, scored, _ = await self._judge(example, proposals, [proposal.text for proposal in proposals], None)
            spent += scored
        if asked.decorative is not None:
            found = await self._without_each(example, state)
            removals = tuple(s.score.nll - state.nll if isinstance(s, Scored) else None for s in found)
            spent += sum((s.usage for s in found if isinstance(s, Scored)), Usage())
        return Worth(blind=tuple(blind), removals=removals, usage=spent)

    async def _step(self, example: Example, state: State, index: int, operation: Operation) -> Step:
        if operation == "rewrite":
            proposals, spent = await self.proposer.rewrite(example, state.trajectory, index, state.count)
        else:
            proposals, spent = [self.proposer.edit(example, state.trajectory, index, operation)], Usage()
        wholes = [state.trajectory.edited(operation, index, proposal.text).text for proposal in proposals]
        audit = operation == "rewrite" and policy.audits(state, self.settings, self.proposer.seed, example.id)
        candidates, scored, whole = await self._judge(example, proposals, wholes, self.settings.screen, audit)
        if self.settings.accept == "random":
            kept = policy.anyone(candidates, seed_of(self.proposer.seed, example.id, "accept", state.count))
        else:
            kept = policy.lower(candidates, state.value, self.settings.min_gain)
        now = candidates[kept] if kept is not None else state.measured
        assert now is not None
        assert now.nll is not None
        return Step(
            sweep=state.sweep,
            segment=index,
            operation=operation,
            before="".join(state.trajectory.segments[index : index + (2 if operation == "merge" else 1)]),
            candidates=tuple(candidates),
            kept=kept,
            nll=now.nll,
            objective=now.objective,
            start=state.start,
            whole=whole,
            usage=spent + scored,
        )

    async def _judge(
        self,
        example: Example,
        proposals: Sequence[Proposal],
        wholes: Sequence[str],
        keep: int | None,
        audit: bool = False,
        pool: policy.Pool | None = None,
    ) -> tuple[list[Candidate], Usage, Whole | None]:
        """Candidates with the NLL of y under the whole trajectory each of them makes; equal ones are scored once.

        With a draft only the likeliest `keep` of them are; then also why all were, if so. `pool` gets the scores.
        """
        wanted = list(dict.fromkeys(w for p, w in zip(proposals, wholes, strict=True) if p.rejected is None))
        ranked = Ranked(tuple(wanted))
        if self.screen is not None and keep is not None:
            ranked = await self.screen.rank(example, wanted, keep, audit)
        found = await self._score(example, ranked.sent, pool.cuts if pool else ())
        results = dict(zip(ranked.sent, found, strict=True))
        if pool is not None:
            pool.asked |= {*ranked.sent}
            pool.scores |= {whole: r.score for whole, r in results.items() if isinstance(r, Scored)}
        pairs = zip(proposals, wholes, strict=True)
        candidates = [_candidate(proposal, whole, results, ranked) for proposal, whole in pairs]
        scored = (r.usage for r in results.values() if isinstance(r, Scored))
        return candidates, sum(scored, ranked.usage), ranked.whole

    async def _score(
        self, example: Example, thinkings: Sequence[str | None], cuts: tuple[int, ...] = ()
    ) -> list[Scored | BackendError]:
        """Each request fails or succeeds on its own.

        Raises:
            Unanswered: one was, and so was every other: what is decided without it would be decided otherwise.
        """
        results = await Measure(self.scorer, self.layout, self.settings).scores(example, thinkings, cuts)
        for result in results:
            if isinstance(result, Unanswered) and not result.alone:
                raise result
        return results


def _none_usable(drawn: Sequence[Candidate]) -> ExampleError | BackendError:
    """Why there is no first trajectory: the server failed every draw, which another day may be otherwise, or the texts
    are no good."""
    reasons = {(candidate.rejected or "").removeprefix("skeleton: ") for candidate in drawn}
    kinds = {reason.partition(":")[0] for reason in reasons}
    failed = bool(kinds & set(FAULTS)) and kinds <= {*FAULTS, "empty"}
    told = ", ".join(sorted({candidate.rejected or "" for candidate in drawn}))
    return (BackendError if failed else ExampleError)(f"no usable first trajectory in {len(drawn)} draws ({told})")


def _candidate(
    proposal: Proposal, whole: str, results: Mapping[str, Scored | BackendError], ranked: Ranked
) -> Candidate:
    if proposal.rejected:
        return Candidate(proposal.text, None, proposal.rejected)
    result, draft = results.get(whole), ranked.drafts.get(whole)
    if result is None:
        return Candidate(proposal.text, None, "screened", draft=draft)
    if isinstance(result, BackendError):
        return Candidate(proposal.text, None, f"not_scored: {result}", draft=draft)
    return Candidate(proposal.text, result.score.nll, objective=result.score.objective, draft=draft)
