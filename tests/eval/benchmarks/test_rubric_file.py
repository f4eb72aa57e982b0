"""Criteria of one's own."""

from pathlib import Path

import pytest

from eval.benchmarks import load
from eval.benchmarks.rubric_file import read_rubric
from reer.config import BenchmarkConfig
from reer.errors import ConfigError, DataError

GOOD = """\
name: tension
guidance: Read as a reader would.
criteria:
  - name: suspense
    question: does the reader want to know what comes next?
    weight: 2
    levels: {1: never, 2: at times, 3: throughout}
  - name: pace
    title: Pace
    question: is it as fast as it should be?
    weight: 1
    levels: {1: too slow, 2: mostly, 3: always}
"""


def test_a_rubric_is_read_and_takes_the_place_of_the_five_dimensions(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD)
    rubric = read_rubric(path)
    assert [(c.name, c.title, c.weight, c.scale) for c in rubric.criteria] == [
        ("suspense", "Suspense", 2.0, (1, 2, 3)), ("pace", "Pace", 1.0, (1, 2, 3)),
    ]  # fmt: skip
    benchmark = load(BenchmarkConfig(rubric=str(path)))
    assert {item.rubric.version for item in benchmark.items} == {rubric.version}
    assert (benchmark.low, benchmark.high) == (1, 3)
    with pytest.raises(ConfigError, match="the criteria of hellobench come with its data"):
        load(BenchmarkConfig(name="hellobench", path="sample", rubric=str(path)))


@pytest.mark.parametrize(
    ("change", "to", "words"),
    [
        ("2: at times, ", "", "criterion suspense has no anchor for level 2"),
        ("2: at times", "2: ''", "criterion suspense has no anchor for level 2"),
        ("    weight: 1\n", "", "criterion pace has no weight, though others have one"),
        ("weight: 1", "weight: none", "criterion pace has the weight 'none'"),
        ("weight: 1", "weight: 0", "criterion pace has the weight 0"),
        ("weight: 1", "weight: .nan", "criterion pace has the weight nan"),
        ("weight: 1", "weight: .inf", "criterion pace has the weight inf"),
        ("weight: 1", f"weight: 1{'0' * 400}", "which is no finite positive number"),
        ("1: too slow", "1: no", "criterion pace has an anchor for level 1 that is no text: False"),
        ("name: pace", "name: suspense", "two criteria are named suspense"),
        ("name: pace", "label: pace", "criterion 2 has no name"),
        ("title: Pace", "tilte: Pace", "criterion pace has an unknown key tilte"),
        ("    question: is it as fast as it should be?\n", "", "criterion pace has no question"),
        ("{1: too slow, 2: mostly, 3: always}", "{1: too slow, 2: mostly}", "different scales"),
        ("{1: too slow, 2: mostly, 3: always}", "[slow, mostly]", "criterion pace has no levels"),
        ("criteria:", "dimensions:", "holds no list of criteria"),
        ("{1: never", "{1: never: 2", "is no YAML"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, change: str, to: str, words: str) -> None:
    path = tmp_path / "mine.yaml"
    assert change in GOOD
    path.write_text(GOOD.replace(change, to))
    with pytest.raises(DataError) as caught:
        read_rubric(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_rubric_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="absent.yaml: cannot be read"):
        read_rubric(tmp_path / "absent.yaml")
