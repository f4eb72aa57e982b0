"""Several first trajectories on one budget: whose turn it is, who is dropped when, and what comes out."""

import json
from dataclasses import replace

import pytest
from searching import SETTINGS, Script, run, searching

from reer.method.policy import several
from reer.method.state import Starts, final
from reer.run.ledger import _fields, decode
from reer.types import Baseline, Candidate, First, Start, Step, Usage

FIRST = [
    "One bad plan here. Two plain words.",
    "One plan here now. Two plain words.",
    "A good plan now. It ended soon.",
]
REWRITES = {
    "One bad plan here.": ["One bad bad plan.", "One bad plan now."],
    "One plan here now.": ["One good good good plan.", "One bad plan."],
    "A good plan now.": ["A bad plan.", "A plan stood."],
    "Two plain words.": ["Two good words.", "Two bad words."],
    "It ended soon.": ["It ended bad.", "It ended bad and bad."],
}
SEVERAL = replace(SETTINGS, first_samples=3, multi_start=2, max_steps=4)
USAGE = Usage(calls=1, scored_tokens=100)


def search(settings=SEVERAL):
    return searching(Script(FIRST, REWRITES), settings)


def test_the_two_best_take_turns_and_the_better_one_goes_on_alone():
    _, first, *steps = run(search())
    assert (first.kept, first.nll, [(s.kept, s.nll) for s in first.others]) == (2, 2.5, [(1, 3.0)])
    # one step each is half of the four: by then the second start is the better one, and has the rest
    assert [(step.start, step.nll) for step in steps] == [(0, 2.5), (1, 1.5), (1, 1.0)]


def test_the_result_is_the_best_start_with_its_own_first_and_steps_and_the_cost_of_all():
    events = run(search())
    state = final(events)
    assert (state.start, state.nll, state.first.nll) == (1, 1.0, 3.0)
    assert state.first.segments == ("One plan here now. ", "Two plain words.")
    assert state.trajectory.text == "One good good good plan. Two good words."
    assert [step.start for step in state.steps] == [1, 1]
    assert state.count == 3
    assert state.usage == sum((event.usage for event in events), Usage())


@pytest.mark.parametrize("cut", range(6))
@pytest.mark.parametrize("order", ["forward", "attribution"])
def test_it_resumes_at_every_event_with_the_same_events(cut, order):
    settings = replace(SEVERAL, order=order)
    whole = run(search(settings))
    kept = [decode(type(e).__name__, json.loads(json.dumps(e, default=_fields))) for e in whole[:cut]]
    assert kept == whole[:cut]
    assert run(search(settings), kept) == whole[cut:]


def test_one_start_is_the_search_as_it_was():
    assert run(search(replace(SEVERAL, multi_start=None))) == run(search(replace(SEVERAL, multi_start=1)))


def first(*nlls):
    starts = [Start(n, ("A.\n\n", "B."), nll) for n, nll in enumerate(nlls)]
    candidates = tuple(Candidate(f"c{n}", nll) for n, nll in enumerate(nlls))
    return First(candidates=candidates, kept=0, segments=starts[0].segments, nll=nlls[0], others=tuple(starts[1:]),
                 usage=USAGE)  # fmt: skip


def step(start, nll):
    return Step(segment=0, operation="rewrite", before="", candidates=(), kept=None, nll=nll, start=start, usage=USAGE)


BASELINE = Baseline(nll=4.0, answer_tokens=5, usage=USAGE)


def alive(settings, *steps):
    return Starts.of([BASELINE, first(1.0, 1.1, 1.2, 1.3), *steps], settings).alive


def test_four_starts_become_two_after_a_third_and_one_after_two_thirds():
    settings = replace(SEVERAL, max_steps=6)
    steps = [step(0, 1.0), step(1, 1.1), step(2, 1.2), step(3, 0.5)]
    assert alive(settings) == [0, 1, 2, 3]
    assert alive(settings, *steps[:1]) == [0, 1, 2, 3]
    assert alive(settings, *steps[:2]) == [0, 1]
    assert alive(settings, *steps[:2], step(1, 0.9), step(0, 1.0)) == [1]


def test_a_budget_of_tokens_is_that_of_the_refinement():
    settings = replace(SEVERAL, max_steps=100, max_tokens=800)  # 200 are spent before the first step: 6 remain
    assert alive(settings, step(0, 1.0)) == [0, 1, 2, 3]
    assert alive(settings, step(0, 1.0), step(1, 1.1)) == [0, 1]


def test_starts_are_different_texts_the_likeliest_first():
    values = {"a": 2.0, "b": 1.0, "c": None, "d": 3.0}
    drawn = [Candidate(text, values[text]) for text in "abbcd"]
    assert several(drawn, 3) == [1, 0, 4]
    assert several(drawn, 9) == [1, 0, 4]


def test_a_ledger_from_before_there_were_several_is_read():
    usage = {"calls": 1, "generated_tokens": 2, "prefilled_tokens": 0, "scored_tokens": 0, "reused_tokens": 0,
             "seconds": 0.5}  # fmt: skip
    candidate = {"text": "z", "nll": 1.0, "rejected": None, "objective": None}
    old = {"candidates": [candidate], "kept": 0, "segments": ["z"], "nll": 1.0, "objective": None, "usage": usage}
    found = decode("First", old)
    assert (found.others, found.whole, found.candidates[0].draft, found.usage.draft_tokens) == ((), None, None, 0)
