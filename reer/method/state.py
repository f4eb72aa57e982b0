"""Where a search stands: nothing but the sum of its events, so that recorded events bring it back.

Knows events; knows nothing of scores to come, models or files.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

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

    @classmethod
    def of(cls, events: Iterable[Event]) -> "State":
        state = cls()
        for event in events:
            state.apply(event)
        return state

    def apply(self, event: Event) -> None:
        if isinstance(event, Baseline):
            self.baseline = event
        elif isinstance(event, First):
            self._begin(event)
        elif isinstance(event, Worth):
            self.worth = event
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
    def rejections_in_a_row(self) -> int:
        kept = [n for n, step in enumerate(self.steps) if step.kept is not None]
        return len(self.steps) - 1 - (kept[-1] if kept else -1)

    @property
    def usage(self) -> Usage:
        """What the search cost; what was measured after it is not in it."""
        events = (self.baseline, self.first, *self.attributions, *self.steps)
        return sum((event.usage for event in events if event), Usage())

    @property
    def usage_in_all(self) -> Usage:
        return self.usage + (self.worth.usage if self.worth else Usage())
