"""What a trajectory is worth, by hand; means with what is missing beside them."""

import pytest

from reer.method.state import State
from reer.method.worth.facts import a_prob, decorative, gain_over, worth_of
from reer.method.worth.lexical import FORMULA, Frequencies
from reer.method.worth.means import Means
from reer.types import Baseline, Candidate, Example, First, Usage, Worth

EXAMPLE = Example(id="e", query="Rain?", answer="Bees sleep.")
USAGE = Usage(calls=1, scored_tokens=10)
SEGMENTS = ("Wait, maybe bees? ", "It opens in winter. ", "也许先写雪。", "I end.")


@pytest.mark.parametrize(
    ("none", "final", "share"), [(4.0, 3.0, 0.25), (4.0, 5.0, 0.0), (2.0, 0.0, 1.0), (2.0, -0.5, 1.0), (0.0, 0.0, 0.0)]
)
def test_a_prob_is_the_clipped_share_of_the_nll(none, final, share):
    assert a_prob(none, final) == share


def test_gain_over_blind_is_the_mean_over_those_that_have_a_score():
    blind = (Candidate("a", 3.0), Candidate("b", None, "echo"), Candidate("c", 2.5))
    assert gain_over(blind, 2.25) == 0.5
    assert gain_over(blind[1:2], 2.25) is None


def test_a_segment_is_decorative_where_its_removal_changes_less_than_epsilon_either_way():
    assert decorative(SEGMENTS, (0.004, -0.2, None, -0.009), 0.01) == {
        "epsilon": 0.01, "share": 2 / 3, "reflecting": {"segments": 1, "decorative": 1},
        "plain": {"segments": 2, "decorative": 1}, "removals": [0.004, -0.2, None, -0.009],
    }  # fmt: skip
    assert decorative(SEGMENTS, (0.1, 0.1, 0.001, 0.01), 0.01)["reflecting"] == {"segments": 2, "decorative": 1}
    assert decorative(SEGMENTS, (None,) * 4, 0.01)["share"] is None


def searched(worth):
    first = First(candidates=(Candidate("Bees.", 2.0),), kept=0, segments=("Bees.",), nll=2.0, usage=USAGE)
    return State.of([Baseline(nll=2.5, answer_tokens=3, usage=USAGE), first, *([worth] if worth else [])])


def test_what_was_not_measured_is_null():
    found = worth_of(EXAMPLE, searched(None), Frequencies(), 0.01)
    assert found["a_prob"] == pytest.approx(0.2)
    assert found["a_lex"] == 0.5
    assert (found["gain_over_blind"], found["blind"], found["decorative"]) == (None, [], None)


def test_measuring_is_counted_and_is_no_part_of_the_search():
    state = searched(Worth(usage=Usage(calls=3, scored_tokens=7)))
    assert (state.usage.scored_tokens, state.usage_in_all.scored_tokens, state.usage_in_all.calls) == (20, 27, 5)


def test_means_say_of_how_many_they_are_and_how_many_are_missing():
    measured = Worth(
        blind=(Candidate("x", 2.75), Candidate("y", None, "leak"), Candidate("z", None, "not_scored: inf")),
        removals=(0.5,),
        usage=USAGE,
    )
    means = Means()
    for worth in (measured, None, Worth(blind=(Candidate("y", None, "leak"),), usage=USAGE)):
        means.add(worth_of(EXAMPLE, searched(worth), Frequencies(), 0.01))
    found = means.summary()
    assert found["a_prob"] == {"mean": pytest.approx(0.2), "n": 3, "missing": 0}
    assert found["a_lex"] == {"mean": 0.5, "n": 3, "missing": 0, "formula": FORMULA}
    draws = {"leak": 2, "not_scored": 1, "scored": 1}
    assert found["gain_over_blind"] == {"mean": 0.75, "n": 1, "missing": 2, "draws": draws}
    assert (found["decorative"]["mean"], found["decorative"]["n"], found["decorative"]["missing"]) == (0.0, 1, 2)
    assert found["decorative"]["plain"] == {"segments": 1, "decorative": 0}
    assert Means().summary()["a_prob"] == {"mean": None, "n": 0, "missing": 0}
