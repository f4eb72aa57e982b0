from dataclasses import replace

from eval.rubric import CRITERIA, REASONING, ask_all, ask_one, make_rubric, material


def test_five_dimensions_with_an_anchor_at_every_level() -> None:
    assert [criterion.name for criterion in REASONING.criteria] == [
        "problem_deconstruction", "logical_consistency", "depth_of_analysis", "presentation_clarity",
        "factual_grounding",
    ]  # fmt: skip
    for criterion in REASONING.criteria:
        assert sorted(criterion.levels) == [1, 2, 3, 4, 5]
        assert all(f"{level} = {anchor}" in ask_one(criterion) for level, anchor in criterion.levels.items())
        assert criterion.may_not_apply == (criterion.name == "factual_grounding")


def test_another_wording_is_another_version() -> None:
    changed = replace(CRITERIA[0], question="is it good?")
    assert make_rubric("reasoning", (changed, *CRITERIA[1:])).version != REASONING.version
    assert make_rubric("reasoning", CRITERIA).version == REASONING.version


def test_texts_with_braces_stay_as_they_are() -> None:
    assert "{answer} {0}" in material("q", "{answer} {0}", "m")


def test_criteria_are_asked_in_the_given_order() -> None:
    text = ask_all(CRITERIA[::-1])
    found = [text.index(f"{criterion.name}:") for criterion in CRITERIA]
    assert found == sorted(found, reverse=True)
