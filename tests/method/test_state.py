"""A search's state is the sum of its events: segments keep their identity while others are deleted and merged."""

import pytest

from reer.config import SearchConfig
from reer.method import policy
from reer.method.state import State
from reer.types import Attribution, Baseline, Candidate, First, Step, Usage

BASELINE = Baseline(nll=3.0, answer_tokens=5, usage=Usage(calls=1, scored_tokens=10))
SEGMENTS = ("A one.\n\n", "B two.\n\n", "C three.\n\n", "D four.")
FIRST = First(
    candidates=(Candidate("".join(SEGMENTS), 2.0),),
    kept=0,
    segments=SEGMENTS,
    nll=2.0,
    usage=Usage(calls=2, generated_tokens=20),
)
EDITS = SearchConfig(edits=["delete", "merge"], sweeps=3)


def step(segment, operation="rewrite", text=None, nll=1.0, objective=None, sweep=0):
    """Keeps `text`; without one it keeps the original."""
    candidate = Candidate(text or "", nll, objective=objective)
    return Step(
        sweep=sweep,
        segment=segment,
        operation=operation,
        before="",
        candidates=(candidate,),
        kept=None if text is None else 0,
        nll=nll,
        objective=objective,
        usage=Usage(calls=1, scored_tokens=100, seconds=0.5),
    )


def after(*steps):
    return State.of([BASELINE, FIRST, *steps])


def visits(state):
    return policy.open_visits(state, EDITS)


def test_a_deletion_takes_one_identity_out_and_leaves_the_others_theirs():
    state = after(step(1, "delete", ""))
    assert state.ids == (0, 2, 3)
    assert state.trajectory.segments == ("A one.\n\n", "C three.\n\n", "D four.")
    assert state.visited == {(1, "delete")}
    again = after(step(1, "delete", ""), step(1, "rewrite", "C new.\n\n"))
    assert again.visited == {(1, "delete"), (2, "rewrite")}  # place 1 is another segment now
    assert again.trajectory.text == "A one.\n\nC new.\n\nD four."


def test_a_merge_keeps_the_first_identity_and_takes_out_the_second():
    state = after(step(1, "merge", "B two. C three.\n\n"))
    assert state.ids == (0, 1, 3)
    assert state.trajectory.segments == ("A one.\n\n", "B two. C three.\n\n", "D four.")
    assert state.visited == {(1, "merge")}


@pytest.mark.parametrize("operation", ["rewrite", "delete", "merge"])
def test_what_was_not_kept_changes_nothing_but_what_was_visited(operation):
    state = after(step(2, operation))
    assert state.ids == (0, 1, 2, 3)
    assert state.trajectory.segments == SEGMENTS
    assert state.visited == {(2, operation)}
    assert state.rejections_in_a_row == 1


def test_a_deleted_or_merged_segment_is_not_visited_again_and_the_rest_of_the_sweep_is():
    state = after(step(0, "rewrite"), step(0, "merge", "A one. B two.\n\n"), step(1, "delete", ""))
    assert state.ids == (0, 3)
    assert state.roster == (0, 1, 2, 3)
    assert visits(state) == [(0, "delete"), (3, "rewrite"), (3, "delete")]


def test_the_next_sweep_has_the_segments_that_are_left_and_visits_all_of_them_again():
    steps = [step(0, "merge", "A one. B two.\n\n"), step(1, "delete", "")]
    state = after(*steps, step(1, "rewrite", "D new.", sweep=1))
    assert (state.sweep, state.roster) == (1, (0, 3))
    assert visits(state) == [(0, "rewrite"), (0, "delete"), (0, "merge"), (3, "delete")]


def test_a_sweep_begins_with_its_attribution():
    attribution = Attribution(sweep=1, changes=(0.1, 0.2, 0.3), usage=Usage(scored_tokens=7))
    state = after(step(3, "delete", ""), attribution)
    assert (state.sweep, state.roster, state.visited) == (1, (0, 1, 2), set())
    assert state.trajectory.text == "A one.\n\nB two.\n\nC three."
    state.apply(step(0, sweep=1))  # belongs to the sweep already begun
    assert (state.sweep, state.visited) == (1, {(0, "rewrite")})


def test_the_last_segment_is_never_deleted_and_never_merged():
    state = after(*(step(0, "delete", "") for _ in range(3)))
    assert state.ids == (3,)
    assert visits(state) == [(3, "rewrite")]


def test_numbers_are_those_of_the_last_event_and_costs_those_of_all():
    assert State().value == State().nll == float("inf")
    assert after().nll == after().value == 2.0
    state = after(step(0, text="x", nll=1.5, objective=0.5), step(1, nll=1.5, objective=0.5), step(2, nll=1.5))
    assert (after(step(0, text="x", nll=1.5, objective=0.5)).nll, state.nll, state.value) == (1.5, 1.5, 1.5)
    assert after(step(0, text="x", nll=1.5, objective=0.5)).value == 0.5
    assert state.rejections_in_a_row == 2
    assert state.usage == Usage(calls=6, generated_tokens=20, scored_tokens=310, seconds=1.5)


def test_the_relative_gain_is_one_of_what_is_minimised():
    def gained(nll_none, nll, none=None, now=None):
        baseline = Baseline(nll=nll_none, answer_tokens=1, objective=none, usage=Usage())
        return State.of([
            baseline,
            First(candidates=(), kept=0, segments=("a",), nll=nll, objective=now, usage=Usage()),
        ]).relative_gain  # fmt: skip

    assert gained(4.0, 3.0) == 0.25
    assert gained(4.0, 5.0) == -0.25
    assert gained(4.0, 3.0, none=0.8, now=0.6) == pytest.approx(0.25)
    assert gained(0.0, 0.0) is None
    assert gained(4.0, 3.0, now=0.6) is None, "of a run that did not keep the objective without thinking"
    assert State().relative_gain is None
