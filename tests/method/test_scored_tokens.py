"""A score counts every token of the answer and no other, whatever the answer looks like.

The authors' code scores a single token of a poem, a paragraph or a dialogue; the texts below are of those kinds.
"""

import asyncio

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from reer.backend import build_scorer
from reer.backend.hf import HFScorer
from reer.backend.models import load_tokenizer
from reer.config import HFBackendConfig, LeakConfig, ModelConfig, SearchConfig
from reer.errors import LayoutError
from reer.layout import FRAMES, Layout
from reer.method.prompts import Prompt, PromptSet
from reer.method.propose import Proposer
from reer.method.search import Search
from reer.types import Baseline, Example, First, Response, Step

ANSWERS = {
    "poem": "The tide goes out,\nthe boats lie down;\nno bell is heard\nacross the town.",
    "paragraph": "It rained all day, and nobody in the house said a word about the letter. " * 4,
    "dialogue": "“You came.”\n“I said so.”\n“You said it last year.”\n“And here I am.”",
    "chinese": "崇祯五年十二月，余住西湖。大雪三日，湖中人鸟声俱绝。",
    "emoji": "🐕🐕‍🦺 wag 👩‍👩‍👧 and 🇫🇷!",
    "leading newlines": "\n\n\nThe chapter begins here.\n",
    "empty lines": "One.\n\n\n\n\n \n\nTwo.\n\n\n\n\t\n\nThree.\n\n\n",
    "one word": "Rain",
    "spaces": "   indented,  and  widely   spaced   ",
}
TEXTS = st.text(
    st.one_of(
        st.characters(exclude_categories=("Cs", "Cc")),
        st.sampled_from("\n\n\n  \t。，！？.,!?“”"),
        st.characters(min_codepoint=0x4E00, max_codepoint=0x9FFF),
        st.characters(min_codepoint=0x1F300, max_codepoint=0x1FAFF),
    ),
    min_size=1,
    max_size=80,
)
PROMPTS = PromptSet(
    Prompt("initial {query} {answer}", (), None),
    Prompt("rewrite {query} {answer} {before} {segment} {after}", (), None),
    "",
)


class Plans:
    """A first plan and rewrites of it, all different."""

    async def generate(self, requests):
        return [[Response(text=f"I will begin, in way {seed}.", finish_reason="stop") for seed in r.seeds]
                for r in requests]  # fmt: skip


class Recording:
    """A scorer that remembers what it was asked and what it said."""

    def __init__(self, scorer):
        self.scorer, self.tokenizer, self.max_length = scorer, scorer.tokenizer, scorer.max_length
        self.calls = []

    async def score(self, requests):
        results = await self.scorer.score(requests)
        self.calls += zip(requests, results, strict=True)
        return results


@pytest.fixture(scope="module")
def config(tiny_model):
    return ModelConfig(path=str(tiny_model), dtype="float32", max_length=2048)


@pytest.fixture(scope="module", params=[HFScorer, build_scorer], ids=["one by one", "as configured"])
def scorer(config, request):
    return request.param(HFBackendConfig(model=config))


@pytest.fixture(scope="module")
def count(tiny_model):
    """Ids of a text on its own, from plain transformers."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    return lambda text: tokenizer.encode(text, add_special_tokens=False)


def searched(scorer, layout, answer):
    """Events of a short search, and every request and result of its scorer."""
    limits = SearchConfig(first_samples=2, candidates=2, max_steps=1, leak=LeakConfig(enabled=False))
    recording = Recording(scorer)
    search = Search(Proposer(Plans(), lambda _: PROMPTS, layout, limits, seed=1), recording, layout, limits)

    async def collect():
        return [event async for event in search.run(Example(id="e", query="Write.", answer=answer))]

    return asyncio.run(collect()), recording.calls


def check(scorer, layout, answer, ids):
    events, calls = searched(scorer, layout, answer)
    assert [type(event) for event in events] == [Baseline, First, Step]
    assert events[0].answer_tokens == len(ids)
    assert len(calls) == 5  # without thinking, two first trajectories, two rewrites
    for request, result in calls:
        assert list(request.ids[request.start : request.end]) == ids
        assert result.score.tokens == len(ids)
    for event, part in zip(events, (calls[:1], calls[1:3], calls[3:]), strict=True):
        ends = sum(request.end for request, _ in part)
        assert event.usage.scored_tokens + event.usage.reused_tokens == ends


@pytest.mark.parametrize("name", sorted(FRAMES))
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_a_search_scores_all_of_the_answer_in_every_step(scorer, count, name, answer):
    check(scorer, Layout(name, scorer.tokenizer), answer, count(answer))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(answer=TEXTS)
def test_a_search_scores_all_of_any_answer(scorer, count, answer):
    layout = Layout("think", scorer.tokenizer)
    check(scorer, layout, *usable(layout, count, answer))


@pytest.mark.parametrize("name", sorted(FRAMES))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(answer=TEXTS, thinking=st.none() | st.just("I begin.\n\n") | st.just("写"))
def test_the_answers_ids_are_those_it_has_on_its_own(config, count, name, answer, thinking):
    tokenizer = load_tokenizer(config)
    layout = Layout(name, tokenizer)
    answer, ids = usable(layout, count, answer)
    encoded = layout.encode("Write.", thinking, answer)
    assert list(encoded.ids[encoded.answer : encoded.end]) == ids
    assert encoded.answer_tokens == len(ids)
    request = encoded.score_request()
    assert list(request.ids[request.start :]) == ids
    assert tokenizer.hf.decode(ids) == answer


def usable(layout, count, answer):
    """The answer and its ids, unless the layout refuses it."""
    try:
        layout.check("answer", answer)
    except LayoutError:
        assume(False)
    return answer, count(answer)
