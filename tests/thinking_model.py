"""A small model that always thinks first, in SmolLM2's tokens: seconds to make, and vLLM serves it.

`python tests/thinking_model.py FOLDER` makes one.
"""

import random
import sys
from pathlib import Path

THINKING = "I will begin with the rain. Then the others come home."
ANSWER = "The rain came at dusk, and nobody ran."
STEPS = 100
WORDS = "Write a story of the rain that we heard when they were old: first, then, because; night, sea 12 月亮"


def make(folder: Path) -> None:
    """A two-layer Llama that says `THINKING` in a think block and then `ANSWER`, whatever it is asked."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from reer.backend.models import load_tokenizer
    from reer.config import ModelConfig
    from reer.types import Message

    tokenizer = load_tokenizer(ModelConfig(path="smollm2"))
    reply = tokenizer.encode(f"<think>\n{THINKING}\n</think>\n\n{ANSWER}")
    reply = torch.tensor([*reply, tokenizer.end_of_turn])
    torch.manual_seed(0)
    rng = random.Random(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer.hf), hidden_size=128, intermediate_size=256, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=4096, tie_word_embeddings=True,
            bos_token_id=tokenizer.hf.bos_token_id, eos_token_id=tokenizer.end_of_turn,
        )
    )  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    words = WORDS.split()
    for _ in range(STEPS):
        question = " ".join(rng.choices(words, k=rng.choice([3, 30, 200])))
        prompt = torch.tensor(tokenizer.chat([Message("user", question)]))
        whole, kept = torch.cat([prompt, reply])[None], len(reply) + 1
        logits = model(input_ids=whole, logits_to_keep=kept).logits[0, :-1]
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(logits, reply).backward()
        optimizer.step()
    model.save_pretrained(folder)
    tokenizer.hf.save_pretrained(folder)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
