"""The nouns that do something: edits of a trajectory, what a score decides by, costs that add up."""

from dataclasses import asdict, fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reer.types import Candidate, Score, ScoreRequest, Trajectory, Usage, score_of

PARAGRAPHS = Trajectory(("I begin.\n\n", "Then rain.\n\n", "It ends. \n"))
SEGMENTS = st.lists(st.text("ab \n", min_size=1).filter(str.strip), min_size=1, max_size=6).map(tuple)


@pytest.mark.parametrize(
    ("operation", "index", "text", "segments"),
    [
        ("rewrite", 0, "No.\n\n", ("No.\n\n", "Then rain.\n\n", "It ends. \n")),
        ("rewrite", 2, "No.", ("I begin.\n\n", "Then rain.\n\n", "No.")),
        ("delete", 0, "", ("Then rain.\n\n", "It ends. \n")),
        ("delete", 1, "", ("I begin.\n\n", "It ends. \n")),
        ("delete", 2, "", ("I begin.\n\n", "Then rain.")),
        ("merge", 0, "I begin. Then rain.\n\n", ("I begin. Then rain.\n\n", "It ends. \n")),
        ("merge", 1, "Then rain. It ends. \n", ("I begin.\n\n", "Then rain. It ends. \n")),
    ],
)
def test_an_edit_changes_its_segment_and_no_other(operation, index, text, segments):
    assert PARAGRAPHS.edited(operation, index, text).segments == segments
    assert PARAGRAPHS.segments == ("I begin.\n\n", "Then rain.\n\n", "It ends. \n")


@given(SEGMENTS, st.data())
def test_what_stands_around_an_edit_is_kept_to_the_letter(segments, data):
    operation = data.draw(st.sampled_from(["rewrite", "delete", *["merge"] * (len(segments) > 1)]))
    taken = 2 if operation == "merge" else 1
    index = data.draw(st.integers(0, len(segments) - taken))
    text = "" if operation == "delete" else "NEW"
    edited = Trajectory(segments).edited(operation, index, text)
    expected = "".join(segments[:index]) + text + "".join(segments[index + taken :])
    last_is_gone = operation == "delete" and index == len(segments) - 1
    assert edited.text == (expected.rstrip() if last_is_gone else expected)
    assert len(edited.segments) == len(segments) - {"rewrite": 0, "delete": 1, "merge": 1}[operation]


def test_an_objective_decides_where_there_is_one_and_perplexity_stays_that_of_the_whole_answer():
    assert (Score(2.0, 9).value, Score(2.0, 9, 0.0).value) == (2.0, 0.0)
    assert Score(2.0, 9, 0.5).ppl == pytest.approx(7.389056, abs=1e-6)
    assert (Candidate("z", 2.0).value, Candidate("z", 2.0, objective=0.0).value) == (2.0, 0.0)
    assert Candidate("z", None, "leak").value is None


def test_a_request_has_an_objective_if_it_skips_or_clips():
    settings = [(), (0, None), (1, None), (0, 2.0), (1, 2.0), (0, None, "mean_prob")]
    found = [ScoreRequest((1, 2, 3), 1, 3, *how).has_objective for how in settings]
    assert found == [False, False, True, True, True, True]


@pytest.mark.parametrize(
    ("cuts", "parts"), [((), ()), ((1,), (0.5, 7.5)), ((2, 3), (1.5, 2.5, 4.0)), ((4,), (8.0, 0.0))]
)
def test_the_parts_of_a_span_are_sums_of_its_nats(cuts, parts):
    score = score_of([0.5, 1.0, 2.5, 4.0], ScoreRequest((1,) * 5, 1, 5, cuts=cuts))
    assert (score.nll, score.parts) == (2.0, parts)


@pytest.mark.parametrize(("skip", "clip"), [(0, None), (1, None), (0, 1.5), (1, 1.5)])
def test_mean_prob_is_one_less_the_mean_probability_of_a_token(skip, clip):
    probabilities = np.array([0.9, 0.05, 0.5, 0.25])
    request = ScoreRequest((1,) * 5, 1, 5, skip, clip, "mean_prob")
    score = score_of(list(-np.log(probabilities)), request)
    floor = 0.0 if clip is None else np.exp(-clip)
    assert score.objective == pytest.approx(1 - np.maximum(probabilities[skip:], floor).mean(), abs=1e-12)
    assert score.value == score.objective
    assert score.nll == pytest.approx(-np.log(probabilities).mean())


def test_costs_add_up_field_by_field():
    names = [field.name for field in fields(Usage)]
    one = Usage(**{name: n for n, name in enumerate(names, start=1)})
    other = Usage(**{name: 10 * n for n, name in enumerate(names, start=1)})
    assert asdict(one + other) == {name: 11 * n for n, name in enumerate(names, start=1)}
    cost = Usage(calls=1, generated_tokens=20, prefilled_tokens=300, scored_tokens=4000, reused_tokens=5, seconds=6.0)
    assert cost.forward_tokens == 4320
