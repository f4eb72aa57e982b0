"""What the generator is asked, and how its replies are read."""

import asyncio

import pytest

from reer.backend.fake import FakeTokenizer
from reer.config import LeakConfig, SearchConfig
from reer.layout import Layout
from reer.method.prompts import Prompt, PromptSet
from reer.method.propose import Proposer
from reer.types import Example, Message, Response, Trajectory, Usage

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
        ("It rose to 3.5 shillings while the", "length", None, "empty"),
        ("how the arrival of Mr. Bingley stirs the", "length", None, "empty"),
        ("how it begins with the arrival of Mr.", "length", None, "empty"),
        (" … .", "stop", None, "empty"),
        ("<refine> … .", "stop", "refine", "empty"),
    ],
)
def test_unusable_replies_have_a_reason(text, finish, tag, rejected):
    assert rewrite(text, finish, tag)[0].rejected == rejected


def test_a_plain_reply_continues_its_opener_and_ends_with_its_last_whole_sentence():
    proposal, request = rewrite(" go on. And then it st", "length", opener=("I will",))
    assert request.prefill == "I will"
    assert proposal.text == "I will go on.\n\n"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("“Go on!” said he. “I wi", "“Go on!” said he."),
        ("It cost 3.5 shillings. And th", "It cost 3.5 shillings."),
        ("It is cold…", "It is cold…"),
        ("It is late. He said “Go!” and th", "It is late."),
        ("雪落下来了。“走吧！”他说", "雪落下来了。“走吧！”"),
        ("雪落下来了……", "雪落下来了……"),
    ],
)
def test_of_a_reply_that_was_cut_the_whole_sentences_are_kept(text, kept):
    assert rewrite(text, "length")[0].text.strip() == kept


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


@pytest.mark.parametrize(("text", "whole"), [("", False), (" \n", False), ("", True), ("I will", True)])
def test_an_opener_alone_is_no_reply(text, whole):
    class Silent:
        async def generate(self, requests):
            return [
                [Response(text=text, finish_reason="stop", whole=whole) for _ in request.seeds] for request in requests
            ]

    [proposal], _ = asyncio.run(proposer(Silent(), opener=("I will",)).rewrite(EXAMPLE, TRAJECTORY, 1, 1))
    assert proposal.rejected == "empty"


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


class Planner:
    """A plan for the request that ends at </skeleton>, thinking for the one that shows it."""

    def __init__(self, plans, thinking=" plan the rain.\n"):
        self.plans, self.thinking, self.requests = plans, thinking, []

    async def generate(self, requests):
        [request] = requests
        self.requests.append(request)
        if "</skeleton>" in request.stop:
            return [[Response(text=text, finish_reason=finish, usage=Usage(calls=1)) for text, finish in self.plans]]
        return [[Response(text=self.thinking, finish_reason="stop", usage=Usage(calls=1, generated_tokens=7))]]


def planning(generator, openers=("I", "We", "So"), attempt=0, example=EXAMPLE):
    prompt_set = PromptSet(
        Prompt("initial", (), None),
        Prompt("rewrite", (), None),
        "",
        Prompt("plan {query}|{answer}", (), "skeleton"),
        Prompt("think {query}|{skeleton}", openers, "think"),
    )
    settings = SearchConfig(start="skeleton", first_samples=max(1, len(generator.plans)))
    asking = Proposer(generator, lambda language: prompt_set, Layout("think", FakeTokenizer()), settings, seed=3)
    return asyncio.run(asking.first(example, attempt))


def test_the_thinking_is_drawn_from_the_plan_without_sight_of_the_answer():
    generator = Planner([("<skeleton>\n1. Rain comes.\n", "stop"), ("<skeleton>2. Rain goes.", "stop")])
    proposals, usage = planning(generator, openers=("I",))
    plan, *expansions = generator.requests
    assert plan.messages[0].content == "plan QUERY|ANSWER text"
    assert (plan.stop, plan.prefill, len(set(plan.seeds))) == (("</skeleton>",), "", 2)
    shown = [request.messages[0].content for request in expansions]
    assert shown == ["think QUERY|1. Rain comes.", "think QUERY|2. Rain goes."]
    assert all("ANSWER" not in str(request) for request in expansions)
    assert {(request.stop, request.prefill) for request in expansions} == {(("</think>",), "<think>\nI")}
    assert len({seed for request in generator.requests for seed in request.seeds}) == 4
    assert [(p.text, p.rejected) for p in proposals] == [("I plan the rain.", None)] * 2
    assert usage == Usage(calls=4, generated_tokens=14)


def test_an_unusable_plan_is_a_refused_proposal_and_is_never_expanded():
    generator = Planner([("<skeleton>1. Rain co", "length"), ("<skeleton>1. Rain.", "stop"), ("none", "stop")])
    proposals, _ = planning(generator)
    assert [p.rejected for p in proposals] == ["skeleton: truncated", None, "skeleton: no_tag"]
    assert len(generator.requests) == 2
    proposals, usage = planning(generator := Planner([("<skeleton>1. Rain co", "length")]))
    assert (proposals[0].text, proposals[0].rejected) == ("1. Rain co", "skeleton: truncated")
    assert len(generator.requests) == usage.calls == 1


def test_the_thinking_of_a_plan_is_checked_like_any_other():
    for thinking, rejected in [("rain", None), ("with <answer> inside", "tags")]:
        [proposal], _ = planning(Planner([("<skeleton>1. Rain.", "stop")], thinking))
        assert proposal.rejected == rejected


def test_openers_and_seeds_differ_by_example_and_attempt():
    def drawn(id_, attempt=0):
        generator = Planner([("<skeleton>1. Rain.", "stop")])
        planning(generator, attempt=attempt, example=Example(id=id_, query="QUERY", answer="ANSWER text"))
        return [(request.prefill, request.seeds) for request in generator.requests]

    assert drawn("e") == drawn("e")
    seeds = [seeds for _, seeds in drawn("e") + drawn("f") + drawn("e", attempt=1)]
    assert len(set(seeds)) == 6
    assert {drawn(f"e{n}")[1][0] for n in range(20)} == {"<think>\nI", "<think>\nWe", "<think>\nSo"}


def test_a_first_trajectory_in_one_go_opens_differently_by_example():
    prefills = set()
    for n in range(20):
        generator = Scripted(" plan the text.\n", "stop")
        example = Example(id=str(n), query="QUERY", answer="ANSWER text")
        asyncio.run(proposer(generator, "refine", ("I", "We", "So")).first(example, attempt=0))
        prefills.add(generator.request.prefill)
    assert prefills == {"<think>\nI", "<think>\nWe", "<think>\nSo"}


EDITOR = proposer(None)


def edited(trajectory, index, operation):
    proposal = EDITOR.edit(EXAMPLE, Trajectory(trajectory), index, operation)
    return proposal.text, proposal.rejected


def test_a_deletion_is_an_empty_text_and_a_merge_one_paragraph():
    paragraphs = ("One.\n\n", "Two.\n\n", "Three.")
    assert edited(paragraphs, 1, "delete") == ("", None)
    assert edited(paragraphs, 0, "merge") == ("One. Two.\n\n", None)
    assert edited(paragraphs, 1, "merge") == ("Two. Three.", None)
    assert edited(("雨来了。\n\n", "  雪落下。\n"), 0, "merge") == ("雨来了。雪落下。\n", None)
    assert edited(("  Lead.\n", "Two."), 0, "merge") == ("  Lead. Two.", None)


def test_an_edit_that_changes_nothing_or_makes_a_trajectory_unusable_is_refused():
    assert edited(("One. ", "Two."), 0, "merge") == ("One. Two.", "identical")
    assert edited(("雨来了。", "雪落下。"), 0, "merge") == ("雨来了。雪落下。", "identical")
    example = Example(id="e", query="q", answer="one two three four five six seven eight nine ten eleven twelve")
    halves = ("one two three four five six\n\n", "no, \n\n", "seven eight nine ten eleven twelve")
    settings = SearchConfig(leak=LeakConfig(longest_run=6, containment=1.0))
    asking = Proposer(None, None, Layout("think", FakeTokenizer()), settings, seed=3)
    assert asking.edit(example, Trajectory(halves), 1, "delete").rejected == "leak"
    assert asking.edit(example, Trajectory(halves), 0, "delete").rejected is None


@pytest.mark.parametrize("history", [(), (Message("system", "Rhyme."), Message("user", "Of cats."))])
def test_every_prompt_shows_the_conversation_and_a_lone_query_as_it_is(history):
    example = Example(id="e", query="Sadder.", answer="ANSWER text", history=history)
    generator = Scripted("text", "stop")
    asking = proposer(generator)
    asyncio.run(asking.first(example, 0))
    first = generator.request.messages[0].content.removesuffix("|ANSWER text")
    asyncio.run(asking.rewrite(example, TRAJECTORY, 1, 1))
    assert generator.request.messages[0].content.startswith(f"{first}|ANSWER text|First part")
    head, _, _ = first.partition("\n\n")
    echoing = proposer(Scripted(f"I plan. {head}", "stop"))
    [proposal], _ = asyncio.run(echoing.rewrite(example, TRAJECTORY, 1, 1))
    assert proposal.rejected == ("echo" if history else None)  # the heading is ours, the turns are theirs
    if history:
        assert first.endswith("[System]\nRhyme.\n\n[User]\nOf cats.\n\n[User]\nSadder.")
    else:
        assert first == "Sadder."
