"""What scale=smoke needs: a model of two layers with random weights, and a few rows that stand for public data."""

from pathlib import Path

from reer.files.pairs import path_of
from reer.run.manifest import write_jsonl

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
END, BEGIN, PAD = "<|im_end|>", "<|im_start|>", "<|endoftext|>"
VOCABULARY = 1000


def make_general(path: Path) -> None:
    """Sums with thinking, where public reasoning data would stand."""
    sums = [(a, b) for a in (17, 26, 38) for b in (5, 49)]
    write_jsonl(path, [
        {
            "id": f"sum{n}", "query": f"What is {a} + {b}?", "thinking": f"I take {a} and add {b} to it.",
            "answer": f"{a} + {b} = {a + b}.", "licence": "CC0-1.0",
        }
        for n, (a, b) in enumerate(sums)
    ])  # fmt: skip


def make(folder: Path, seed: int) -> None:
    """Write it once; its vocabulary is learned from the shipped pairs."""
    if (folder / "config.json").exists():
        return
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = _tokenizer()
    torch.manual_seed(seed)
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=16384, pad_token_id=tokenizer.pad_token_id, **ids,
    )  # fmt: skip
    tokenizer.save_pretrained(folder)
    LlamaForCausalLM(config).save_pretrained(folder)


def _tokenizer():  # type: ignore[no-untyped-def]
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=[PAD, BEGIN, END], initial_alphabet=alphabet, show_progress=False
    )
    raw.train_from_iterator(path_of(None).read_text(encoding="utf-8").splitlines(), trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token=BEGIN, eos_token=END, pad_token=PAD, clean_up_tokenization_spaces=False
    )
    fast.chat_template = CHATML
    return fast
