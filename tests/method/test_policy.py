"""What is tried next, which candidate is taken and when it is enough; every sweep tries each segment once."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reer.backend.fake import FakeGenerator, FakeScorer, FakeTokenizer
from reer.config import FakeBackendConfig, LeakConfig, SearchConfig, SegmentConfig
from reer.errors import ConfigError
from reer.layout import Layout
from reer.method import policy
from reer.method.prompts import load_set
from reer.method.propose import Proposer
from reer.method.search import Search
from reer.method.state import State
from reer.text import seed_of
from reer.types import Attribution, Baseline, Candidate, Example, First, Score, Scored, Step, Usage

EXAMPLE = Example(
    id="e",
    query="Write about a ferry that leaves before dawn, with three passengers and one secret.",
    answer="The ferry slid from the quay before anybody had counted the passengers.\n\nThree, the boy said, and "
    "looked at the crate again. Nobody asked what was breathing under the tarpaulin.",
)
PROMPTS = {start: load_set("standard", "en", start) for start in ("direct", "skeleton")}


def state_of(n):
    texts = tuple(f"{k}.\n\n" for k in range(n))
    return State.of([First(candidates=(), kept=0, segments=texts, nll=9.0, usage=Usage())])


def places(order, n, sweeps, seed=0, attributions=()):
    """The segments that a search visits which never keeps anything."""
    config = SearchConfig(order=order, sweeps=sweeps)
    state, found = state_of(n), []
    while state.sweep + 1 < sweeps or policy.open_visits(state, config):
        if not policy.open_visits(state, config):
            state.begin_sweep()
        if attributions and len(state.attributions) <= state.sweep:
            state.apply(attributions[state.sweep])
        index, operation = policy.next_visit(state, config, seed, "e")
        found.append(index)
        state.apply(
            Step(sweep=state.sweep, segment=index, operation=operation, before="", candidates=(), kept=None, nll=9.0,
                 usage=Usage())
        )  # fmt: skip
    return found


@given(st.sampled_from(["forward", "backward", "random"]), st.integers(1, 12), st.integers(0, 99))
def test_a_sweep_visits_every_segment_once(order, n, seed):
    visits = places(order, n, 3, seed)
    assert len(visits) == 3 * n
    assert all(sorted(visits[s : s + n]) == list(range(n)) for s in (0, n, 2 * n))
    if order != "random":
        assert visits[:n] == list(range(n))[:: 1 if order == "forward" else -1]


def test_a_random_order_differs_by_sweep_and_seed():
    one, other = places("random", 9, 2, seed=1), places("random", 9, 2, seed=2)
    assert len({tuple(one[:9]), tuple(one[9:]), tuple(other[:9])}) == 3


def test_attribution_visits_the_segment_that_matters_most_first():
    first = Attribution(changes=(0.1, None, 0.4), usage=Usage())
    second = Attribution(sweep=1, changes=(0.3, 0.2, 0.1), usage=Usage())
    assert places("attribution", 3, 2, attributions=[first, second]) == [2, 0, 1, 0, 1, 2]


def test_edits_follow_the_rewrite_of_their_segment_whatever_their_order_in_the_config():
    config, state = SearchConfig(edits=["merge", "delete"], order="backward"), state_of(2)
    found = []
    while policy.open_visits(state, config):
        index, operation = policy.next_visit(state, config, 0, "e")
        found.append((index, operation))
        state.visited.add((state.ids[index], operation))
    assert found == [(1, "rewrite"), (1, "delete"), (0, "rewrite"), (0, "delete"), (0, "merge")]


@given(st.lists(st.none() | st.floats(0, 9), max_size=6), st.floats(0, 9), st.floats(0, 1))
def test_lower_takes_the_minimum_and_only_below_the_gain(nlls, nll, min_gain):
    kept = policy.lower([Candidate("t", n) for n in nlls], nll, min_gain)
    scored = [n for n in nlls if n is not None]
    if kept is None:
        assert not scored or min(scored) >= nll - min_gain
    else:
        assert nlls[kept] == min(scored) < nll - min_gain


def test_an_objective_decides_where_there_is_one():
    candidates = [Candidate("a", 1.0, objective=0.9), Candidate("b", 2.0, objective=0.4), Candidate("c", None, "leak")]
    assert policy.best(candidates) == 1
    assert policy.lower(candidates, 0.5, 0.0) == 1
    assert policy.lower(candidates, 0.4, 0.0) is None


def test_anyone_takes_each_usable_one_about_as_often():
    candidates = [Candidate("a", 9.0), Candidate("b", None, "leak"), Candidate("c", 1.0)]
    taken = [policy.anyone(candidates, seed) for seed in range(3000)]
    assert {choice: round(taken.count(choice) / 3000, 1) for choice in set(taken)} == {None: 0.3, 0: 0.3, 2: 0.3}


class Dice(FakeScorer):
    """A number between 0.5 and 3 for every text, so that nothing about a candidate tells whether it will be kept."""

    def __init__(self, salt):
        super().__init__(FakeBackendConfig())
        self.salt = salt

    def _score(self, request):
        number = seed_of(self.salt, request.ids) % 2**32 / 2**32
        score = Score(0.5 + 2.5 * number, request.end - request.start)
        return Scored(score, Usage(calls=1, scored_tokens=request.end))


def searching(scorer=None, seed=5, **changes):
    changes = {"segment": SegmentConfig(min_tokens=20, max_tokens=200), "candidates": 2} | changes
    config = SearchConfig(**changes)
    scorer = scorer or FakeScorer(FakeBackendConfig())
    layout = Layout("think", scorer.tokenizer)
    generator = FakeGenerator(FakeBackendConfig())
    proposer = Proposer(generator, lambda language: PROMPTS[config.start], layout, config, seed)
    return Search(proposer, scorer, layout, config)


def run(search, recorded=()):
    async def collect():
        return [event async for event in search.run(EXAMPLE, recorded)]

    return asyncio.run(collect())


@pytest.mark.parametrize("order", policy.ORDERS)
def test_a_search_in_any_order_is_continued_where_it_stopped(order):
    config = {"order": order, "sweeps": 2, "max_steps": 9}
    whole = run(searching(**config))
    steps = [event for event in whole if isinstance(event, Step)]
    n = len(State.of(whole).trajectory.segments)
    assert n > 1
    assert len(steps) == min(9, 2 * n)
    assert sorted(step.segment for step in steps[:n]) == list(range(n))
    for cut in range(len(whole)):
        assert run(searching(**config), whole[:cut]) == whole[cut:]


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_whatever_is_kept_every_sweep_tries_each_operation_once_on_each_segment_and_resumes_anywhere(data):
    config = {
        "edits": ["delete", "merge"],
        "sweeps": data.draw(st.integers(1, 3)),
        "max_steps": data.draw(st.just(99) | st.integers(1, 30)),
        "order": data.draw(st.sampled_from(sorted(policy.ORDERS))),
        "accept": data.draw(st.sampled_from(["lower", "random"])),
        "start": data.draw(st.sampled_from(["direct", "skeleton"])),
    }
    salt = data.draw(st.integers(0, 10_000))
    whole = run(searching(Dice(salt), seed=salt, **config))
    _check_visits(whole, config)
    cut = data.draw(st.integers(0, len(whole)))
    assert run(searching(Dice(salt), seed=salt, **config), whole[:cut]) == whole[cut:]


def _check_visits(events, config):
    """Follow the steps with names for the segments, independently of State."""
    first, *steps = [event for event in events if isinstance(event, First | Step)]
    live = list(enumerate(first.segments))
    seen, begun = set(), {0: {name for name, _ in live}}
    for step in steps:
        if step.sweep not in begun:
            _check_sweep(live, seen, step.sweep - 1)
            begun[step.sweep] = {name for name, _ in live}
        end = step.segment + (2 if step.operation == "merge" else 1)
        name = live[step.segment][0]
        assert name in begun[step.sweep]
        assert step.before == "".join(text for _, text in live[step.segment : end])
        assert (step.sweep, name, step.operation) not in seen
        seen.add((step.sweep, name, step.operation))
        if step.kept is not None:
            new = [] if step.operation == "delete" else [(name, step.candidates[step.kept].text)]
            live[step.segment : end] = new
            if step.segment == len(live):  # the last one was deleted
                live[-1] = (live[-1][0], live[-1][1].rstrip())
    assert live
    last = State.of(events)
    assert [*zip(last.ids, last.trajectory.segments, strict=True)] == live
    if len(steps) < config["max_steps"]:  # it ended because nothing was left to visit
        assert max(begun) == config["sweeps"] - 1
        _check_sweep(live, seen, max(begun))


def _check_sweep(live, seen, sweep):
    """A segment that came through the sweep was tried in every way that was open to it."""
    names = [name for name, _ in live]
    assert all((sweep, name, "rewrite") in seen for name in names)
    assert all((sweep, name, "merge") in seen for name in names[:-1])
    assert len(names) == 1 or all((sweep, name, "delete") in seen for name in names)


def test_attribution_is_what_scoring_without_the_segment_gives():
    search = searching(order="attribution", max_steps=1)
    _, first, attribution, _ = run(search)
    assert len(attribution.changes) == len(first.segments) > 1
    for n, change in enumerate(attribution.changes):
        without = "".join((*first.segments[:n], *first.segments[n + 1 :])).rstrip()
        request = search.layout.encode(EXAMPLE.query, without, EXAMPLE.answer).score_request()
        [scored] = asyncio.run(search.scorer.score([request]))
        assert change == pytest.approx(abs(scored.score.nll - first.nll))
    assert attribution.usage.calls == len(first.segments)


def test_a_budget_that_ends_before_an_attribution_is_over_ends_the_search_before_it():
    free = run(searching(order="attribution", max_steps=4, sweeps=2))
    spent = sum((event.usage for event in free[:2]), Usage()).forward_tokens
    cost = free[2].usage.forward_tokens
    assert len(run(searching(order="attribution", max_tokens=spent + cost // 9))) == 2
    assert len(run(searching(order="attribution", max_tokens=spent + cost))) > 2


def test_a_token_budget_and_a_least_gain_end_and_limit_the_search():
    free = State.of(run(searching()))
    spent = State.of(run(searching(max_tokens=1)))
    assert len(spent.steps) == 0 < len(free.steps)
    assert all(step.kept is None for step in State.of(run(searching(min_gain=5.0))).steps)
    assert any(step.kept is not None for step in free.steps)


@given(st.integers(1, 500), st.integers(1, 50), st.integers(0, 600))
def test_a_budget_ends_a_search_at_the_step_nearest_to_it(limit, cost, before):
    config = SearchConfig(max_tokens=limit)
    pieces = []
    while not policy.is_spent(Usage(scored_tokens=before + cost * len(pieces)), pieces, config):
        pieces.append(Usage(generated_tokens=cost))
    total = before + cost * len(pieces)
    assert not pieces if before >= limit else abs(total - limit) <= cost
    if len(pieces) > 1:  # the first is begun before anybody knows what one costs
        assert abs(total - limit) <= cost / 2


def test_each_budget_counts_its_own_unit_and_either_one_ends_it():
    spent = Usage(generated_tokens=30, prefilled_tokens=30, scored_tokens=30, reused_tokens=900, seconds=5.0)
    for limits, ends in [
        ({}, False),
        ({"max_tokens": 90}, True),
        ({"max_tokens": 91}, False),
        ({"max_seconds": 5.0}, True),
        ({"max_seconds": 5.5}, False),
        ({"max_tokens": 91, "max_seconds": 4.0}, True),
    ]:
        assert policy.is_spent(spent, [], SearchConfig(**limits)) is ends


def test_the_mean_of_the_steps_so_far_tells_how_far_the_next_one_reaches():
    steps = [Usage(scored_tokens=10), Usage(scored_tokens=30)]
    assert not policy.is_spent(Usage(scored_tokens=89), steps, SearchConfig(max_tokens=100))
    assert policy.is_spent(Usage(scored_tokens=90), steps, SearchConfig(max_tokens=100))


class Slow(FakeScorer):
    """Says that every score took two seconds."""

    def _score(self, request):
        scored = super()._score(request)
        return Scored(scored.score, Usage(calls=1, scored_tokens=10, seconds=2.0))


@pytest.mark.parametrize(
    ("limit", "steps"),
    # baseline and one first trajectory are 4 s, a step of two rewrites 4 s: a stop at 4, 8, 12, 16 s
    [(4.0, 0), (4.1, 1), (10.0, 1), (10.1, 2), (14.0, 2), (14.1, 3)],
)
def test_seconds_of_the_models_end_a_search_and_those_of_recorded_events_count(limit, steps):
    config = {"max_seconds": limit, "first_samples": 1, "sweeps": 9, "leak": LeakConfig(enabled=False)}
    whole = run(searching(Slow(FakeBackendConfig()), **config))
    state = State.of(whole)
    assert {step.usage.seconds for step in state.steps} <= {4.0}
    assert len(state.steps) == steps
    for cut in range(len(whole) + 1):
        assert run(searching(Slow(FakeBackendConfig()), **config), whole[:cut]) == whole[cut:]


def test_rounds_of_first_trajectories_draw_anew_and_the_best_of_all_is_kept():
    config = {"first_samples": 2, "first_rounds": 5, "max_steps": 0}
    _, whole = run(searching(**config))
    usable = [c.nll for c in whole.candidates if c.nll is not None]
    assert len(whole.candidates) == 10
    assert len({c.text for c in whole.candidates}) > 5  # every round draws anew
    assert whole.nll == min(usable) == whole.candidates[whole.kept].nll
    one = run(searching(**config | {"first_rounds": 1}))[1]
    assert one.candidates == whole.candidates[:2]


def test_random_acceptance_ignores_the_score():
    steps = State.of(run(searching(accept="random", sweeps=3, max_steps=15))).steps
    nll = [step.nll for step in steps]
    assert any(later > earlier for earlier, later in zip(nll, nll[1:], strict=False))


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("order", "zigzag", "order=zigzag is unknown: choose one of forward, backward, random, attribution$"),
        ("accept", "zigzag", "accept=zigzag is unknown: choose one of lower, random$"),
        ("start", "zigzag", "start=zigzag is unknown: choose one of direct, skeleton, blind$"),
        ("edits", ["delete", "zigzag"], "edits=zigzag is unknown: choose one of delete, merge$"),
        ("edits", ["rewrite"], "edits=rewrite is unknown: choose one of delete, merge$"),
    ],
)
def test_an_unknown_policy_is_named(key, value, sentence):
    with pytest.raises(ConfigError, match=f"^search.{sentence}"):
        Search(None, None, None, SearchConfig(**{key: value}))


def test_the_order_of_baseline_first_and_steps_is_the_same_with_every_start():
    for start in PROMPTS:
        events = run(searching(start=start, max_steps=2))
        assert [type(event) for event in events] == [Baseline, First, Step, Step]
        assert FakeTokenizer.special_texts[0] not in State.of(events).trajectory.text
