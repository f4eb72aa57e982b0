"""Small tokenizers of the kinds that models come with, made on the spot."""

import pytest


def byte_level(template, control=(), eos="</s>", plain=()):
    """One token per byte, and control tokens; `plain`: added tokens that are not special."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import AddedToken, PreTrainedTokenizerFast

    letters = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    made = Tokenizer(models.BPE(vocab=letters | {"ĊĊ": len(letters)}, merges=[("Ċ", "Ċ")]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return _finished(PreTrainedTokenizerFast, AddedToken, made, template, control, eos, plain)


def sentencepiece(template, *, scheme="first", split=False, legacy=False, fallback=True, control=(), eos="</s>"):
    """The SentencePiece kind: a blank is ▁, and one is put before a text (`scheme`; `legacy`: by the normalizer)."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers import AddedToken, PreTrainedTokenizerFast

    rare = [f"<0x{n:02X}>" for n in range(256)] if fallback else []
    signs = dict.fromkeys([*map(chr, range(33, 127)), "\n", "▁", "<unk>", *rare, "▁t", "th", "▁th"])
    merges = [("▁", "t"), ("t", "h"), ("▁t", "h")]
    vocab = {sign: n for n, sign in enumerate(signs)}
    made = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", byte_fallback=fallback))
    ends = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    if legacy:
        made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        made.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme=scheme, split=split)
    made.decoder = decoders.Sequence(ends if scheme == "never" else [*ends, decoders.Strip(" ", 1, 0)])
    return _finished(PreTrainedTokenizerFast, AddedToken, made, template, control, eos, (), unk_token="<unk>")


def _finished(fast, added, made, template, control, eos, plain, **more):
    tokenizer = fast(tokenizer_object=made, eos_token=eos, bos_token="<s>", **more)
    tokenizer.add_tokens([added(text, special=True, normalized=False) for text in control])
    tokenizer.add_tokens([added(text, special=False, normalized=False) for text in plain])
    tokenizer.chat_template = template
    return tokenizer


@pytest.fixture(name="byte_level")
def _byte_level():
    return byte_level


@pytest.fixture(name="sentencepiece")
def _sentencepiece():
    return sentencepiece
