"""What the bench_* scripts share: models of a given shape without weights or vocabulary, and the plain forward."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from reer.backend.models import load_model, load_tokenizer
from reer.config import ModelConfig
from reer.types import Message, ScoreRequest

TEXTS = Path(__file__).parents[1] / "reer/data/pairs.jsonl"
SHAPES = {
    "qwen3-8b": {
        "hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36, "num_attention_heads": 32,
        "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936, "tie_word_embeddings": False,
    },
    "qwen3-0.6b": {
        "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16,
        "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936, "tie_word_embeddings": True,
    },
}  # fmt: skip
"""Of the models' own config.json."""


class BareTokenizer:
    """For a shape without a vocabulary: any ids will do."""

    special_texts = ()
    end_of_turn = 0

    def encode(self, text: str) -> tuple[int, ...]:
        return tuple(1000 + byte for byte in text.encode())

    def chat(self, messages: Sequence[Message]) -> tuple[int, ...]:
        return self.encode("\n".join(message.content for message in messages))

    @property
    def hf(self) -> "BareTokenizer":
        """What a generator asks of the library's tokenizer."""
        return self

    eos_token_id = 0

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """Sentences of made-up words, so that a search finds something to work on."""
        return " ".join(f"w{token}." if token % 8 == 0 else f"w{token}" for token in ids)


def load(args: argparse.Namespace, config: ModelConfig):
    """The model and tokenizer that --model or --shape names."""
    if args.shape:
        return random_model(args.shape, args.dtype, args.device), BareTokenizer()
    return load_model(config), load_tokenizer(config)


def random_model(shape: str, dtype: str, device: str):
    from transformers import Qwen3Config, Qwen3ForCausalLM

    device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))
    torch.manual_seed(0)
    with torch.device(device):
        model = Qwen3ForCausalLM(Qwen3Config(**SHAPES[shape], max_position_embeddings=40960)).eval()
    torch.set_default_dtype(before)
    return model


def one_forward(model, request: ScoreRequest) -> float:
    """Mean NLL of the span, from logits at every position."""
    ids = torch.tensor([request.ids], device=model.device)
    with torch.inference_mode():
        logprobs = model(input_ids=ids, use_cache=False).logits[0].float().log_softmax(-1)
    return -logprobs[request.start - 1 : request.end - 1].gather(1, ids[0, request.start :, None]).mean().item()
