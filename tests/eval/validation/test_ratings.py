import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from eval.validation.ratings import read_ratings
from reer.errors import DataError


def rating(
    id_: str = "a", rater: str = "r1", criterion: str = "suspense", score: Any = 3, **fields: Any
) -> dict[str, Any]:
    return {"id": id_, "text": f"Text {id_}.", "rater": rater, "criterion": criterion, "score": score} | fields


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_any_file_of_ratings(tmp_path: Path) -> None:
    rows = [
        rating(score=1, query="Write.", question="is it tense?"),
        rating(rater="r2", score=5) | {"text": None},
        rating("b", score=2.5),
    ]
    found = read_ratings(write(tmp_path / "mine.jsonl", *rows), None)
    assert [(text.id, text.query, text.text) for text in found.texts] == [
        ("a", "Write.", "Text a."),
        ("b", "", "Text b."),
    ]
    assert found.scores == {("a", "suspense"): {"r1": 1.0, "r2": 5.0}, ("b", "suspense"): {"r1": 2.5}}
    [criterion] = found.rubric.criteria
    assert criterion.question == "is it tense?"
    assert criterion.scale == (1.0, 2.0, 3.0, 4.0, 5.0)
    assert [anchor.text for anchor in criterion.anchors] == [
        "not at all",
        "a little",
        "in part",
        "for the most part",
        "entirely",
    ]
    assert (found.name, found.raters, found.binary) == ("mine", 2, False)
    assert [text.id for text in found.first(1).texts] == ["a"]
    assert len(found.first(1).scores) == 1


def test_a_rubric_file_gives_questions_and_scale(tmp_path: Path) -> None:
    rubric = tmp_path / "rubric.yaml"
    rubric.write_text(
        "criteria:\n  - name: suspense\n    question: gripping?\n    levels: {0: never, 1: seldom, 2: always}\n"
    )
    data = write(tmp_path / "mine.jsonl", rating(score=0), rating("b", score=1))
    found = read_ratings(data, rubric)
    assert found.rubric.criteria[0].scale == (0.0, 1.0, 2.0)
    write(data, rating(score=3))
    with pytest.raises(DataError, match="'r1' gave 'a' 3 by 'suspense', off its scale of 0 to 2"):
        read_ratings(data, rubric)
    write(data, rating(criterion="pace", score=1))
    with pytest.raises(DataError, match="'a' is rated by 'pace', which the rubric does not hold"):
        read_ratings(data, rubric)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "holds no ratings"),
        ([rating() | {"rater": ""}], "row 1: 'rater' is missing"),
        ([rating() | {"text": " "}], "row 1: 'text' is missing"),
        ([rating(score="4")], "row 1: 'score' is '4', which is no finite number"),
        ([rating(score=True)], "row 1: 'score' is True, which is no finite number"),
        ([rating(), rating("b", score=math.nan)], "row 2: 'score' is nan, which is no finite number"),
        ([rating(score=math.inf)], "row 1: 'score' is inf, which is no finite number"),
        ([rating(score=10**400)], "row 1: 'score' is 1000"),
        ([rating(score=1), rating("b", score=1e30)], "go from 1 to 1e+30, which is no scale"),
        ([rating(score=-1e308), rating("b", score=1e308)], "go from -1e+308 to 1e+308, which is no scale"),
        ([rating(score=1), rating(score=2)], "row 2: 'r1' rated 'a' by 'suspense' twice"),
        ([rating(), rating(rater="r2", text="Other.")], "row 2: the text of 'a' differs"),
        ([rating(score=3), rating("b", score=3)], "go from 3 to 3, which is no scale"),
        ([rating(score=0), rating("b", score=100)], "validate.rubric=PATH.yaml"),
    ],
)
def test_broken_ratings_are_one_sentence(tmp_path: Path, rows: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(DataError, match="mine") as refused:
        read_ratings(write(tmp_path / "mine.jsonl", *rows), None)
    assert said in str(refused.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"validate\.data=.*nowhere\.jsonl cannot be read"):
        read_ratings(tmp_path / "nowhere.jsonl", None)


def ttcw(folder: Path) -> Path:
    """A folder in the form of TTCW: three stories, one of them a link, two tests, three experts."""
    folder.mkdir()
    tests = [
        {"ttcw_idx": n, "torrance_dimension": "Fluency", "category": f"Category {n}", "question": f"Is it {n}?"}
        for n in (1, 2)
    ]
    stories = [
        {"story_id": "0_New", "plot": "A plot.", "content": "https://example.com/story"},
        {"story_id": "0_Old", "plot": "A plot.", "content": "Once there was."},
        {"story_id": "0_Older", "plot": "Another.", "content": "Long ago."},
    ]
    verdicts = [
        {"story_id": story["story_id"], "expert_idx": expert, "ttcw_idx": test["ttcw_idx"],
         "binary_verdict": "Yes" if expert == 1 else "No"}
        for story in stories for test in tests for expert in range(3)
    ]  # fmt: skip
    for name, value in (("all_tests", tests), ("short_stories", stories), ("annotations", verdicts)):
        (folder / f"ttcw_{name}.json").write_text(json.dumps(value))
    return folder


def test_ttcw_is_read_without_the_stories_that_are_links(tmp_path: Path) -> None:
    found = read_ratings(ttcw(tmp_path / "ttcw"), None)
    assert [text.id for text in found.texts] == ["0_Old", "0_Older"]
    assert found.texts[0].query == "Write a short story with this plot: A plot."
    assert found.left_out == 1
    assert found.binary
    assert [criterion.name for criterion in found.rubric.criteria] == [
        "Fluency 1: Category 1",
        "Fluency 2: Category 2",
    ]
    assert found.scores["0_Old", "Fluency 1: Category 1"] == {"0": 0.0, "1": 1.0, "2": 0.0}
    assert not found.rubric.one_call


def test_a_broken_folder_of_ttcw_is_one_sentence(tmp_path: Path) -> None:
    folder = ttcw(tmp_path / "ttcw")
    for verdict in ({}, {"ttcw_idx": 1, "binary_verdict": ["Yes"]}):
        (folder / "ttcw_annotations.json").write_text(json.dumps([{"story_id": "0_Old"} | verdict]))
        with pytest.raises(DataError, match=r"ttcw_annotations\.json, entry 1: no verdict of TTCW"):
            read_ratings(folder, None)
    (folder / "ttcw_all_tests.json").unlink()
    with pytest.raises(DataError, match=r"validate\.data=.*ttcw holds no ttcw_all_tests\.json, nor does a folder"):
        read_ratings(folder, None)


def change_last_story(folder: Path, **changes: Any) -> None:
    path = folder / "ttcw_short_stories.json"
    *others, last = json.loads(path.read_text())
    path.write_text(json.dumps([*others, {key: value for key, value in (last | changes).items() if value != "-"}]))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"plot": "-"}, "entry 3: 'plot' is missing"),
        ({"story_id": None}, "entry 3: 'story_id' is missing"),
        ({"content": 7}, "entry 3: 'content' is 7, which is no text"),
    ],
)
def test_a_broken_story_of_ttcw_is_one_sentence(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    folder = ttcw(tmp_path / "ttcw")
    change_last_story(folder, **changes)
    with pytest.raises(DataError, match=rf"ttcw_short_stories\.json, {said}"):
        read_ratings(folder, None)


@pytest.mark.parametrize("content", [None, " ", "-"])
def test_a_story_of_ttcw_without_its_words_is_left_out(tmp_path: Path, content: str | None) -> None:
    folder = ttcw(tmp_path / "ttcw")
    change_last_story(folder, content=content)
    found = read_ratings(folder, None)
    assert [text.id for text in found.texts] == ["0_Old"]
    assert found.left_out == 2


def test_ttcw_with_links_alone_is_one_sentence(tmp_path: Path) -> None:
    folder = ttcw(tmp_path / "ttcw")
    (folder / "ttcw_short_stories.json").write_text('[{"story_id": "a", "content": "https://example.com"}]')
    with pytest.raises(DataError, match=r"ttcw_short_stories\.json: holds the words of no story"):
        read_ratings(folder, None)


def test_ttcw_is_read_as_its_authors_keep_it(tmp_path: Path) -> None:
    flat, folder = ttcw(tmp_path / "flat"), tmp_path / "Art_or_Artifice"
    for name, file in (("tests", "all_tests"), ("annotations", "annotations"), ("stories", "short_stories")):
        (folder / name).mkdir(parents=True)
        shutil.copy(flat / f"ttcw_{file}.json", folder / name)
    found = read_ratings(folder, None)
    assert found.scores == read_ratings(flat, None).scores
    assert all((folder / name).is_file() for name in found.files)
    shutil.copytree(folder / "stories", folder / "copy")
    assert read_ratings(folder, None).texts == found.texts
    change_last_story(folder / "copy", plot="Another plot.")
    with pytest.raises(DataError, match=r"holds two different ttcw_short_stories\.json: .*copy/.* and .*stories/"):
        read_ratings(folder, None)
