"""Shares, counts and draws."""

from collect.sample import drawn, wanted


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
