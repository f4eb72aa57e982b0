"""How texts become ids: exact spans, lossless, and refused where they would not be read back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reer.backend.fake import FakeTokenizer
from reer.config import LayoutConfig
from reer.errors import ConfigError, LayoutError, PromptError
from reer.layout import FRAMES, Layout, build_layout, load_instruction

PLAIN = st.text(min_size=1).filter(lambda t: t.strip() and "\0" not in t and "<" not in t)
layout = Layout("think", FakeTokenizer())


def text(ids):
    return bytes(i for i in ids if i < 256).decode()


@pytest.mark.parametrize("name", sorted(FRAMES))
@given(query=PLAIN, thinking=PLAIN, answer=PLAIN)
def test_spans_hold_exactly_their_parts(name, query, thinking, answer):
    layout = Layout(name, FakeTokenizer())
    encoded = layout.encode(query, thinking, answer)
    frame = FRAMES[name]
    assert encoded.ids[: encoded.thinking] == layout.prompt(query)
    block = f"{frame.before_thinking}{thinking}{frame.after_thinking}{frame.before_answer}"
    assert text(encoded.ids[encoded.thinking : encoded.answer]) == block
    assert text(encoded.ids[encoded.answer : encoded.end]) == answer
    assert encoded.ids[-1] == FakeTokenizer.end_of_turn
    assert encoded.answer_tokens == len(answer.encode())


@given(query=PLAIN, answer=PLAIN)
def test_without_thinking_the_answer_follows_the_prompt(query, answer):
    encoded = layout.encode(query, None, answer)
    assert encoded.thinking == encoded.answer == len(layout.prompt(query))


@given(query=PLAIN, thinking=PLAIN, answer=PLAIN)
def test_answer_tokens_are_the_same_for_every_thinking(query, thinking, answer):
    one, other = layout.encode(query, None, answer), layout.encode(query, thinking, answer)
    assert one.ids[one.answer : one.end] == other.ids[other.answer : other.end]


def test_training_supervises_thinking_answer_and_end_of_turn_and_the_scorer_counts_the_answer():
    encoded = layout.encode("q", "z", "y")
    supervised = [i for i, m in zip(encoded.ids, encoded.completion_mask(), strict=True) if m]
    assert text(supervised) == "<think>\nz\n</think>\n\ny"
    assert supervised[-1] == FakeTokenizer.end_of_turn
    request = encoded.score_request()
    assert text(request.ids[request.start : request.end]) == "y"
    assert request.end == len(request.ids)


def test_the_objective_reaches_the_scorer_and_changes_nothing_else():
    encoded = layout.encode("q", "z", "yyyy")
    plain, shaped = encoded.score_request(), encoded.score_request(skip=2, clip=1.5)
    assert (plain.skip, plain.clip) == (0, None)
    assert (shaped.skip, shaped.clip) == (2, 1.5)
    assert (shaped.ids, shaped.start, shaped.end) == (plain.ids, plain.start, plain.end)


@pytest.mark.parametrize(("query", "words"), [("Write of rain.", "writing task"), ("写一写雨。", "写作任务")])
def test_an_instruction_stands_around_the_query_and_leaves_thinking_and_answer_as_they_are(query, words):
    bare = build_layout(LayoutConfig(name="answer_tags"), FakeTokenizer())
    wrapped = build_layout(LayoutConfig(name="answer_tags", instruction="default"), FakeTokenizer())
    shown = load_instruction("default")(query)
    assert wrapped.user_turn(query) == shown != query == bare.user_turn(query)
    one, other = bare.encode(query, "z", "y"), wrapped.encode(query, "z", "y")
    assert text(other.ids[: other.thinking]) == f"user: {shown}assistant: "
    assert words in text(other.ids[: other.thinking])
    assert text(one.ids[: one.thinking]) == f"user: {query}assistant: "
    assert one.ids[one.thinking :] == other.ids[other.thinking :]
    assert one.answer_tokens == other.answer_tokens == 1


def test_an_instruction_that_cannot_be_used_is_named_when_the_layout_is_built(tmp_path):
    with pytest.raises(PromptError, match="nowhere.md: cannot be read"):
        build_layout(LayoutConfig(instruction=str(tmp_path / "nowhere.md")), FakeTokenizer())
    mine = tmp_path / "mine.md"
    mine.write_text("Think. <|end|> {query}")
    with pytest.raises(ConfigError, match=r"layout.instruction=.*mine.md: .*control token <\|end\|>"):
        build_layout(LayoutConfig(instruction=str(mine)), FakeTokenizer())
    with pytest.raises(ConfigError, match="layout.name=official is unknown"):
        build_layout(LayoutConfig(name="official"), FakeTokenizer())


@pytest.mark.parametrize(
    ("query", "thinking", "answer", "message"),
    [
        ("q", "z", " \n", "the answer is empty"),
        ("q", "", "y", "the thinking is empty"),
        ("q\0", "z", "y", "the query holds a NUL byte"),
        ("q", "z</think>", "y", "the thinking holds the tag </think>"),
        ("q", "z", "y <|end|>", "the answer holds the model's control token <|end|>"),
    ],
)
def test_texts_that_would_be_read_as_something_else_are_refused(query, thinking, answer, message):
    with pytest.raises(LayoutError, match=message.replace("|", r"\|")):
        layout.encode(query, thinking, answer)


@pytest.mark.parametrize(
    ("reply", "thinking", "answer", "well_formed"),
    [
        ("<think>\nplan\n</think>\n\nText.", "plan", "Text.", True),
        ("Text.", None, "Text.", False),
        ("<think>\nplan", "<think>\nplan", "", False),
        ("plan</think>Text.", "plan", "Text.", False),
        ("<think>\n\n</think>\n\nText.", "", "Text.", False),
        ("<think>plan</think>", "plan", "", False),
        ("<think>a</think>b</think>c", "a", "b</think>c", False),
    ],
)
def test_replies_are_taken_apart(reply, thinking, answer, well_formed):
    found = layout.parse(reply)
    assert (found.thinking, found.answer, found.well_formed) == (thinking, answer, well_formed)


def test_answer_tags_are_taken_off():
    assert Layout("answer_tags", FakeTokenizer()).parse("<think>p</think>\n<answer>\nT.\n</answer>").answer == "T."


def test_an_unknown_layout_is_named():
    with pytest.raises(ConfigError, match="layout.name=zigzag is unknown: choose one of answer_tags, think"):
        Layout("zigzag", FakeTokenizer())
