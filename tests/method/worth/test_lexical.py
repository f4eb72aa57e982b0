"""A_lex by hand: which terms count, what they weigh, and that a corpus of one answer is enough."""

from math import log

import pytest

from reer.method.worth import lexical
from reer.method.worth.lexical import Frequencies, a_lex, terms
from reer.types import Example


def corpus(*answers, query="Tell me of rain.", language="en"):
    found = Frequencies()
    examples = [Example(id=str(n), query=query, answer=text, language=language) for n, text in enumerate(answers)]
    for example in examples:
        found.add(example)
    return examples, found


def test_a_term_weighs_more_the_fewer_answers_hold_it():
    # N = 3. In T of the first answer: the (df 3), old (2), gardener (1), swept (1); "rain" stands in the query.
    examples, found = corpus("The old gardener swept the rain.", "The old man.", "The sea.")
    the, old, rare = log(1 + 0.5 / 3.5), log(1 + 1.5 / 2.5), log(1 + 2.5 / 1.5)
    whole = the + old + 2 * rare
    for thinking, weight in [
        ("An old gardener, then.", old + rare),
        ("The rain begins.", the),  # the query's own word earns nothing
        ("GARDENER! Swept, the old one", whole),
        ("Nothing of it.", 0.0),
    ]:
        assert a_lex(examples[0], thinking, found) == pytest.approx(weight / whole)


def test_a_corpus_of_one_answer_weighs_all_terms_alike():
    [example], found = corpus("She kept bees until winter.")
    assert a_lex(example, "Bees, I think, and winter.", found) == pytest.approx(2 / 5)


def test_where_the_answer_has_no_word_of_its_own_there_is_no_share():
    [example], found = corpus("Rain! Tell of rain.")
    assert a_lex(example, "Rain.", found) is None


def test_chinese_is_compared_by_neighbouring_characters_within_a_phrase():
    assert terms("月亮出来，安静。我用 GPT-4 写") == {"月亮", "亮出", "出来", "安静", "我用", "gpt", "4", "写"}
    [example], found = corpus("月亮出来，安静。", query="写月亮。", language="zh")  # T: 亮出 出来 安静
    assert a_lex(example, "要写得安静。", found) == pytest.approx(1 / 3)
    assert a_lex(example, "静安、来出。", found) == 0.0


def test_each_language_has_frequencies_of_its_own():
    found = Frequencies()
    english = Example(id="a", query="", answer="Bees sleep.", language="en")
    chinese = [Example(id=str(n), query="", answer="蜂 bees", language="zh") for n in range(9)]
    for example in (english, *chinese):
        found.add(example)
    assert found.idf("en", "bees") == pytest.approx(log(1 + 0.5 / 1.5))
    assert found.idf("zh", "bees") == pytest.approx(log(1 + 0.5 / 9.5))


def test_a_large_run_is_known_by_its_first_answers(monkeypatch):
    monkeypatch.setattr(lexical, "ANSWERS", 2)
    examples, found = corpus("Bees.", "Bees.", "Owls.")
    assert found.idf("en", "bees") == pytest.approx(log(1 + 0.5 / 2.5))
    assert a_lex(examples[2], "Owls.", found) == 1.0  # a word that was not counted is rare, and no error
