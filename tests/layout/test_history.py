"""The turns before the query: laid out by the model's own template, checked like the query, shown to readers."""

import pytest

from reer.backend.fake import FakeTokenizer
from reer.backend.models import load_tokenizer
from reer.config import LayoutConfig, ModelConfig
from reer.errors import LayoutError
from reer.layout import Layout, build_layout, conversation
from reer.types import Message

PIRATE = (
    Message("system", "You are a pirate poet. Always rhyme."),
    Message("user", "Write four lines about my cat Biscuit."),
    Message("assistant", "Biscuit sails the kitchen floor / and plunders crumbs beside the door."),
)
QUERY, THINKING, ANSWER = "Make it sadder.", "I begin with snow.", "Old Biscuit sleeps beneath the snow."
layout = Layout("think", FakeTokenizer())


@pytest.fixture(scope="module")
def tiny(tiny_model):
    return load_tokenizer(ModelConfig(path=str(tiny_model)))


def test_the_prompt_is_the_models_template_over_the_whole_conversation(tiny):
    encoded = Layout("think", tiny).encode(QUERY, THINKING, ANSWER, PIRATE)
    chat = [{"role": turn.role, "content": turn.content} for turn in (*PIRATE, Message("user", QUERY))]
    own = tiny.hf.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
    assert list(encoded.ids[: encoded.thinking]) == own
    assert tiny.hf.decode(encoded.ids) == (
        "<|im_start|>system\nYou are a pirate poet. Always rhyme.<|im_end|>\n"
        "<|im_start|>user\nWrite four lines about my cat Biscuit.<|im_end|>\n"
        "<|im_start|>assistant\nBiscuit sails the kitchen floor / and plunders crumbs beside the door.<|im_end|>\n"
        "<|im_start|>user\nMake it sadder.<|im_end|>\n"
        "<|im_start|>assistant\n<think>\nI begin with snow.\n</think>\n\n"
        "Old Biscuit sleeps beneath the snow.<|im_end|>"
    )


def test_thinking_and_answer_are_the_same_ids_whatever_came_before(tiny):
    alone, after = (Layout("think", tiny).encode(QUERY, THINKING, ANSWER, turns) for turns in ((), PIRATE))
    assert alone.ids[alone.thinking :] == after.ids[after.thinking :]
    assert alone.completion_mask()[alone.thinking :] == after.completion_mask()[after.thinking :]
    assert not any(after.completion_mask()[: after.thinking])


def test_an_instruction_stands_around_the_last_turn_alone():
    wrapped = build_layout(LayoutConfig(name="answer_tags", instruction="default"), FakeTokenizer())
    turns = wrapped.turns(QUERY, PIRATE)
    assert turns[:-1] == PIRATE
    assert turns[-1] == Message("user", wrapped.user_turn(QUERY))


def test_what_earlier_answers_were_thought_up_with_is_no_part_of_the_prompt():
    thought = Message("assistant", "<think>\nA cat.\n</think>\n\nBiscuit sails.")
    mentions = Message("assistant", "The mark </think> ends it, <think> begins it.")
    said = Message("user", "<think>\nno\n</think>\n\nGo on.")
    assert layout.turns("q", (thought, mentions, said))[:-1] == (
        Message("assistant", "Biscuit sails."),
        mentions,
        said,
    )
    spoken = (Message("assistant", "Biscuit sails."),)
    assert conversation.shown("q", (thought,)) == conversation.shown("q", spoken)


@pytest.mark.parametrize(
    ("turn", "message"),
    [
        (Message("system", "Stop at <|end|>."), r"the system turn before the query holds .* control token <\|end\|>"),
        (Message("user", "a\0"), "the user turn before the query holds a NUL byte"),
        (Message("assistant", " \n"), "the assistant turn before the query is empty"),
        (Message("assistant", "<think>\nonly\n</think>\n"), "the assistant turn before the query is empty"),
    ],
)
def test_earlier_turns_are_checked_like_the_query(turn, message):
    with pytest.raises(LayoutError, match=message):
        layout.prompt("q", (turn,))


def test_an_empty_system_turn_is_one_and_keeps_a_templates_own_away():
    assert layout.prompt("q", (Message("system", ""),)) != layout.prompt("q")


def test_a_reader_sees_every_turn_under_its_speaker_and_a_lone_query_as_it_is():
    assert conversation.shown(QUERY, ()) == QUERY
    assert conversation.shown(QUERY, PIRATE) == (
        "A conversation. The last turn is what is asked for now; the turns before it are given.\n\n"
        "[System]\nYou are a pirate poet. Always rhyme.\n\n"
        "[User]\nWrite four lines about my cat Biscuit.\n\n"
        "[Assistant]\nBiscuit sails the kitchen floor / and plunders crumbs beside the door.\n\n"
        "[User]\nMake it sadder."
    )
    chinese = conversation.shown("再悲伤些。", (Message("system", "你是诗人。"),), "zh")
    assert chinese.startswith("一段对话。")
    assert "[系统]\n你是诗人。\n\n[用户]\n再悲伤些。" in chinese
    assert conversation.shown("q", PIRATE, "fr") == conversation.shown("q", PIRATE)
