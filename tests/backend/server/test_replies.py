"""Replies taken apart: texts, parts, thinking, reasons why they end."""

import pytest

from reer.backend.server.replies import Said, read, sample_of, thinking_in, with_thinking, without_thinking
from reer.config import OpenAIBackendConfig
from reer.types import GenerateRequest, Message, Usage

CONFIG = OpenAIBackendConfig(model_name="m")
OPENER = "Alright, then."


def said(content, reasoning="", finish="stop"):
    return Said(content, reasoning, finish, Usage(calls=1), "m")


def choice(content, finish="stop", **more):
    reply = {"choices": [{"finish_reason": finish, "message": {"content": content} | more}]}
    [one] = read(reply, CONFIG)
    return one


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("plain", ("plain", "")),
        ([{"type": "text", "text": "a "}, {"type": "text", "text": "b"}], ("a b", "")),
        (["a ", {"type": "text", "text": "b"}], ("a b", "")),
        ([{"type": "output_text"}, {"text": "b"}], ("b", "")),
        (
            [{"type": "thinking", "thinking": [{"type": "text", "text": "I plan."}]}, {"text": "Rain."}],
            ("Rain.", "I plan."),
        ),
        ([{"type": "thinking", "thinking": "I plan."}], ("", "I plan.")),
        ([{"type": "image_url", "image_url": {"url": "x"}}, None, 7], ("", "")),
        ("half \ud83d of a pair", ("half ? of a pair", "")),
    ],
)
def test_parts_are_joined_and_thinking_kept_apart(content, expected):
    one = choice(content)
    assert (one.content, one.reasoning) == expected


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content", "thinking"])
def test_thinking_stands_in_fields_of_many_names(field):
    assert choice("Rain.", **{field: "I plan."}).reasoning == "I plan."
    assert choice(None, **{field: "I plan."}).content == ""
    assert choice("Rain.", reasoning=None, **{field: "I plan."} if field != "reasoning" else {}).content == "Rain."


@pytest.mark.parametrize(
    ("finish", "expected"),
    [("stop", "stop"), (None, "stop"), ("eos", "stop"), ("STOP", "stop"), ("length", "length"),
     ("MAX_TOKENS", "length"), ("model_length", "length"), ("abort", "broken_off"), ("error", "broken_off"),
     ("insufficient_system_resource", "broken_off"), ("SAFETY", "refused"), ("content_filter", "refused")],
)  # fmt: skip
def test_why_a_text_ended(finish, expected):
    one = choice("Rain.", finish)
    assert (one.finish if isinstance(one, Said) else one.kind) == expected


def test_a_text_cut_before_its_first_word_is_no_odd_reply():
    assert (choice(None, "length").content, choice("", "stop").content) == ("", "")


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 5}}, (4, 5, 3)),
        ({"prompt_tokens": 700, "completion_tokens": None, "prompt_tokens_details": None}, (700, 0, 0)),
        ({"prompt_tokens": "many", "completion_tokens": float("nan")}, (0, 0, 0)),
        ("none", (0, 0, 0)),
        (None, (0, 0, 0)),
    ],
)  # fmt: skip
def test_usage_is_read_as_far_as_it_is_there(usage, expected):
    [one] = read({"choices": [{"message": {"content": "a"}}], "usage": usage}, CONFIG)
    assert (one.usage.prefilled_tokens, one.usage.reused_tokens, one.usage.generated_tokens) == expected


@pytest.mark.parametrize(
    ("content", "reasoning", "expected", "closed"),
    [
        ("<think>\nAlright, then. I plan.\n</think>\n\nRain fell.", "", "Alright, then. I plan.", True),
        ("<think>\nI plan.\n</think>\n\nRain fell.", "", "I plan.", True),
        ("<think>A task.</think>\n<think>\nAlright, then. I plan.\n</think>", "", "Alright, then. I plan.", True),
        ("<think>Okay, a task.</think>\n\nAlright, then. I plan.", "", "Alright, then. I plan.", False),
        ("Okay, a task.</think>\n\nAlright, then. I plan.</think>", "", "Alright, then. I plan.", True),
        ("I plan.\n</think>\n\nRain fell.", "", "I plan.", True),
        ("<think>\nI plan, and pl", "", "I plan, and pl", False),
        ("Alright, then. I plan.", "Okay, a task.", "Alright, then. I plan.", False),
        ("<think>I plan.</think>", "Okay, a task.", "I plan.", True),
        ("Rain fell.", "I plan.", "I plan.", True),
        ("", "I plan, and pl", "I plan, and pl", False),
        ("I plan.", "", "I plan.", False),
    ],
)
def test_the_thinking_that_was_asked_for_is_found(content, reasoning, expected, closed):
    text, seen = thinking_in(said(content, reasoning), OPENER)
    assert (text.strip(), seen) == (expected, closed)


def test_a_think_block_that_ended_is_whole_whatever_was_cut_after_it():
    request = GenerateRequest(
        messages=(Message("user", "q"),), seeds=(1,), max_tokens=9, prefill=f"<think>\n{OPENER}", stop=("</think>",)
    )
    ended, open_ = (
        sample_of(said(text, finish="length"), request, continues=False)
        for text in ("<think>I plan.</think> Rain", "<think>I pl")
    )
    assert (ended.finish_reason, open_.finish_reason) == ("stop", "length")


@pytest.mark.parametrize(
    ("stops", "content", "expected"),
    [
        (("</refine>",), "<think>a <refine>no</refine></think>\n<refine>\nyes\n</refine>\nbye", "<refine>\nyes\n"),
        (("\n",), "<think>\nplan\n</think>\n\nI will write.\nMore.", "I will write."),
        (("\n",), "I will write.", "I will write."),
        (("</refine>",), "<think>never ends <refine>x</refine>", ""),
    ],
)
def test_stops_are_looked_for_behind_the_models_own_thinking(stops, content, expected):
    request = GenerateRequest(messages=(Message("user", "q"),), seeds=(1,), max_tokens=9, stop=stops)
    assert sample_of(said(content), request, continues=False).text == expected


def test_thinking_is_put_back_once_and_stays_open_without_an_answer():
    assert with_thinking("Rain.", "\nI plan.\n") == "<think>\nI plan.\n</think>\n\nRain."
    assert with_thinking("", "I plan, and") == "<think>\nI plan, and"
    assert with_thinking("<think>\nI plan.\n</think>\n\nRain.", "I plan.").count("I plan.") == 1
    assert with_thinking("Rain.", "") == "Rain."
    assert without_thinking("no block </think> here") == "no block </think> here"
