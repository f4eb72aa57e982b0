"""Where a search stands: nothing but the sum of its events, so that recorded events bring it back.

A `State` follows one first trajectory; `Starts` holds one for each that is refined, and drops the worst as the budget
goes. Knows events; knows nothing of scores to come, models or files.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from reer.config import SearchConfig
from reer.types import Attribution, Baseline, Event, First, Operation, Step, Trajectory, Usage, Worth


@dataclass(slots=True)
class State:
    baseline: Baseline | None = None
    first: First | None = None
    attributions: list[Attribution] = field(default_factory=list)
    """One per sweep, where the order asks for it."""
    steps: list[Step] = field(default_factory=list)
    trajectory: Trajectory = Trajectory(())
    ids: tuple[int, ...] = ()
    """Who the segments are: numbers that stay with them when others are deleted or merged."""
    worth: Worth | None = None
    """What was measured of the final trajectory. A search that has this event is over."""
    measured: First | Step | None = None
    """The event that tells how likely y is under the trajectory as it stands."""
    sweep: int = 0
    roster: tuple[int, ...] = ()
    """The segments there were when this sweep began."""
    visited: set[tuple[int, Operation]] = field(default_factory=set)
    """What was tried in this sweep, on which segment."""
    start: int = 0
    """Which of several first trajectories this is about."""
    elsewhere: list[Attribution | Step] = field(default_factory=list)
    """What happened to the others."""

    @classmethod
    def of(cls, events: Iterable[Event], start: int = 0) -> "State":
        state = cls(start=start)
        for event in events:
            state.apply(event)
        return state

    def apply(self, event: Event) -> None:
        if isinstance(event, Baseline):
            self.baseline = event
        elif isinstance(event, First):
            self._begin(_of_start(event, self.start))
        elif isinstance(event, Worth):
            self.worth = event
        elif not isinstance(event, Attribution | Step):
            raise TypeError(f"{type(event).__name__} is no event of a search")
        elif event.start != self.start:
            self.elsewhere.append(event)
        else:
            if event.sweep > self.sweep:
                self.begin_sweep()
            if isinstance(event, Attribution):
                self.attributions.append(event)
            else:
                self._step(event)

    def begin_sweep(self) -> None:
        """Every segment may be visited again."""
        self.sweep += 1
        self.roster = self.ids
        self.visited = set()

    def _begin(self, first: First) -> None:
        self.first = first
        self.trajectory = Trajectory(first.segments)
        self.ids = self.roster = tuple(range(len(first.segments)))
        self.measured = first

    def _step(self, step: Step) -> None:
        self.steps.append(step)
        self.visited.add((self.ids[step.segment], step.operation))
        self.measured = step
        if step.kept is None:
            return
        self.trajectory = self.trajectory.edited(step.operation, step.segment, step.candidates[step.kept].text)
        if step.operation != "rewrite":
            gone = step.segment + (step.operation == "merge")
            self.ids = self.ids[:gone] + self.ids[gone + 1 :]

    @property
    def nll(self) -> float:
        """Of y, in nats per answer token."""
        return self.measured.nll if self.measured else float("inf")

    @property
    def value(self) -> float:
        """What the search minimises: `nll`, or another objective."""
        event = self.measured
        return self.nll if event is None or event.objective is None else event.objective

    @property
    def relative_gain(self) -> float | None:
        """(none - now) / none of what the search minimises; None where either is unknown or none is zero."""
        if self.baseline is None or self.first is None:
            return None
        none = self.baseline.nll if self.first.objective is None else self.baseline.objective
        return (none - self.value) / none if none else None

    @property
    def rejections_in_a_row(self) -> int:
        kept = [n for n, step in enumerate(self.steps) if step.kept is not None]
        return len(self.steps) - 1 - (kept[-1] if kept else -1)

    @property
    def usage(self) -> Usage:
        """Of the whole search, the other starts included; what was measured after it is not in it."""
        events = (self.baseline, self.first, *self.attributions, *self.steps, *self.elsewhere)
        return sum((event.usage for event in events if event), Usage())

    @property
    def usage_in_all(self) -> Usage:
        return self.usage + (self.worth.usage if self.worth else Usage())

    @property
    def every_step(self) -> list[Step]:
        """Its own, then those of the other starts."""
        return [*self.steps, *(event for event in self.elsewhere if isinstance(event, Step))]

    @property
    def count(self) -> int:
        """Steps of the whole search."""
        return len(self.every_step)


class Starts:
    """Several first trajectories that are refined on one budget, by successive halving.

    With N of them the budget of steps, tokens or seconds that follows the first draws has ceil(log2 N) + 1 equal
    parts. At the end of each but the last the worse half is dropped, by the scorer's numbers, which every start has.
    """

    def __init__(self, settings: SearchConfig) -> None:
        self.settings = settings
        self.states = [State()]
        self.alive = [0]
        self._begun = Usage()
        """What the first draws and all before them cost."""

    @classmethod
    def of(cls, events: Iterable[Event], settings: SearchConfig) -> "Starts":
        starts = cls(settings)
        for event in events:
            starts.apply(event)
        return starts

    def apply(self, event: Event) -> None:
        if isinstance(event, First):
            before = [self.states[0].baseline] if self.states[0].baseline else []
            self.states += [State.of(before, start=n) for n in range(1, len(event.others) + 1)]
            self.alive = list(range(len(self.states)))
        for state in self.states:
            state.apply(event)
        if isinstance(event, First):
            self._begun = self.states[0].usage
        elif isinstance(event, Step) and len(self.alive) > 1:
            self._drop()

    @property
    def best(self) -> State:
        """The start with the lowest value, dropped ones included; the earlier one of equals."""
        return min(self.states, key=lambda state: state.value)

    def _drop(self) -> None:
        total, parts = len(self.states), math.ceil(math.log2(len(self.states))) + 1
        left = math.ceil(total / 2 ** math.floor(min(1.0, self._progress()) * parts))
        if left < len(self.alive):
            self.alive = sorted(sorted(self.alive, key=lambda n: self.states[n].value)[:left])

    def _progress(self) -> float:
        """Share of the budget that is spent; of several budgets the one nearer to its end."""
        state, settings = self.states[0], self.settings
        spent = [state.count / max(1, settings.max_steps)]
        for limit, unit in ((settings.max_tokens, "forward_tokens"), (settings.max_seconds, "seconds")):
            if limit is not None:
                begun = getattr(self._begun, unit)
                spent.append((getattr(state.usage, unit) - begun) / max(limit - begun, 1e-9))
        return max(spent)


def _of_start(first: First, start: int) -> First:
    """The event as if the search had begun with this start alone."""
    if start == 0:
        return first
    other = first.others[start - 1]
    return replace(first, kept=other.kept, segments=other.segments, nll=other.nll, objective=other.objective)


def final(events: Sequence[Event]) -> State:
    """The best start of a finished search."""
    first = next((event for event in events if isinstance(event, First)), None)
    states = [State.of(events, start) for start in range(1 + len(first.others) if first else 1)]
    return min(states, key=lambda state: state.value)
