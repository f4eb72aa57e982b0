"""A search behind earlier turns, and one with a tokenizer that cannot write everything."""

import asyncio

from reer.backend.fake import FakeScorer, FakeTokenizer
from reer.config import FakeBackendConfig, SearchConfig
from reer.errors import LayoutError
from reer.layout import Layout
from reer.method.prompts import Prompt, PromptSet
from reer.method.propose import Proposer
from reer.method.search import Search
from reer.types import Baseline, Example, First, Message, Response, Step

SETTINGS = SearchConfig(first_samples=2, candidates=1, max_steps=1, threshold=0.0)
PROMPTS = PromptSet(
    Prompt("{query} {answer}", (), None), Prompt("{query} {answer} {before} {segment} {after}", (), None), ""
)
TURNS = (Message("system", "Rhyme."), Message("user", "Of cats."), Message("assistant", "A cat."))


class Written:
    """Replies to whatever it is asked."""

    def __init__(self, *texts):
        self.texts, self.asked = texts, []

    async def generate(self, requests):
        self.asked += [request.messages[-1].content for request in requests]
        return [[Response(text=t, finish_reason="stop") for t in self.texts[: len(r.seeds)]] for r in requests]


class Reading(FakeScorer):
    """Remembers what it scored."""

    def __init__(self, tokenizer):
        super().__init__(FakeBackendConfig())
        self.tokenizer, self.read = tokenizer, []

    async def score(self, requests):
        self.read += [bytes(i for i in request.ids if i < 256).decode() for request in requests]
        return await super().score(requests)


def searched(generator, scorer, history=()):
    example = Example(id="e", query="Write.", answer="Rain fell on the roof all night.", history=history)
    layout = Layout("think", scorer.tokenizer)
    search = Search(Proposer(generator, lambda language: PROMPTS, layout, SETTINGS, seed=0), scorer, layout, SETTINGS)

    async def run():
        return [event async for event in search.run(example)]

    return asyncio.run(run())


def test_every_score_and_every_prompt_has_the_turns_that_led_to_the_query():
    generator, scorer = Written("I plan a wet thing, and then another.", "I plan a dry one."), Reading(FakeTokenizer())
    events = searched(generator, scorer, TURNS)
    assert [type(event) for event in events] == [Baseline, First, Step]
    before = "system: Rhyme.user: Of cats.assistant: A cat.user: Write.assistant: "
    assert len(scorer.read) >= 3
    assert all(text.startswith(before) for text in scorer.read)
    assert scorer.read[0] == before + "Rain fell on the roof all night."
    assert all("[Assistant]\nA cat.\n\n[User]\nWrite. Rain" in asked for asked in generator.asked)


def test_a_thinking_that_the_tokenizer_cannot_write_is_that_candidates_failure():
    class Narrow(FakeTokenizer):
        def encode(self, text):
            if not text.isascii():
                raise LayoutError("the model's tokenizer has no token for 'é'")
            return super().encode(text)

    first = searched(Written("I plan a café.", "I plan a wet thing."), Reading(Narrow()))[1]
    assert [c.rejected for c in first.candidates] == ["not_scored: the model's tokenizer has no token for 'é'", None]
    assert first.kept == 1
