"""The search: a first trajectory, then one segment after the other, each rewrite kept only if y becomes likelier.

z* = argmin NLL(y | x, z) over thinking z (paper, section 3): start from the best of a few whole trajectories,
visit the segments one by one, draw K rewrites of each, and keep the best of {original, rewrites}.
The search is a stream of events; fed the events already recorded it continues where they end.
Knows scores and proposals through their protocols; knows nothing of models, files or prompts.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field

from reer import policy, segment
from reer.config import SearchConfig
from reer.errors import BackendError, ExampleError
from reer.layout import Layout
from reer.manifest import seed_of
from reer.propose import Proposal, Proposer
from reer.types import (
    Attribution,
    Baseline,
    Candidate,
    Event,
    Example,
    First,
    Scored,
    Scorer,
    ScoreRequest,
    Step,
    Trajectory,
    Usage,
)


@dataclass(slots=True)
class State:
    """Where a search stands: nothing but the sum of its events."""

    baseline: Baseline | None = None
    first: First | None = None
    attributions: list[Attribution] = field(default_factory=list)
    """One per sweep, where the order asks for it."""
    steps: list[Step] = field(default_factory=list)
    trajectory: Trajectory = Trajectory(())
    nll: float = float("inf")

    @classmethod
    def of(cls, events: Iterable[Event]) -> "State":
        state = cls()
        for event in events:
            state.apply(event)
        return state

    def apply(self, event: Event) -> None:
        if isinstance(event, Baseline):
            self.baseline = event
            return
        if isinstance(event, Attribution):
            self.attributions.append(event)
            return
        self.nll = event.nll
        if isinstance(event, First):
            self.first = event
            self.trajectory = Trajectory(event.segments)
            return
        self.steps.append(event)
        if event.kept is not None:
            self.trajectory = self.trajectory.replace(event.segment, event.candidates[event.kept].text)

    @property
    def rejections_in_a_row(self) -> int:
        kept = [n for n, step in enumerate(self.steps) if step.kept is not None]
        return len(self.steps) - 1 - (kept[-1] if kept else -1)

    @property
    def usage(self) -> Usage:
        events = (self.baseline, self.first, *self.attributions, *self.steps)
        return sum((event.usage for event in events if event), Usage())


class Search:
    """The search of one run: what it draws from, what it scores with, when it stops."""

    def __init__(self, proposer: Proposer, scorer: Scorer, layout: Layout, settings: SearchConfig) -> None:
        """Raises: ConfigError: an unknown order or acceptance."""
        policy.check(settings.order, settings.accept)
        self.proposer = proposer
        self.scorer = scorer
        self.layout = layout
        self.settings = settings

    async def run(self, example: Example, recorded: Sequence[Event] = ()) -> AsyncIterator[Event]:
        """The events that follow the recorded ones, each as soon as it is decided.

        Raises:
            ExampleError: this pair cannot be searched (too long, control tokens, no usable first trajectory).
            BackendError: a model failed for good.
        """
        state = State.of(recorded)
        if state.baseline is None:
            baseline = await self._baseline(example)
            state.apply(baseline)
            yield baseline
        if state.first is None:
            first = await self._first(example)
            state.apply(first)
            yield first
        while not self._finished(state):
            event = await self._next(example, state)
            state.apply(event)
            yield event

    def _finished(self, state: State) -> bool:
        settings, usage = self.settings, state.usage
        spent = usage.generated_tokens + usage.prefilled_tokens + usage.scored_tokens
        return (
            state.nll < settings.threshold
            or len(state.steps) >= min(settings.max_steps, settings.sweeps * len(state.trajectory.segments))
            or (settings.patience is not None and state.rejections_in_a_row >= settings.patience)
            or (settings.max_tokens is not None and spent >= settings.max_tokens)
        )

    async def _baseline(self, example: Example) -> Baseline:
        [scored] = await self._score(example, [None])
        if isinstance(scored, BackendError):
            raise ExampleError(f"its answer cannot be scored: {scored}")
        return Baseline(nll=scored.score.nll, answer_tokens=scored.score.tokens, usage=scored.usage)

    async def _first(self, example: Example) -> First:
        """Draw whole trajectories until one is usable; the best becomes the start of the sweep."""
        drawn: list[Candidate] = []
        usage = Usage()
        for attempt in range(self.settings.attempts):
            proposals, spent = await self.proposer.first(example, attempt)
            candidates, scored = await self._judge(example, proposals, [p.text for p in proposals])
            drawn, usage = drawn + candidates, usage + spent + scored
            if (kept := policy.best(drawn)) is not None:
                text, nll = drawn[kept].text, drawn[kept].nll
                assert nll is not None
                limits = self.settings.segment
                segments = segment.split(text, limits.min_words, limits.max_words)
                return First(candidates=tuple(drawn), kept=kept, segments=segments, nll=nll, usage=usage)
        reasons = ", ".join(sorted({candidate.rejected or "" for candidate in drawn}))
        raise ExampleError(f"no usable first trajectory in {len(drawn)} draws ({reasons})")

    async def _next(self, example: Example, state: State) -> Attribution | Step:
        n, done = len(state.trajectory.segments), len(state.steps)
        if self.settings.order == "attribution" and len(state.attributions) <= done // n:
            return await self._attribute(example, state)
        seed = self.proposer.seed
        index = policy.segment_at(self.settings.order, done, n, seed, example.id, state.attributions)
        return await self._step(example, state, index)

    async def _attribute(self, example: Example, state: State) -> Attribution:
        """Score y with each segment taken out."""
        segments = state.trajectory.segments
        without = ["".join(segments[:n] + segments[n + 1 :]) for n in range(len(segments))]
        scored = await self._score(example, [text if text.strip() else None for text in without])
        changes = tuple(abs(s.score.nll - state.nll) if isinstance(s, Scored) else None for s in scored)
        return Attribution(changes=changes, usage=sum((s.usage for s in scored if isinstance(s, Scored)), Usage()))

    async def _step(self, example: Example, state: State, index: int) -> Step:
        proposals, spent = await self.proposer.rewrite(example, state.trajectory, index, len(state.steps))
        wholes = [state.trajectory.replace(index, proposal.text).text for proposal in proposals]
        candidates, scored = await self._judge(example, proposals, wholes)
        if self.settings.accept == "random":
            kept = policy.anyone(candidates, seed_of(self.proposer.seed, example.id, "accept", len(state.steps)))
        else:
            kept = policy.lower(candidates, state.nll, self.settings.min_gain)
        found = candidates[kept].nll if kept is not None else None
        return Step(
            segment=index,
            operation="rewrite",
            before=state.trajectory.segments[index],
            candidates=tuple(candidates),
            kept=kept,
            nll=state.nll if found is None else found,
            usage=spent + scored,
        )

    async def _judge(
        self, example: Example, proposals: Sequence[Proposal], wholes: Sequence[str]
    ) -> tuple[list[Candidate], Usage]:
        """Candidates with the NLL of y under the whole trajectory each of them makes; equal ones are scored once."""
        wanted = list(dict.fromkeys(w for p, w in zip(proposals, wholes, strict=True) if p.rejected is None))
        results = dict(zip(wanted, await self._score(example, wanted), strict=True))
        candidates = []
        for proposal, whole in zip(proposals, wholes, strict=True):
            scored = results.get(whole) if proposal.rejected is None else None
            if isinstance(scored, BackendError):
                candidates.append(Candidate(proposal.text, None, f"not_scored: {scored}"))
            else:
                candidates.append(Candidate(proposal.text, scored.score.nll if scored else None, proposal.rejected))
        return candidates, sum((r.usage for r in results.values() if isinstance(r, Scored)), Usage())

    async def _score(self, example: Example, thinkings: Sequence[str | None]) -> list[Scored | BackendError]:
        """Each request fails or succeeds on its own."""
        requests = [self.layout.encode(example.query, z, example.answer).score_request() for z in thinkings]

        async def one(request: ScoreRequest) -> Scored | BackendError:
            try:
                return (await self.scorer.score([request]))[0]
            except BackendError as error:
                return error

        return list(await asyncio.gather(*(one(request) for request in requests)))
