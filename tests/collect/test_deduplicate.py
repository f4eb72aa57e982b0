"""Near-duplicates against all similarities, computed from sets of words."""

import random

import numpy as np
import pytest

from collect.check.grams import grams, hashes_of, shingles
from collect.deduplicate import near_duplicates, signed

THRESHOLD = 0.8


def made(language, count):
    """Texts of 120 words over a small vocabulary; every third is an earlier one with up to eight words changed."""
    rng = random.Random(language)
    known = [chr(0x4E00 + n) if language == "zh" else f"word{n}" for n in range(500)]
    texts = []
    for n in range(count):
        tokens = [rng.choice(known) for _ in range(120)]
        if n % 3 == 2:
            tokens = list(texts[rng.randrange(n)])
            for place in rng.sample(range(120), rng.randrange(8)):
                tokens[place] = rng.choice(known)
        texts.append(tokens)
    return texts


def brute(texts):
    """Rows as like an earlier one that stays."""
    runs = [{tuple(tokens[k : k + 5]) for k in range(len(tokens) - 4)} for tokens in texts]
    kept, gone = [], set()
    for n, own in enumerate(runs):
        alike = any(len(own & runs[other]) / len(own | runs[other]) >= THRESHOLD for other in kept)
        gone.add(n) if alike else kept.append(n)
    return gone


@pytest.mark.parametrize("language", ["en", "zh"])
def test_what_all_similarities_set_aside_is_found_and_nothing_else(language):
    texts = made(language, 300)
    wanted = brute(texts)
    assert len(wanted) > 30
    held = [("" if language == "zh" else " ").join(tokens) for tokens in texts]
    keys = signed([shingles(hashes_of(text)) for text in held])
    found = set(near_duplicates(keys, held.__getitem__, THRESHOLD))
    assert len(found & wanted) >= 0.98 * len(wanted)
    assert len(found - wanted) <= 0.001 * len(held)


def test_nothing_is_like_nothing():
    assert near_duplicates(signed([]), str, THRESHOLD) == {}


@pytest.mark.parametrize("n", [1, 5, 8, 13])
def test_a_run_is_a_polynomial_of_its_words_whatever_stands_around_it(n):
    factor, words = 0x9E3779B97F4A7C15, [3, 2**63 + 5, 7, 11, 2**64 - 1] * 4
    expected = []
    for start in range(len(words) - n + 1):
        value = 0
        for word in words[start : start + n]:
            value = (value * factor + word) % 2**64
        expected.append((value ^ value >> 29) * factor % 2**64)
    assert grams(np.array(words, dtype=np.uint64), n).tolist() == expected
