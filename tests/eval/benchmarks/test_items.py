from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from eval.benchmarks.items import Item, Source, make_benchmark, spread
from eval.benchmarks.reasoning import RUBRIC
from reer.config import BenchmarkConfig


@given(st.lists(st.sampled_from("abcd"), max_size=30), st.integers(1, 30), st.integers(1, 30))
def test_a_limit_spreads_evenly_and_a_higher_one_adds(groups: list[str], low: int, high: int) -> None:
    items = [Item(id=str(n), query="q", rubric=RUBRIC, groups={"task": g}) for n, g in enumerate(groups)]
    low, high = sorted((low, high))
    few, more = spread(items, "task", low), spread(items, "task", high)
    assert more[: len(few)] == few
    assert len(few) == min(low, len(items))
    taken = {g: sum(item.groups["task"] == g for item in few) for g in set(groups)}
    room = [n for g, n in taken.items() if n < groups.count(g)]
    assert max(taken.values(), default=0) - min(room, default=max(taken.values(), default=0)) <= 1
    assert spread(items, "task", None) == items


def test_another_weight_is_the_same_question_and_another_score() -> None:
    first, *rest = RUBRIC.criteria
    heavier = replace(RUBRIC, criteria=(replace(first, weight=2.0), *rest))
    made = [
        make_benchmark(
            BenchmarkConfig(),
            [Item(id="a", query="q", rubric=rubric)],
            Source(version="v", files={}),
            (1, 5),
            (),
            facet="",
        )
        for rubric in (RUBRIC, heavier)
    ]
    assert made[0].version == made[1].version
    assert made[0].weights != made[1].weights
