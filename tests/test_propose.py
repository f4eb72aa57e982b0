"""What the generator is asked, and how its replies are read."""

import asyncio

import pytest

from reer.backend.fake import FakeTokenizer
from reer.config import SearchConfig
from reer.layout import Layout
from reer.prompts import Prompt, PromptSet
from reer.propose import Proposer
from reer.types import Example, Response, Trajectory

EXAMPLE = Example(id="e", query="QUERY", answer="ANSWER text")
TRAJECTORY = Trajectory(("First part of the plan.\n\n", "Second part.\n\n", "Third part."))


class Scripted:
    def __init__(self, text, finish):
        self.text, self.finish, self.request = text, finish, None

    async def generate(self, requests):
        [self.request] = requests
        return [[Response(text=self.text, finish_reason=self.finish) for _ in self.request.seeds]]


def proposer(generator, tag=None, opener=()):
    prompt_set = PromptSet(
        Prompt("{query}|{answer}", opener, tag and "think"),
        Prompt("{query}|{answer}|{before}|{segment}|{after}", opener, tag),
        "",
    )
    layout = Layout("think", FakeTokenizer())
    settings = SearchConfig(candidates=1, first_samples=1)
    return Proposer(generator, lambda language: prompt_set, layout, settings, seed=3)


def rewrite(text, finish="stop", tag=None, opener=()):
    generator = Scripted(text, finish)
    [proposal], _ = asyncio.run(proposer(generator, tag, opener).rewrite(EXAMPLE, TRAJECTORY, 1, 1))
    return proposal, generator.request


def test_a_rewrite_shows_what_stands_around_the_segment():
    proposal, request = rewrite("<analyze>why</analyze><refine>\nNew words here.\n", tag="refine")
    assert request.messages[0].content == "QUERY|ANSWER text|First part of the plan.|Second part.|Third part."
    assert request.stop == ("</refine>",)
    assert (proposal.text, proposal.rejected) == ("New words here.\n\n", None)


@pytest.mark.parametrize(
    ("text", "finish", "tag", "rejected"),
    [
        ("no tag at all", "stop", "refine", "no_tag"),
        ("<refine>cut off in the", "length", "refine", "truncated"),
        ("<refine>  ", "stop", "refine", "empty"),
        ("<refine>with <think> inside", "stop", "refine", "tags"),
        ("<refine>Second part.", "stop", "refine", "identical"),
        ("word " * 200, "stop", None, "too_long"),
        ("no sentence ends", "length", None, "empty"),
    ],
)
def test_unusable_replies_have_a_reason(text, finish, tag, rejected):
    assert rewrite(text, finish, tag)[0].rejected == rejected


def test_a_plain_reply_continues_its_opener_and_ends_with_its_last_whole_sentence():
    proposal, request = rewrite(" go on. And then it st", "length", opener=("I will",))
    assert request.prefill == "I will"
    assert proposal.text == "I will go on.\n\n"


def test_a_first_trajectory_is_what_stands_in_the_think_block():
    generator = Scripted(" plan the text.\n", "stop")
    [proposal], _ = asyncio.run(proposer(generator, "refine", ("I",)).first(EXAMPLE, attempt=0))
    assert (generator.request.prefill, generator.request.stop) == ("<think>\nI", ("</think>",))
    assert (proposal.text, proposal.rejected) == ("I plan the text.", None)


def test_a_prompt_by_part_draws_a_sentence_for_each_share_of_the_answer():
    class Echo:
        async def generate(self, requests):
            shown = [(r.messages[0].content, r.prefill) for r in requests]
            seen.extend(shown)
            text = " with it. And more"
            return [[Response(text=text, finish_reason="length") for _ in r.seeds] for r in requests]

    seen = []
    prompt = Prompt("part {part}", ("I open", "Then I go on", "I end"), None)
    layout = Layout("think", FakeTokenizer())
    asking = Proposer(Echo(), lambda language: PromptSet(prompt, prompt, ""), layout, SearchConfig(), seed=3)
    example = Example(id="e", query="q", answer="Rain fell hard. Snow came down. Wind rose up.")
    proposals, _ = asyncio.run(asking.first(example, attempt=0))
    assert seen == [
        ("part Rain fell hard.", "I open"),
        ("part Snow came down.", "Then I go on"),
        ("part Wind rose up.", "I end"),
    ]
    assert {p.text for p in proposals} == {"I open with it. Then I go on with it. I end with it."}
    seen.clear()
    trajectory = Trajectory(("One here. ", "Two here. ", "Three here."))
    rewrites, _ = asyncio.run(asking.rewrite(example, trajectory, 2, 2))
    assert seen == [("part Wind rose up.", "I end")]
    assert {p.text for p in rewrites} == {"I end with it."}


def test_an_unusable_sentence_is_replaced_by_another_draw_of_its_place_and_kept_with_its_reason():
    class Uneven:
        async def generate(self, requests):
            [request] = requests
            texts = [" with snow.", " with"] if request.prefill == "I open" else [" on wind.", " on rain."]
            return [[Response(text=text, finish_reason="length") for text in texts]]

    prompt = Prompt("{part}", ("I open", "I end"), None)
    settings = SearchConfig(first_samples=2)
    layout = Layout("think", FakeTokenizer())
    asking = Proposer(Uneven(), lambda language: PromptSet(prompt, prompt, ""), layout, settings, seed=3)
    example = Example(id="e", query="q", answer="Snow came down. Wind rose up.")
    proposals, _ = asyncio.run(asking.first(example, attempt=0))
    assert [(p.text, p.rejected) for p in proposals] == [
        ("I open with snow. I end on wind.", None),
        ("I open with snow. I end on rain.", None),
        ("", "empty"),
    ]


def test_a_result_that_talks_of_the_request_is_refused():
    prompt = Prompt("{query}{answer}{before}{segment}{after}", (), None, frozenset({"passage", "这一段"}))
    layout = Layout("think", FakeTokenizer())
    for text, rejected in [
        ("This passage is short.", "prompt_residue"),
        ("A passing cloud.", None),
        ("我写这一段。", "prompt_residue"),
        ("我写一段。", None),
    ]:
        generator = Scripted(text, "stop")
        asking = Proposer(generator, lambda language: PromptSet(prompt, prompt, ""), layout, SearchConfig(), seed=3)
        proposals, _ = asyncio.run(asking.rewrite(EXAMPLE, TRAJECTORY, 1, 1))
        assert {p.rejected for p in proposals} == {rejected}


def test_seeds_depend_on_run_example_and_segment_only():
    def seeds(example, index):
        generator = Scripted("x y z.", "stop")
        asyncio.run(proposer(generator).rewrite(example, TRAJECTORY, 1, index))
        return generator.request.seeds

    other = Example(id="other", query="QUERY", answer="ANSWER text")
    assert seeds(EXAMPLE, 1) == seeds(EXAMPLE, 1)
    assert len({seeds(EXAMPLE, 1), seeds(EXAMPLE, 2), seeds(other, 1)}) == 3
