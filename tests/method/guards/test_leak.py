"""How much of an answer stands in a thinking."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from reer.config import LeakConfig
from reer.method.guards.leak import Spelled, leaks, longest_run, measure
from reer.text import words

WORDS = st.lists(st.sampled_from("abcdef"), max_size=25)


def naive_longest_run(a, b):
    """Quadratic table, written independently of the tested code."""
    best, previous = 0, [0] * (len(b) + 1)
    for x in a:
        row = [0] + [previous[j] + 1 if x == y else 0 for j, y in enumerate(b)]
        best, previous = max(best, *row), row
    return best


@given(WORDS, WORDS)
def test_longest_run_equals_the_quadratic_table(a, b):
    assert longest_run(a, Spelled(b)) == naive_longest_run(a, b)


def test_a_copy_is_found_whatever_its_commas_and_capitals():
    answer = "The old man, weary of the sea, sat down upon the yellow sand and wept."
    found = measure("I will say: THE OLD MAN WEARY of the sea sat down; then he sleeps.", answer, ngram=4)
    assert found.longest_run == 9
    assert found.containment == 6 / 12  # 15 words make 12 four-grams, 9 copied words cover 6 of them


def test_straight_quotes_and_decomposed_accents_are_the_same_words():
    answer = "“You ’spec’ Boulôt an’ me we got money fur was’e?” It’s Cléophas’s, and we didn’t."
    typed = unicodedata.normalize("NFD", answer.replace("’", "'").replace("“", '"').replace("”", '"'))
    assert words(typed) == words(answer)
    assert "didn't" in words(answer)
    assert measure(typed, answer).containment == 1.0
    assert words("Ｆｕｌｌ ｗｉｄｔｈ") == ["full", "width"]


def test_chinese_counts_characters():
    assert words("崇祯五年 Snow") == ["崇", "祯", "五", "年", "snow"]
    assert measure("我要写大雪三日", "大雪三日，湖中人鸟声俱绝").longest_run == 4


def test_limits_apply_to_either_measure_and_can_be_switched_off():
    limits = LeakConfig(longest_run=5, containment=0.5, ngram=2)
    copied = measure("one two three four five six", "one two three four five six seven eight nine ten", ngram=2)
    assert leaks(copied, limits)
    assert not leaks(copied, LeakConfig(enabled=False, longest_run=5))
    assert not leaks(measure("two one", "one two three four five", ngram=2), limits)


def test_an_answer_shorter_than_an_ngram_has_no_containment():
    assert measure("yes", "yes", ngram=4).containment == 0.0
