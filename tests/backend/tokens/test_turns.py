"""What ends an assistant's turn, under chat templates of every shape that is about."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from reer.backend.tokens.chat import ChatTokenizer
from reer.errors import LayoutError, ModelError
from reer.layout import Layout
from reer.types import Message

LOOP = "{% for m in messages %}"
USER = "{% if m['role'] == 'user' %}"
LLAMA_2 = (
    "{{ bos_token }}" + LOOP + USER + "{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'] + ' ' + eos_token }}{% endif %}{% endfor %}"
)
ZEPHYR = (
    LOOP + "{{ '<|' + m['role'] + '|>\n' + m['content'] + eos_token + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}" + LOOP + USER + "{{ '[INST] ' + m['content'] + '[/INST]' }}"
    "{% else %}{{ ' ' + m['content'] | trim + eos_token }}{% endif %}{% endfor %}"
)
BETWEEN = (
    LOOP
    + USER
    + "{{ 'USER: ' + m['content'] + ' ASSISTANT:' }}{% else %}{{ ' ' + m['content'] }}"
    + ("{% if not loop.last %}{{ eos_token }}{% endif %}{% endif %}{% endfor %}")
)
NEW_LINE_FIRST = LOOP + "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '\n\n <|im_end|>\n' }}{% endfor %}"
ALPACA = (
    LOOP + USER + "{{ '### Instruction:\n' }}{% else %}{{ '### Response:\n' }}{% endif %}{{ m['content'] + '\n\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '### Response:\n' }}{% endif %}"
)
VICUNA = (
    LOOP
    + USER
    + "{{ 'USER: ' + m['content'] }}{% else %}{{ ' ASSISTANT: ' + m['content'] + ' ' }}{% endif %}"
    + ("{% endfor %}{% if add_generation_prompt %}{{ ' ASSISTANT:' }}{% endif %}")
)
CHATML = LOOP + "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
SIGNED = LOOP + "{{ m['content'] + ' -- over' + eos_token }}{% endfor %}"
PARTS = LOOP + "{% for part in m['content'] %}{{ part.text }}{% endfor %}{{ eos_token }}{% endfor %}"


def trl(name):
    return (Path(find_spec("trl").origin).parent / "chat_templates" / f"{name}.jinja").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("template", "end"),
    [
        (LLAMA_2, "</s>"),
        (ZEPHYR, "</s>"),
        (MISTRAL, "</s>"),
        (BETWEEN, "</s>"),
        (NEW_LINE_FIRST, "<|im_end|>"),
        (trl("llama3"), "<|eot_id|>"),
        (trl("llama3_2"), "<|eot_id|>"),
        (trl("gemma3"), "<end_of_turn>"),
        (trl("gemma4_v5"), "<turn|>"),
        (trl("phi3"), "<|end|>"),
        (trl("deepseekv3"), "<｜end▁of▁sentence｜>"),
        (trl("gptoss"), "<|return|>"),
        (trl("cohere"), "<|END_OF_TURN_TOKEN|>"),
        (trl("glm4moe"), "<|user|>"),  # it closes no turn: GLM's own settings stop at the next one's header
        (trl("qwen2_5"), "<|im_end|>"),
    ],
)
def test_a_turn_ends_on_the_control_token_behind_the_words(byte_level, template, end):
    control = [end, "<|im_start|>", "<start_of_turn>", "<|end_header_id|>", "<｜User｜>", "<|start|>", "[INST]"]
    tokenizer = byte_level(template, [text for text in dict.fromkeys(control) if text != "</s>"])
    found = ChatTokenizer(tokenizer, "m")
    assert tokenizer.convert_ids_to_tokens(found.end_of_turn) == end
    encoded = Layout("think", found).encode("Write.", "plan", "One. Two.\n\nThree.")
    assert encoded.ids[-1] == found.end_of_turn
    assert encoded.ids[: encoded.end].count(found.end_of_turn) == found.chat([Message("user", "?")]).count(
        found.end_of_turn
    )


def test_a_token_counts_that_was_added_without_being_called_special_and_blanks_that_were_do_not(byte_level):
    tokenizer = byte_level(NEW_LINE_FIRST, ["<|im_start|>"], plain=["\n\n", "<|im_end|>"])
    found = ChatTokenizer(tokenizer, "m")
    assert tokenizer.convert_ids_to_tokens(found.end_of_turn) == "<|im_end|>"
    with pytest.raises(LayoutError, match=r"the answer holds the model's control token <\|im_end\|>"):
        Layout("think", found).encode("Write.", "plan", "Rain. <|im_end|>")


@pytest.mark.parametrize(
    ("template", "why"),
    [
        (ALPACA, r"no control token \(what follows is '### Instruction:"),
        (VICUNA, r"no control token \(what follows is 'USER: \?'\)"),
        (CHATML, r"no control token \(what follows is '<\|im_end\|>\\n'\)"),  # the tokenizer has no such token
        (SIGNED, r"no control token \(what follows is '-- over</s>'\)"),
        (PARTS, "cannot be used|does not write what an assistant says"),
        ("{{ raise_exception('only with tools') }}", "refuses these turns: only with tools"),
        ("{% for m in messages %}", "chat template cannot be used"),
    ],
)
def test_a_template_that_ends_no_turn_is_refused_in_one_sentence(byte_level, template, why):
    with pytest.raises(ModelError, match=why) as refused:
        ChatTokenizer(byte_level(template), "mine")
    assert str(refused.value).startswith("model mine: ")
    assert "\n" not in str(refused.value)


def test_a_template_that_refuses_or_leaves_out_a_turn_refuses_that_pair(byte_level):
    turns = [Message("system", "Rhyme."), Message("user", "Write.")]
    strict = ChatTokenizer(byte_level(trl("gemma"), ["<end_of_turn>"]), "m")
    with pytest.raises(LayoutError, match="refuses these turns: System role not supported"):
        strict.chat(turns)
    deaf = CHATML.replace("{{", "{% if m['role'] != 'system' %}{{").replace("}}", "}}{% endif %}")
    with pytest.raises(LayoutError, match="leaves the system turn out"):
        ChatTokenizer(byte_level(deaf, ["<|im_end|>"]), "m").chat(turns)
