"""Shares, counts and draws."""

from collect.sample import drawn, wanted
from collect.tag.model import named_in
from collect.tag.rules import CATEGORIES, by_rules
from reer.types import Example


def test_a_mixture_takes_as_many_as_its_scarcest_domain_allows():
    assert wanted({"a": 30, "b": 10, "c": 99}, {"a": 0.5, "b": 0.5}, None) == {"a": 10, "b": 10}
    assert wanted({"a": 30, "b": 2}, {"a": 3, "b": 1}, 20) == {"a": 15, "b": 2}
    assert wanted({"a": 30, "b": 10}, {}, 10) == {"a": 8, "b": 2}
    assert wanted({"a": 3, "b": 1}, {}, None) == {"a": 3, "b": 1}
    assert wanted({}, {}, None) == {}


def test_shares_that_do_not_divide_go_to_the_largest_remainders():
    assert wanted({"a": 9, "b": 9, "c": 9}, {"a": 0.5, "b": 0.3, "c": 0.2}, 6) == {"a": 3, "b": 2, "c": 1}


def test_a_draw_depends_on_seed_and_id_alone():
    rows = [(f"r{n}", "ab"[n % 2]) for n in range(40)]
    taken = drawn(rows, {"a": 5, "b": 3}, 1)
    assert taken == drawn(reversed(rows), {"a": 5, "b": 3}, 1)
    assert taken != drawn(rows, {"a": 5, "b": 3}, 2)
    assert sorted(dict(rows)[name] for name in taken) == ["a"] * 5 + ["b"] * 3


def test_rules_tell_domains_by_what_a_row_brings_and_by_key_words():
    def of(query, answer="Nothing.", domain=""):
        return by_rules(Example(id="a", query=query, answer=answer, domain=domain))

    assert of("Write a fable about a fox.") == "artistic/creative"
    assert of("写一篇关于渔民的小说。") == "artistic/creative"
    assert of("Draft a contract clause for an attorney.") == "law"
    assert of("Anything at all.") == "other"
    assert of("Write a fable.", domain="memoir") == "artistic/essay"
    assert set(CATEGORIES) >= {"politics", "other"}


def test_the_category_in_a_reply_is_the_first_one_named():
    assert named_in("**Finance_Business**, not law") == "finance_business"
    assert named_in("I do not know.") == ""
