"""A drawn query is taken, or refused under the name of the check that it does not pass; what is recorded is not drawn
again."""

import asyncio

import pytest

from collect.ask.asking import Asker, about, verdict
from collect.ask.weighing import Weigher, is_own, other_query
from collect.ask.wording import load_wording
from reer.backend.fake import FakeScorer
from reer.config import AskConfig, FakeBackendConfig
from reer.errors import PromptError
from reer.layout import Layout
from reer.types import Example, Failed, Response, Usage

PASSAGE = Example(
    id="p",
    query="",
    answer="The lamp went out before the boat came home to the little harbour, and nobody in the village spoke of it.",
)
GOOD = " a sad tale of fishermen for grown readers, calm in tone, near 20 words, with no speech in it.\n"


class Said:
    """A generator that says what it is told, in turn; a judge's reply is a draw too."""

    def __init__(self, *replies):
        self.replies, self.requests = list(replies), []

    async def generate(self, requests):
        self.requests += requests
        reply = self.replies.pop(0)
        usage = Usage(calls=1, generated_tokens=5)
        draw = Response(text=reply, finish_reason="stop", usage=usage) if isinstance(reply, str) else reply
        return [[draw]]


def tagged(query):
    return Response(text=f"Here it is:\n<task>\n{query}\n</task>", finish_reason="stop", whole=True)


def ask(*replies, recorded=(), passage=PASSAGE, **settings):
    said = Said(*replies)
    config = AskConfig(**{"min_fit": None, "attempts": 1} | settings)
    asker = Asker(said, lambda language: load_wording("standard", language), config, 0)

    async def all_of():
        return [event async for event in asker.run(passage, recorded)]

    return asyncio.run(all_of()), said


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (GOOD, None),
        (" it.", "too_short"),
        (" a tale of fishermen, <b>calm</b> in tone.", "tags"),
        (" a tale as calm in tone as this passage is.", "prompt_residue"),
        (" a sketch of a workman. The text highlights the folly of men.", "prompt_residue"),
        (" something on the theme of the text you provided.", "prompt_residue"),
        (" a sad tale of fishermen. The text should be calm and describe the harbour.", None),
        (" a tale that begins: the lamp went out before the boat came home to the little harbour.", "leaked"),
        (" the kind of piece, the audience, the tone, a size near that, and one or two conditions.", "echo"),
        ("写一篇关于渔民的故事，语气平静，给成年人读，不要对话，大约二百字，结尾留有余味。", "wrong_language"),
        (Response(text=f" x{GOOD}", finish_reason="length"), "truncated"),
        (Response(text="A tale of fishermen.", finish_reason="stop", whole=True), "no_tag"),
        (Failed(faults=("refused: I will not",)), "refused"),
    ],
)
def test_every_check_refuses_under_its_name(reply, reason):
    [event], _ = ask(reply)
    assert event.rejected == reason


def test_a_reply_that_is_a_turn_of_its_own_is_taken_out_of_its_tags():
    whole = Response(
        text="Here it is:\n<task>\nWrite a sad tale of fishermen.\n</task>", finish_reason="stop", whole=True
    )
    [event], _ = ask(whole)
    assert (event.text, event.rejected) == ("Write a sad tale of fishermen.", None)


@pytest.mark.parametrize(
    ("reply", "fit", "reason"),
    [('{"fit": 5}', 5, None), ('{"fit": 3}', 3, "judged"), ("4", 4, None), ("I cannot say.", None, "no_verdict")],
)
def test_a_second_call_says_how_well_the_passage_answers(reply, fit, reason):
    [event], said = ask(GOOD, reply, min_fit=4)
    assert (event.fit, event.rejected, event.usage.calls) == (fit, reason, 2)
    assert PASSAGE.answer in said.requests[1].messages[0].content


@pytest.mark.parametrize(
    ("reply", "fit"),
    [
        ('{"fit": 2}', 2),
        ('{"fit": "4"}', 4),
        ('{"fit": "all of it"}', None),
        ('{"fit": 9}', None),
        ('{"fit": true}', None),
        ("1-5", None),
        ("fit: 3, since", 3),
        ("", None),
    ],
)
def test_a_verdict_is_read_only_where_it_can_be_told(reply, fit):
    assert verdict(reply) == fit


def test_draws_end_when_enough_are_taken_and_what_is_recorded_is_not_drawn_again():
    first, second = (tagged(f"Write a sad tale of {who} for grown readers.") for who in ("fishermen", "sailors"))
    events, said = ask(first, first, second, queries=2, attempts=3)
    assert [event.rejected for event in events] == [None, "identical", None]
    rest, later = ask(second, queries=2, attempts=3, recorded=events[:2])
    assert (rest, later.requests) == (events[2:], said.requests[2:])
    assert ask(recorded=events, queries=2, attempts=3)[0] == []


def test_the_prompt_names_a_length_in_round_numbers_and_speaks_the_language_of_the_passage():
    assert (about("word " * 23), about("word " * 437)) == ("20", "450")
    chinese = Example(id="z", query="", answer="灯灭了，船还没有回来。" * 5, language="zh")
    _, said = ask("关于渔民的故事，语气平静，给成年人读，不要对话。", passage=chinese)
    assert "补出来" in said.requests[0].messages[0].content


def test_a_passage_is_weighed_under_its_own_query_and_anothers():
    scorer = FakeScorer(FakeBackendConfig())
    weigher = Weigher(scorer, Layout("think", scorer.tokenizer))
    pair = Example(id="p", query="The lamp, the boat, the village.", answer=PASSAGE.answer, extra={"other": "Prove."})

    async def one():
        return [event async for event in weigher.run(pair)]

    [weighed] = asyncio.run(one())
    assert is_own(weighed)
    assert weighed.nll < weighed.nll_other
    assert weighed.other == "Prove."


def test_the_other_query_is_never_the_passages_own():
    queries = {"a": "A?", "b": "B?", "c": "C?"}
    assert all(other_query(name, queries, seed) != queries[name] for name in queries for seed in range(20))
    assert other_query("a", {"a": "A?"}, 0) is None


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("name", ["standard", "small"])
def test_every_set_of_prompts_opens_a_request_that_its_own_checks_let_through(name, language):
    wording = load_wording(name, language)
    assert wording.query.openers
    assert all(not wording.query.talks_of_itself(opener) for opener in wording.query.openers)
    assert "{answer}" not in wording.fit.render(query="q", answer="a")


def test_a_set_of_prompts_that_is_not_there_is_refused():
    with pytest.raises(PromptError, match=r"ask\.prompts=mine: there is no folder"):
        load_wording("mine", "en")
