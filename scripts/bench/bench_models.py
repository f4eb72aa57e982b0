"""What the bench_* scripts share: models of a given shape without weights or vocabulary, and the plain forward."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import torch

from reer.backend.models import load_model, load_tokenizer
from reer.config import ModelConfig
from reer.types import Message, ScoreRequest

ROOT = Path(__file__).parents[2]
TEXTS, CONFIGS = ROOT / "reer/files/data/pairs.jsonl", ROOT / "train/planning/shapes.json"
SHAPES = {
    name.partition("/")[2].lower(): config for name, config in json.loads(CONFIGS.read_text(encoding="utf-8")).items()
} | {
    "tiny": {
        "model_type": "llama", "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 49152, "tie_word_embeddings": True,
    },
}  # fmt: skip
"""Of the models' own config.json; `tiny` only tries out a script."""


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
    from transformers import AutoConfig, AutoModelForCausalLM

    device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    torch.manual_seed(0)
    with torch.device(device):
        config = AutoConfig.for_model(**SHAPES[shape])
        return AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype)).eval()


def one_forward(model, request: ScoreRequest) -> float:
    """Mean NLL of the span, from logits at every position."""
    ids = torch.tensor([request.ids], device=model.device)
    with torch.inference_mode():
        logprobs = model(input_ids=ids, use_cache=False).logits[0].float().log_softmax(-1)
    return -logprobs[request.start - 1 : request.end - 1].gather(1, ids[0, request.start :, None]).mean().item()
