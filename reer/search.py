"""The search: a first trajectory, then one segment after the other, each rewrite kept only if y becomes likelier.

z* = argmin NLL(y | x, z) over thinking z (paper, section 3): start from the best of a few whole trajectories,
visit the segments from left to right, draw K rewrites of each, and keep the best of {original, rewrites}.
The search is a stream of events; fed the events already recorded it continues where they end.
Knows scores and proposals through their protocols; knows nothing of models, files or prompts.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field

from reer import segment
from reer.config import SearchConfig
from reer.errors import BackendError, ExampleError
from reer.layout import Layout
from reer.propose import Proposal, Proposer
from reer.types import (
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
        return sum((e.usage for e in (self.baseline, self.first, *self.steps) if e), Usage())


class Search:
    """The search of one run: what it draws from, what it scores with, when it stops."""

    def __init__(self, proposer: Proposer, scorer: Scorer, layout: Layout, settings: SearchConfig) -> None:
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
            step = await self._step(example, state)
            state.apply(step)
            yield step

    def _finished(self, state: State) -> bool:
        settings = self.settings
        return (
            state.nll < settings.threshold
            or len(state.steps) >= min(settings.max_steps, len(state.trajectory.segments))
            or (settings.patience is not None and state.rejections_in_a_row >= settings.patience)
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
            if (kept := _best(drawn)) is not None:
                text, nll = drawn[kept].text, drawn[kept].nll
                assert nll is not None
                limits = self.settings.segment
                segments = segment.split(text, limits.min_words, limits.max_words)
                return First(candidates=tuple(drawn), kept=kept, segments=segments, nll=nll, usage=usage)
        reasons = ", ".join(sorted({candidate.rejected or "" for candidate in drawn}))
        raise ExampleError(f"no usable first trajectory in {len(drawn)} draws ({reasons})")

    async def _step(self, example: Example, state: State) -> Step:
        index = len(state.steps)
        proposals, spent = await self.proposer.rewrite(example, state.trajectory, index)
        wholes = [state.trajectory.replace(index, proposal.text).text for proposal in proposals]
        candidates, scored = await self._judge(example, proposals, wholes)
        best = _best(candidates)
        nll = state.nll
        if best is not None and (found := candidates[best].nll) is not None and found < state.nll:
            nll = found
        else:
            best = None
        return Step(
            segment=index,
            operation="rewrite",
            before=state.trajectory.segments[index],
            candidates=tuple(candidates),
            kept=best,
            nll=nll,
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


def _best(candidates: Sequence[Candidate]) -> int | None:
    """Index of the lowest NLL; the earlier one of equals."""
    scored = [(c.nll, n) for n, c in enumerate(candidates) if c.nll is not None]
    return min(scored)[1] if scored else None
