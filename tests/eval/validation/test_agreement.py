import random
from pathlib import Path

import pytest

from eval.benchmarks.rubric import graded, make_rubric
from eval.validation.agreement import agreement
from eval.validation.ratings import Ratings, Text

GRADED = {level: f"anchor {level}" for level in range(1, 6)}
BINARY = {0: "no", 1: "yes"}


def ratings(scores: dict[tuple[str, str], dict[str, float]], levels: dict[int, str]) -> Ratings:
    ids = list(dict.fromkeys(id_ for id_, _ in scores))
    names = list(dict.fromkeys(name for _, name in scores))
    rubric = make_rubric("r", [graded(name, name, "?", levels) for name in names])
    return Ratings("made up", [Text(id_, "", "A text.") for id_ in ids], rubric, scores, {Path("x").name: "ab"})


def many(noise: float) -> tuple[Ratings, dict[tuple[str, str], float]]:
    """30 texts by two criteria and three raters, and a judge with the same noise as each of them."""
    rng = random.Random(4)

    def level(quality: float) -> float:
        return float(min(5, max(1, round(quality + rng.gauss(0, noise)))))

    scores, judged = {}, {}
    for n in range(30):
        quality = rng.uniform(1, 5)
        for name in ("depth", "clarity"):
            scores[f"t{n}", name] = {rater: level(quality) for rater in "abc"}
            judged[f"t{n}", name] = level(quality)
    return ratings(scores, GRADED), judged


def test_a_judge_as_good_as_a_rater_agrees_with_people_as_they_do_among_themselves() -> None:
    people, judged = many(noise=0.7)
    overall = agreement(people, judged, seed=0)["overall"]
    assert overall["human_human"]["mean"] == pytest.approx(overall["human_judge"]["mean"], abs=0.08)
    assert overall["human_judge"]["low"] < overall["human_judge"]["mean"] < overall["human_judge"]["high"]
    assert overall["n"] == 60
    assert overall["human_judge"]["n"] == 30  # texts are drawn, not units


def test_a_judge_that_guesses_agrees_with_nobody() -> None:
    people, judged = many(noise=0.3)
    shuffled = dict(zip(judged, random.Random(1).sample(list(judged.values()), len(judged)), strict=True))
    found = agreement(people, shuffled, seed=0)
    assert found["overall"]["human_human"]["mean"] > 0.8
    assert abs(found["overall"]["human_judge"]["mean"]) < 0.35
    assert abs(found["overall"]["spearman"]["mean"]) < 0.3
    assert found["by_text"]["n"] == 30
    assert found["by_text"]["human_human"]["mean"] > found["overall"]["human_human"]["mean"]  # means are less noisy


def test_yes_or_no_questions_are_decided_by_majority() -> None:
    votes = {"a": (1, 1, 0), "b": (1, 1, 1), "c": (0, 0, 0), "d": (1, 1, 0)}
    people = ratings(
        {(id_, "q"): dict(zip("xyz", map(float, found), strict=True)) for id_, found in votes.items()}, BINARY
    )
    found = agreement(people, {("a", "q"): 0.9, ("b", "q"): 0.4, ("c", "q"): 0.1, ("d", "q"): 0.5}, seed=0)
    assert found["level"] == "nominal"
    overall = found["overall"]
    assert overall["accuracy"]["mean"] == pytest.approx(3 / 4)  # b is wrong; a half counts as yes
    assert overall["commonest"]["mean"] == pytest.approx(3 / 4)
    assert overall["spearman"]["mean"] == pytest.approx(1.5 / 22.5**0.5)  # ranks 4 2 1 3 and 2.5 4 1 2.5
    assert found["by_text"] is None


def test_yes_and_no_may_be_any_two_levels() -> None:
    votes = {"a": 1.0, "b": 2.0, "c": 1.0, "d": 2.0}
    people = ratings({(id_, "q"): {"x": vote, "y": vote} for id_, vote in votes.items()}, {1: "no", 2: "yes"})
    overall = agreement(people, {(id_, "q"): vote for id_, vote in votes.items()}, seed=0)["overall"]
    assert overall["accuracy"]["mean"] == overall["human_judge"]["mean"] == 1.0


def test_a_tie_among_people_is_no_majority() -> None:
    people = ratings({("a", "q"): {"x": 1.0, "y": 0.0}, ("b", "q"): {"x": 1.0, "y": 1.0}}, BINARY)
    overall = agreement(people, {("a", "q"): 0.0, ("b", "q"): 1.0}, seed=0)["overall"]
    assert overall["accuracy"]["mean"] == 1.0


def test_units_without_a_verdict_do_not_count() -> None:
    people, judged = many(noise=0.5)
    kept = {unit: score for unit, score in judged.items() if unit[0] != "t0" and unit != ("t1", "depth")}
    found = agreement(people, kept, seed=0)
    assert found["overall"]["n"] == 57
    assert found["by_text"]["n"] == 28
    nothing = agreement(people, {}, seed=0)
    assert nothing["overall"]["human_judge"]["mean"] is nothing["overall"]["spearman"]["mean"] is None


def test_alpha_of_paired_ratings_by_hand() -> None:
    """Nominal alpha of 4 ratings against the judge: 1 - (n - 1) * disagreements / pairs that differ by chance."""
    people = ratings({("a", "q"): {"x": 1.0, "y": 0.0}, ("b", "q"): {"x": 0.0, "y": 0.0}}, BINARY)
    found = agreement(people, {("a", "q"): 1.0, ("b", "q"): 0.0}, seed=0)["overall"]
    values = [1, 1, 0, 1, 0, 0, 0, 0]  # four pairs: (1,1), (0,1), (0,0), (0,0)
    ones, zeros = values.count(1), values.count(0)
    by_hand = 1 - (8 - 1) * 2 / (2 * ones * zeros)
    assert found["human_judge"]["mean"] == pytest.approx(by_hand)
