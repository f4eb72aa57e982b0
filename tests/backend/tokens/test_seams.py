"""Parts that are tokenised apart: text in, text out, whatever kind of tokenizer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reer.backend.models import load_tokenizer
from reer.backend.tokens.chat import ChatTokenizer
from reer.config import ModelConfig
from reer.errors import LayoutError, ModelError
from reer.layout import Layout
from reer.types import Message

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% else %}{{ m['content'] + eos_token }}{% endif %}{% endfor %}"
)
KINDS = {
    "first": {"scheme": "first"},
    "first, split": {"scheme": "first", "split": True},
    "always": {"scheme": "always"},
    "always, split": {"scheme": "always", "split": True},
    "never": {"scheme": "never"},
    "legacy Llama": {"legacy": True},
}
PLAIN = st.text(min_size=1).filter(lambda t: t.strip() and not set("\0<▁") & set(t))


@pytest.mark.parametrize("kind", KINDS)
def test_thinking_and_answer_come_back_as_they_went_in(sentencepiece, kind):
    tokenizer = ChatTokenizer(sentencepiece(TEMPLATE, **KINDS[kind]), "m")
    layout = Layout("think", tokenizer)

    @given(thinking=PLAIN, answer=PLAIN)
    def check(thinking, answer):
        encoded = layout.encode("Write.", thinking, answer)
        assert tokenizer.decode(encoded.ids[encoded.answer : encoded.end]) == answer
        block = f"<think>\n{thinking}\n</think>\n\n{answer}</s>"
        assert tokenizer.decode(encoded.ids[encoded.thinking :]) == block
        assert tokenizer.decode(encoded.ids).endswith("[INST] Write. [/INST]" + block)

    check()


@pytest.mark.parametrize("kind", KINDS)
def test_the_prompt_is_that_of_transformers_itself(sentencepiece, kind):
    hf = sentencepiece(TEMPLATE, **KINDS[kind])
    own = hf.apply_chat_template([{"role": "user", "content": "the theme"}], return_dict=False)
    assert list(ChatTokenizer(hf, "m").chat([Message("user", "the theme")])) == own


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_that_goes_on_keeps_its_blank(sentencepiece, kind):
    tokenizer = ChatTokenizer(sentencepiece(TEMPLATE, **KINDS[kind]), "m")
    ids = tokenizer.encode("I begin the theme")
    for at in range(len(ids)):
        assert tokenizer.decode(ids[:at]) + tokenizer.decode(ids[at:]) == "I begin the theme"


def test_merges_are_those_of_the_tokenizer_itself(sentencepiece):
    hf = sentencepiece(TEMPLATE, scheme="always")
    assert hf.convert_ids_to_tokens(ChatTokenizer(hf, "m").encode("the the")) == ["th", "e", "▁th", "e"]
    assert hf.convert_ids_to_tokens(hf.encode("the the", add_special_tokens=False)) == ["▁th", "e", "▁th", "e"]


def test_a_byte_level_tokenizer_that_puts_a_blank_first_does_not_between_parts(byte_level):
    from tokenizers import pre_tokenizers

    hf = byte_level(TEMPLATE)
    plain = ChatTokenizer(byte_level(TEMPLATE), "m").encode("Rain.")
    hf.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    assert ChatTokenizer(hf, "m").encode("Rain.") == plain


def test_a_character_without_a_token_is_named_and_refused(sentencepiece):
    layout = Layout("think", ChatTokenizer(sentencepiece(TEMPLATE, fallback=False), "m"))
    layout.encode("Write.", "plan", "Rain.")
    with pytest.raises(LayoutError, match="the model's tokenizer has no token for '雨'"):
        layout.encode("Write.", "plan", "Rain: 雨.")


def test_a_tokenizer_that_changes_texts_is_refused(byte_level):
    from tokenizers import normalizers

    hf = byte_level(TEMPLATE)
    hf.backend_tokenizer.normalizer = normalizers.Replace("  ", " ")
    with pytest.raises(ModelError, match=r"model m: its tokenizer does not give texts back as they were: 'a e"):
        ChatTokenizer(hf, "m")


def test_a_tokenizer_whose_seams_hold_is_used_as_it_is(tiny_model):
    """Ids of models that need nothing are what they always were: those of each part alone."""
    tokenizer = load_tokenizer(ModelConfig(path=str(tiny_model)))
    chat = "<|im_start|>user\nWrite of rain.<|im_end|>\n<|im_start|>assistant\n"
    parts = [chat, "<think>\n", "I begin.\n\n雨", "\n</think>\n\n", " Rain  fell.\n", "<|im_end|>"]
    encoded = Layout("think", tokenizer).encode("Write of rain.", parts[2], parts[4])
    assert list(encoded.ids) == [id_ for part in parts for id_ in tokenizer.hf.encode(part, add_special_tokens=False)]
