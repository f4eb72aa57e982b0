"""Templates that write a think block into the prompt themselves: there is one block, and it is the layout's."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from reer.backend.tokens.chat import ChatTokenizer
from reer.layout import Layout
from reer.types import Message

CONTROL = ["<|im_start|>", "<|im_end|>", "<think>", "</think>"]
LOOP = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
OPENS = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
BLOCKS = ["<think>\n\n</think>\n\n", "<think></think>", "<think>\n</think>\n", "</think>", "<think>\n", "<think>"]
PROMPT = "<|im_start|>user\nWrite.<|im_end|>\n<|im_start|>assistant\n"


def chat(byte_level, ends):
    return ChatTokenizer(byte_level(LOOP + OPENS + ends + "{% endif %}", CONTROL), "m")


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_in_the_prompt_is_left_to_the_layout(byte_level, block):
    tokenizer = chat(byte_level, "{{ " + repr(block) + " }}")
    encoded = Layout("think", tokenizer).encode("Write.", "plan", "Rain.")
    assert tokenizer.decode(encoded.ids) == PROMPT + "<think>\nplan\n</think>\n\nRain.<|im_end|>"
    bare = Layout("think", tokenizer).encode("Write.", None, "Rain.")
    assert tokenizer.decode(bare.ids) == PROMPT + "Rain.<|im_end|>"


@pytest.mark.parametrize("query", ["think", "<think>", "Write <think>\n\n</think>", "</think>\n", "assistant"])
def test_what_the_user_says_is_never_taken_for_the_templates_block(byte_level, query):
    for template in (LOOP, LOOP + OPENS + "{{ '<think>\n' }}{% endif %}"):
        said = template.replace("+ '<|im_end|>", "+ ('' if m.role == 'user' else '<|im_end|>') + '")
        tokenizer = ChatTokenizer(byte_level(said, [c for c in CONTROL if "im_" in c]), "m")
        assert f"user\n{query}" in tokenizer.decode(tokenizer.chat([Message("user", query)]))


@pytest.mark.parametrize("switch", ["enable_thinking", "thinking"])
def test_a_template_that_asks_whether_to_think_is_told_yes_and_it_is_said_once(byte_level, caplog, switch):
    ends = (
        "{% if " + switch + " is defined and " + switch + " %}{{ 'Think hard.<think>\n' }}"
        "{% else %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    )
    tokenizer = chat(byte_level, ends)
    assert tokenizer.decode(tokenizer.chat([Message("user", "Write.")])) == PROMPT + "Think hard."
    [line] = [record.getMessage() for record in caplog.records]
    assert "model m: its chat template puts an empty think block into every prompt" in line
    assert f'chat_template_kwargs={{"{switch}": true}}' in line


def test_nothing_is_said_where_no_block_is_closed(byte_level, caplog):
    chat(byte_level, "{{ '<think>\n' }}")
    chat(byte_level, "")
    assert not caplog.records


def test_qwen3_5_without_thinking_has_the_prompt_of_qwen3_5_with_thinking(byte_level):
    folder = Path(find_spec("trl").origin).parent / "chat_templates"
    ids = {}
    for name in ("qwen3_5_nothink", "qwen3_5_think"):
        template = (folder / f"{name}.jinja").read_text(encoding="utf-8")
        layout = Layout("think", ChatTokenizer(byte_level(template, CONTROL), name))
        history = (Message("system", "Rhyme."), Message("user", "Hi."), Message("assistant", "Hello."))
        ids[name] = layout.encode("Write.", "plan", "Rain.", history).ids
    assert ids["qwen3_5_nothink"] == ids["qwen3_5_think"]
