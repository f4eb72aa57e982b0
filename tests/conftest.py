"""A real but tiny model, made on the spot (no hub, no download, about a second), and a machine without a W&B key."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from reer.backend.models import SMOLLM2, cache_dir
from reer.types import Example

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LINES = [
    "I will think about the answer first, then write the story of the old man and the sea.",
    "The night was dark and the wind was in the trees; she wanted to begin with a picture.",
    "你好，世界。我先想一想，再写下去。",
]


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_is_heard() -> Iterator[None]:
    """A job that was started with `&` ignores SIGINT, and so would the stages that the tests start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session", autouse=True)
def _cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The tests' own cache folder, with the converted SmolLM2 of the real one in it where that exists."""
    folder, model = tmp_path_factory.mktemp("cache"), cache_dir() / SMOLLM2
    if model.exists():
        (folder / SMOLLM2).symlink_to(model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REER_CACHE", str(folder))
        yield


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a 2-layer Llama with random weights, a byte-level BPE tokenizer and a ChatML template."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(LINES, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHATML
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(fast),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=4096,
            tie_word_embeddings=True,
            bos_token_id=fast.bos_token_id,
            eos_token_id=fast.eos_token_id,
            pad_token_id=fast.pad_token_id,
        )
    )
    folder = tmp_path_factory.mktemp("tiny_model")
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


@pytest.fixture
def pairs() -> list[Example]:
    """Four short pairs: plain, several paragraphs, Chinese, emoji."""
    texts = [
        ("Write two sentences about rain.", "The rain came at dusk. Nobody ran."),
        ("Tell me a fable.", "A fox saw grapes.\n\nHe left them, and called them sour."),
        ("写一句话。", "月亮出来了，院子里很安静。"),
        ("Describe joy.", "It is a small dog 🐕 that hears the key."),
    ]
    return [
        Example(id=f"e{n}", query=query, answer=answer, source=f"book {n}", licence="public domain")
        for n, (query, answer) in enumerate(texts)
    ]


@pytest.fixture
def keyless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A machine where nobody has logged in to W&B."""
    for variable in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_BASE_URL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    for folder in ("CONFIG", "CACHE", "DATA"):
        monkeypatch.setenv(f"WANDB_{folder}_DIR", str(tmp_path / folder.lower()))
    before = dict(os.environ)
    yield
    import wandb

    wandb.teardown()
    os.environ.clear()
    os.environ.update(before)
