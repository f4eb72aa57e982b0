"""Which segment comes next and which candidate is taken: every sweep visits each segment once, in its order."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reer import policy
from reer.backend.fake import FakeGenerator, FakeScorer
from reer.config import FakeBackendConfig, SearchConfig, SegmentConfig
from reer.errors import ConfigError
from reer.layout import Layout
from reer.pairs import read_pairs
from reer.prompts import load_set
from reer.propose import Proposer
from reer.search import Search, State
from reer.types import Attribution, Candidate, Step, Usage

EXAMPLE = read_pairs(None, 1).examples[0]


@given(st.sampled_from(["forward", "backward", "random"]), st.integers(1, 12), st.integers(0, 99))
def test_a_sweep_visits_every_segment_once(order, n, seed):
    visits = [policy.segment_at(order, step, n, seed, "e", []) for step in range(3 * n)]
    assert all(sorted(visits[s : s + n]) == list(range(n)) for s in (0, n, 2 * n))
    if order == "backward":
        assert visits[:n] == list(range(n))[::-1]


def test_attribution_visits_the_segment_that_matters_most_first():
    first = Attribution(changes=(0.1, None, 0.4), usage=Usage())
    second = Attribution(changes=(0.3, 0.2, 0.1), usage=Usage())
    order = [policy.segment_at("attribution", step, 3, 0, "e", [first, second]) for step in range(6)]
    assert order == [2, 0, 1, 0, 1, 2]


@given(st.lists(st.none() | st.floats(0, 9), max_size=6), st.floats(0, 9), st.floats(0, 1))
def test_lower_takes_the_minimum_and_only_below_the_gain(nlls, nll, min_gain):
    kept = policy.lower([Candidate("t", n) for n in nlls], nll, min_gain)
    scored = [n for n in nlls if n is not None]
    if kept is None:
        assert not scored or min(scored) >= nll - min_gain
    else:
        assert nlls[kept] == min(scored) < nll - min_gain


def test_anyone_takes_each_usable_one_about_as_often():
    candidates = [Candidate("a", 9.0), Candidate("b", None, "leak"), Candidate("c", 1.0)]
    taken = [policy.anyone(candidates, seed) for seed in range(3000)]
    assert {choice: round(taken.count(choice) / 3000, 1) for choice in set(taken)} == {None: 0.3, 0: 0.3, 2: 0.3}


def searching(**changes):
    settings = SearchConfig(segment=SegmentConfig(min_words=5, max_words=40), candidates=2, **changes)
    scorer = FakeScorer(FakeBackendConfig())
    layout = Layout("think", scorer.tokenizer)
    prompts = load_set("standard", "en")
    proposer = Proposer(FakeGenerator(FakeBackendConfig()), lambda language: prompts, layout, settings, seed=5)
    return Search(proposer, scorer, layout, settings)


def run(search, recorded=()):
    async def collect():
        return [event async for event in search.run(EXAMPLE, recorded)]

    return asyncio.run(collect())


@pytest.mark.parametrize("order", policy.ORDERS)
def test_a_search_in_any_order_is_continued_where_it_stopped(order):
    settings = {"order": order, "sweeps": 2, "max_steps": 9}
    whole = run(searching(**settings))
    steps = [event for event in whole if isinstance(event, Step)]
    n = len(State.of(whole).trajectory.segments)
    assert len(steps) == min(9, 2 * n)
    assert sorted(step.segment for step in steps[:n]) == list(range(n))
    for cut in range(len(whole)):
        assert run(searching(**settings), whole[:cut]) == whole[cut:]


def test_attribution_is_what_scoring_without_the_segment_gives():
    search = searching(order="attribution", max_steps=1)
    _, first, attribution, _ = run(search)
    without = "".join(first.segments[1:])
    request = search.layout.encode(EXAMPLE.query, without, EXAMPLE.answer).score_request()
    [scored] = asyncio.run(search.scorer.score([request]))
    assert attribution.changes[0] == pytest.approx(abs(scored.score.nll - first.nll))
    assert len(attribution.changes) == len(first.segments)
    assert attribution.usage.calls == len(first.segments)


def test_a_token_budget_and_a_least_gain_end_and_limit_the_search():
    free = State.of(run(searching()))
    spent = State.of(run(searching(max_tokens=1)))
    assert len(spent.steps) == 0 < len(free.steps)
    assert all(step.kept is None for step in State.of(run(searching(min_gain=5.0))).steps)
    assert any(step.kept is not None for step in free.steps)


def test_random_acceptance_ignores_the_score():
    steps = State.of(run(searching(accept="random", sweeps=3, max_steps=15))).steps
    nll = [step.nll for step in steps]
    assert any(later > earlier for earlier, later in zip(nll, nll[1:], strict=False))


@pytest.mark.parametrize("key", ["order", "accept"])
def test_an_unknown_policy_is_named(key):
    with pytest.raises(ConfigError, match=f"search.{key}=zigzag is unknown: choose"):
        searching(**{key: "zigzag"})
