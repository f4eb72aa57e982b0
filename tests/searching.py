"""A search with scripted proposals and a scorer whose numbers are known."""

import asyncio

from reer.backend.fake import FakeTokenizer
from reer.config import LeakConfig, SamplingConfig, SearchConfig, SegmentConfig
from reer.errors import BackendError
from reer.layout import Layout
from reer.method.prompts import Prompt, PromptSet
from reer.method.propose import Proposer
from reer.method.search import Search
from reer.types import Example, Response, Score, Scored, Usage

EXAMPLE = Example(id="e", query="Write.", answer="Rain fell on the tin roof all night.")
LAYOUT = Layout("think", FakeTokenizer())
SETTINGS = SearchConfig(
    first_samples=2,
    candidates=2,
    max_steps=9,
    segment=SegmentConfig(min_tokens=5, max_tokens=20),
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
