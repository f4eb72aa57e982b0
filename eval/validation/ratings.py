"""What people said of texts: the expert verdicts of TTCW, or any file of human ratings.

Knows the two forms and how they become items that a judge can be asked about; knows no judge and no statistics.

- TTCW (Chakrabarty et al. 2024, "Art or Artifice?", arXiv 2309.14556): a folder with ttcw_all_tests.json,
  ttcw_annotations.json and ttcw_short_stories.json of salesforce/creativity_eval, in it or below it. Stories that are
  links only, or empty, are left out and counted. The questions are those of the data; the words around them are the
  judge's own.
- JSONL: one row per rating with `id, text, rater, criterion, score`, and optionally `query` and `question`. Criteria
  get a scale of the whole numbers between the lowest and the highest score of the file, or those of a rubric file.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reer.errors import DataError
from reer.run.manifest import sha256

from ..benchmarks.rubric import graded, make_rubric
from ..benchmarks.rubric_file import read_rubric
from ..store import Row
from ..types import Anchor, Criterion, Rubric

TTCW = ("ttcw_all_tests.json", "ttcw_annotations.json", "ttcw_short_stories.json")
MOST_LEVELS = 9


@dataclass(frozen=True, slots=True)
class Text:
    """A text that people rated."""

    id: str
    query: str
    text: str


@dataclass(frozen=True, slots=True)
class Ratings:
    """Texts, what was asked about them, and everybody's scores."""

    name: str
    texts: Sequence[Text]
    rubric: Rubric
    scores: Mapping[tuple[str, str], Mapping[str, float]]
    """(id of the text, name of the criterion) -> rater -> score."""
    files: Mapping[str, str]
    """File name, from the folder that was given -> sha256."""
    left_out: int = 0
    """Texts that people rated and the files do not hold."""

    @property
    def binary(self) -> bool:
        """Whether every question is answered with yes or no."""
        return all(len(criterion.scale) == 2 for criterion in self.rubric.criteria)

    @property
    def raters(self) -> int:
        return len({rater for given in self.scores.values() for rater in given})

    def first(self, limit: int | None) -> "Ratings":
        """The same with the first `limit` texts alone."""
        texts = self.texts[:limit]
        kept = {text.id for text in texts}
        scores = {key: given for key, given in self.scores.items() if key[0] in kept}
        return Ratings(self.name, texts, self.rubric, scores, self.files, self.left_out)


def read_ratings(path: Path, rubric: Path | None) -> Ratings:
    """Human ratings from a folder of TTCW or a JSONL file; `rubric` gives the questions of the latter.

    Raises:
        DataError: the file or folder cannot be read, a row lacks something, or a score is off the scale.
    """
    if path.is_dir():
        return _read_ttcw(path)
    return _read_jsonl(path, read_rubric(rubric) if rubric else None)


def _read_ttcw(folder: Path) -> Ratings:
    files = [_find(folder, name) for name in TTCW]
    tests, annotations, stories = map(_json_list, files)
    criteria = [_test(files[0], test) for test in tests]
    names = {str(test["ttcw_idx"]): criterion.name for test, criterion in zip(tests, criteria, strict=True)}
    read = [_story(f"{files[2]}, entry {number}", story) for number, story in enumerate(stories, start=1)]
    texts = [text for text in read if text]
    if not texts:
        raise DataError(f"{files[2]}: holds the words of no story")
    scores: dict[tuple[str, str], dict[str, float]] = {}
    for number, row in enumerate(annotations, start=1):
        try:
            verdict = {"Yes": 1.0, "No": 0.0}[str(row["binary_verdict"])]
            key = (str(row["story_id"]), names[str(row["ttcw_idx"])])
            scores.setdefault(key, {})[str(row["expert_idx"])] = verdict
        except KeyError as error:
            raise DataError(f"{files[1]}, entry {number}: no verdict of TTCW ({error} is missing)") from error
    kept = {text.id for text in texts}
    return Ratings(
        name="TTCW",
        texts=texts,
        rubric=make_rubric("ttcw", criteria, one_call=False),
        scores={key: given for key, given in scores.items() if key[0] in kept},
        files={file.relative_to(folder).as_posix(): sha256(file) for file in files},
        left_out=len(stories) - len(texts),
    )


def _find(folder: Path, name: str) -> Path:
    """The file of that name in the folder or below it: the authors keep each of theirs in a folder of its own."""
    found = sorted(path for path in folder.rglob(name) if path.is_file())
    if not found:
        raise DataError(f"validate.data={folder} holds no {name}, nor does a folder below it")
    if other := next((path for path in found[1:] if sha256(path) != sha256(found[0])), None):
        raise DataError(f"validate.data={folder} holds two different {name}: {found[0]} and {other}")
    return found[0]


def _story(where: str, story: Row) -> Text | None:
    """A story as a text; None where the file does not hold its words, but a link at most."""
    content = story.get("content")
    if content is None or (isinstance(content, str) and (not content.strip() or content.startswith("http"))):
        return None
    if not isinstance(content, str):
        raise DataError(f"{where}: 'content' is {content!r:.40}, which is no text")
    id_, plot = (_want(story, key, where) for key in ("story_id", "plot"))
    return Text(id_, f"Write a short story with this plot: {plot}", content)


def _test(path: Path, test: Row) -> Criterion:
    try:
        name = f"{test['torrance_dimension']} {test['ttcw_idx']}: {test['category']}"
        return Criterion(
            name=name,
            title=test["category"],
            question=test["question"],
            scale=(0.0, 1.0),
            anchors=(Anchor(0.0, 0.0, "no"), Anchor(1.0, 1.0, "yes")),
        )
    except KeyError as error:
        raise DataError(f"{path}: a test has no {error}") from error


def _json_list(path: Path) -> list[Row]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise DataError(f"{path}: no list of objects")
    return value


def _read_jsonl(path: Path, rubric: Rubric | None) -> Ratings:
    texts: dict[str, Text] = {}
    scores: dict[tuple[str, str], dict[str, float]] = {}
    questions: dict[str, str] = {}
    for number, row in enumerate(_rows(path), start=1):
        where = f"{path}, row {number}"
        id_, criterion, rater = (_want(row, key, where) for key in ("id", "criterion", "rater"))
        text = Text(id_, str(row.get("query") or ""), _text(row, texts.get(id_), where))
        if texts.setdefault(id_, text).text != text.text:
            raise DataError(f"{where}: the text of {id_!r} differs from that of an earlier row")
        given = scores.setdefault((id_, criterion), {})
        if rater in given:
            raise DataError(f"{where}: {rater!r} rated {id_!r} by {criterion!r} twice")
        given[rater] = _score(row, where)
        questions.setdefault(criterion, str(row.get("question") or ""))
    asked = rubric or _rubric_of(path, questions, [score for given in scores.values() for score in given.values()])
    _check(path, asked, scores)
    return Ratings(path.stem, list(texts.values()), asked, scores, {path.name: sha256(path)})


def _rows(path: Path) -> list[Row]:
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"validate.data={path} cannot be read ({error})") from error
    rows = []
    for number, line in enumerate((line for line in lines if line.strip()), start=1):
        try:
            row: Any = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path}, row {number}: broken JSON ({error})") from error
        if not isinstance(row, dict):
            raise DataError(f"{path}, row {number}: not a JSON object")
        rows.append(row)
    if not rows:
        raise DataError(f"validate.data={path} holds no ratings")
    return rows


def _want(row: Row, key: str, where: str) -> str:
    if row.get(key) in (None, ""):
        raise DataError(f"{where}: {key!r} is missing")
    return str(row[key])


def _text(row: Row, known: Text | None, where: str) -> str:
    """The rated text; rows after the first of a text need not repeat it."""
    if known and row.get("text") is None:
        return known.text
    text = row.get("text")
    if not isinstance(text, str) or not text.strip():
        raise DataError(f"{where}: 'text' is missing")
    return text


def _score(row: Row, where: str) -> float:
    score = row.get("score")
    if isinstance(score, bool) or not isinstance(score, int | float) or not abs(score) <= sys.float_info.max:
        raise DataError(f"{where}: 'score' is {score!r:.40}, which is no finite number")
    return float(score)


def _rubric_of(path: Path, questions: Mapping[str, str], scores: Sequence[float]) -> Rubric:
    """A rubric whose scale is that of the ratings, and whose anchors only say where on it a level stands."""
    low, high = min(scores), max(scores)
    if low == high or low % 1 or high % 1 or high - low >= MOST_LEVELS:
        raise DataError(
            f"{path}: its scores go from {low:g} to {high:g}, which is no scale of 2 to {MOST_LEVELS} whole levels: "
            "give validate.rubric=PATH.yaml"
        )
    levels = range(int(low), int(high) + 1)
    anchors = {level: _anchor(level - levels[0], len(levels)) for level in levels}
    criteria = [
        graded(name, name.replace("_", " "), question or "how well does the text do by this criterion?", anchors)
        for name, question in questions.items()
    ]
    return make_rubric(path.stem, criteria)


def _anchor(place: int, levels: int) -> str:
    if place == 0:
        return "not at all"
    if place == levels - 1:
        return "entirely"
    return "in part" if 2 * place == levels - 1 else ("a little" if 2 * place < levels - 1 else "for the most part")


def _check(path: Path, rubric: Rubric, scores: Mapping[tuple[str, str], Mapping[str, float]]) -> None:
    scales = {criterion.name: criterion.scale for criterion in rubric.criteria}
    for (id_, criterion), given in scores.items():
        if criterion not in scales:
            raise DataError(f"{path}: {id_!r} is rated by {criterion!r}, which the rubric does not hold")
        low, high = scales[criterion][0], scales[criterion][-1]
        for rater, score in given.items():
            if not low <= score <= high:
                raise DataError(f"{path}: {rater!r} gave {id_!r} {score:g} by {criterion!r}, off its scale of "
                                f"{low:g} to {high:g}")  # fmt: skip
