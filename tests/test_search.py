"""The search itself, with scripted proposals and a scorer whose numbers are known."""

import asyncio

import pytest

from reer.backend.fake import FakeTokenizer
from reer.config import LeakConfig, SamplingConfig, SearchConfig, SegmentConfig
from reer.errors import BackendError, ExampleError
from reer.layout import Layout
from reer.prompts import Prompt, PromptSet
from reer.propose import Proposer
from reer.search import Search, State
from reer.types import Baseline, Example, First, Response, Score, Scored, Step, Usage

EXAMPLE = Example(id="e", query="Write.", answer="Rain fell on the tin roof all night.")
LAYOUT = Layout("think", FakeTokenizer())
SETTINGS = SearchConfig(
    first_samples=2,
    candidates=2,
    max_steps=9,
    segment=SegmentConfig(min_words=2, max_words=6),
    leak=LeakConfig(longest_run=4),
    first=SamplingConfig(max_tokens=500),
    rewrite=SamplingConfig(max_tokens=50),
)


class Script:
    """Replies by prompt: whole trajectories first, then per segment."""

    def __init__(self, first, rewrites):
        self.first, self.rewrites, self.requests = first, rewrites, []

    async def generate(self, requests):
        self.requests += requests
        return [[Response(text=t, finish_reason="stop") for t in self._texts(r)] for r in requests]

    def _texts(self, request):
        prompt = request.messages[0].content
        if prompt.startswith("initial"):
            return self.first
        return next(texts for segment, texts in self.rewrites.items() if f"[{segment}]" in prompt)


class Table:
    """NLL by the number of good words in the thinking: 3 nats without thinking, 0.5 less for each."""

    tokenizer = FakeTokenizer()
    max_length = 10_000

    def __init__(self):
        self.calls = 0

    async def score(self, requests):
        self.calls += len(requests)
        return [self._score(request) for request in requests]

    def _score(self, request):
        before = bytes(i for i in request.ids[: request.start] if i < 256).decode()
        if "explode" in before:
            raise BackendError("no finite log-probability")
        nll = 3.0 - 0.5 * before.count("good") + 0.5 * before.count("bad")
        return Scored(Score(nll, request.end - request.start), Usage(calls=1, scored_tokens=request.end))


def prompts(language):
    return PromptSet(
        Prompt("initial {query} {answer}", (), None),
        Prompt("rewrite {query} {answer} {before} [{segment}] {after}", (), None),
        "",
    )


def searching(script, settings=SETTINGS, scorer=None):
    return Search(Proposer(script, prompts, LAYOUT, settings, seed=1), scorer or Table(), LAYOUT, settings)


def run(search, recorded=()):
    async def collect():
        return [event async for event in search.run(EXAMPLE, recorded)]

    return asyncio.run(collect())


SCRIPT = {
    "first": ["One bad plan here. Two plain words.", "One plan here now. Two plain words."],
    "rewrites": {
        "One plan here now.": ["One good plan here.", "One bad plan."],
        "Two plain words.": ["Two bad words.", "Two worse bad words."],
    },
}


def test_every_score_is_kept_only_if_it_is_lower():
    baseline, first, one, two = run(searching(Script(**SCRIPT)))
    assert isinstance(baseline, Baseline)
    assert baseline.nll == 3.0
    assert baseline.answer_tokens == len(EXAMPLE.answer)
    assert isinstance(first, First)
    assert (first.kept, first.nll, first.segments) == (1, 3.0, ("One plan here now. ", "Two plain words."))
    assert isinstance(one, Step)
    assert (one.kept, one.nll, [c.nll for c in one.candidates]) == (0, 2.5, [2.5, 3.5])
    assert (two.kept, two.nll) == (None, 2.5)
    state = State.of([baseline, first, one, two])
    assert state.trajectory.text == "One good plan here. Two plain words."
    assert state.nll == 2.5
    assert state.rejections_in_a_row == 1


@pytest.mark.parametrize("cut", range(5))
def test_recorded_events_are_continued_not_repeated(cut):
    whole = run(searching(Script(**SCRIPT)))
    assert run(searching(Script(**SCRIPT)), whole[:cut]) == whole[cut:]


def test_it_stops_at_the_threshold_the_step_cap_and_when_patience_ends():
    def steps(**changes):
        settings = SearchConfig(**(vars(SETTINGS) | changes))
        return len(run(searching(Script(**SCRIPT), settings))) - 2

    assert steps(threshold=2.6) == 1
    assert steps(max_steps=1) == 1
    assert steps(max_steps=0) == 0
    still = Script(SCRIPT["first"], {s: ["Two bad words."] * 2 for s in SCRIPT["rewrites"]})
    assert len(run(searching(still, SearchConfig(**(vars(SETTINGS) | {"patience": 1}))))) - 2 == 1


def test_unusable_proposals_carry_their_reason_and_are_never_scored():
    copied = "good good good rain fell on the tin roof"
    script = Script(["One plan here.", "</think> good good"], {"One plan here.": [copied, "One plan here."]})
    scorer = Table()
    _, first, step = run(searching(script, scorer=scorer))
    assert [c.rejected for c in first.candidates] == [None, "tags"]
    assert [c.rejected for c in step.candidates] == ["leak", "identical"]
    assert step.kept is None
    assert scorer.calls == 2  # the baseline and one first trajectory


def test_a_copy_is_accepted_with_the_guard_off():
    copied = "good good good rain fell on the tin roof"
    script = Script(["One plan here.", "One plan here."], {"One plan here.": [copied, "One plan here."]})
    settings = SearchConfig(**(vars(SETTINGS) | {"leak": LeakConfig(enabled=False)}))
    assert run(searching(script, settings))[2].kept == 0


def test_equal_proposals_are_scored_once():
    script = Script(["One plan here."] * 2, {"One plan here.": ["One good plan."] * 2})
    scorer = Table()
    run(searching(script, scorer=scorer))
    assert scorer.calls == 3


def test_a_failed_score_is_a_reason_not_a_number():
    script = Script(["One plan here."] * 2, {"One plan here.": ["explode good good", "One good plan."]})
    step = run(searching(script))[2]
    assert step.candidates[0].nll is None
    assert step.candidates[0].rejected == "not_scored: no finite log-probability"
    assert step.kept == 1


def test_without_a_usable_first_trajectory_the_example_is_refused_with_the_reasons():
    script = Script(["</think>", ""], {})
    with pytest.raises(ExampleError, match=r"no usable first trajectory in 6 draws \(empty, tags\)"):
        run(searching(script))
    assert len({seed for request in script.requests for seed in request.seeds}) == 6


def test_a_pair_that_cannot_be_laid_out_is_refused():
    async def first():
        broken = Example(id="e", query="q", answer="y <|end|>")
        return [event async for event in searching(Script(**SCRIPT)).run(broken)]

    with pytest.raises(ExampleError, match="control token"):
        asyncio.run(first())
