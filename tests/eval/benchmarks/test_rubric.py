from dataclasses import replace

from eval.benchmarks import longbench_write
from eval.benchmarks.reasoning import CRITERIA, RUBRIC
from eval.benchmarks.rubric import ask_all, ask_level, make_rubric, material


def test_five_dimensions_with_an_anchor_at_every_level() -> None:
    assert [criterion.name for criterion in RUBRIC.criteria] == [
        "problem_deconstruction", "logical_consistency", "depth_of_analysis", "presentation_clarity",
        "factual_grounding",
    ]  # fmt: skip
    for criterion in RUBRIC.criteria:
        assert criterion.scale == (1, 2, 3, 4, 5)
        assert [anchor.label for anchor in criterion.anchors] == ["1", "2", "3", "4", "5"]
        assert all(f"{anchor.label} = {anchor.text}" in ask_level(criterion) for anchor in criterion.anchors)
        assert criterion.may_not_apply == (criterion.name == "factual_grounding")


def test_another_wording_is_another_version() -> None:
    changed = replace(CRITERIA[0], question="is it good?")
    assert make_rubric("reasoning", (changed, *CRITERIA[1:])).version != RUBRIC.version
    assert make_rubric("reasoning", CRITERIA).version == RUBRIC.version


def test_texts_with_braces_stay_as_they_are() -> None:
    assert "{answer} {0}" in material("q", "{answer} {0}")


def test_criteria_are_asked_in_the_given_order() -> None:
    text = ask_all(CRITERIA[::-1])
    found = [text.index(f"{criterion.name}:") for criterion in CRITERIA]
    assert found == sorted(found, reverse=True)


def test_weights_are_arithmetic_and_no_wording() -> None:
    heavier = replace(CRITERIA[0], weight=3.0)
    assert make_rubric("reasoning", (heavier, *CRITERIA[1:])).version == RUBRIC.version


def test_six_dimensions_of_longbench_write_on_0_to_100() -> None:
    rubric = longbench_write.RUBRIC
    assert [criterion.name for criterion in rubric.criteria] == [
        "relevance", "accuracy", "coherence", "clarity", "breadth_and_depth", "reading_experience",
    ]  # fmt: skip
    assert [rubric.points(score) for score in (1, 3, 5)] == [0, 50, 100]
