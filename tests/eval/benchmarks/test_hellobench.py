"""Aggregation against the published judgements: a small extract, with sums worked out from it by themselves."""

import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from eval.benchmarks.hellobench import TASKS, load, rescaled, weighted, weights_of
from reer.config import BenchmarkConfig
from reer.errors import DataError

ROOT = Path(__file__).parents[3]
EXTRACT = Path(__file__).with_name("hellobench_judgements.jsonl")
GOLDEN = {
    ("gpt4o_0806", "heuristic_text_generation"): (85.8242, 5),
    ("gpt4o_0806", "open_ended_qa"): (89.1174, 5),
    ("gpt4o_0806", "text_completion"): (92.0504, 5),
    ("longwriter_9b", "heuristic_text_generation"): (78.2356, 5),
    ("longwriter_9b", "open_ended_qa"): (83.5742, 5),
    ("longwriter_9b", "text_completion"): (80.1480, 5),
}
"""(model, task) -> mean of the authors' own weighted totals over the rows of the extract, and their number."""


def test_weights_of_every_category_add_up_to_100() -> None:
    path = ROOT / "reer" / "files" / "data" / "benchmarks" / "hellobench_weights.json"
    weights = json.loads(path.read_text())
    assert len(weights) == 38
    for category, values in weights.items():
        assert sum(values) == pytest.approx(100)
        assert weights_of(category, len(values)) == values
        assert weighted(category, [1.0] * len(values)) == pytest.approx(100)
        assert weighted(category, [0.0] * len(values)) == 0


def test_the_papers_presentation() -> None:
    assert [rescaled(score) for score in (75, 100, 0)] == [0, 100, -300]


def test_a_checklist_without_weights_or_of_another_length_is_named() -> None:
    with pytest.raises(DataError, match="no weights for the category poetry"):
        weights_of("poetry", 5)
    with pytest.raises(DataError, match="7 weights for the category travel, which has 6 items"):
        weights_of("travel", 6)


def test_check_hellobench_reproduces_the_published_means() -> None:
    script = [sys.executable, str(ROOT / "scripts" / "checks" / "hellobench"), str(EXTRACT)]
    done = subprocess.run(script, capture_output=True, text=True, check=True)
    found = defaultdict(dict)
    for line in done.stdout.splitlines():
        model, task, mean, low, high, n = line.split()
        assert float(low) <= float(mean) <= float(high)
        found[model][task] = (float(mean), int(n))
    assert {(model, task): value for model, tasks in found.items() for task, value in tasks.items()} == {
        key: (pytest.approx(mean, abs=0.006), n) for key, (mean, n) in GOLDEN.items()
    }


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ('{"model": "m", "task": "chat", "category": "rewrite"}', "row 2: no judgement ('scores')"),
        ('{"model": "m", "task": "chat", "category": "rewrite", "scores": [1, 1]}', "6 weights for the category rewr"),
        ('{"model": "m", "task": "chat", "category": "rewrite", "scores": [1, 1, 1, 1, 1, 5]}', "not between 0 and 1"),
        ("{", "row 2: no judgement"),
    ],
)
def test_check_hellobench_names_a_bad_row(tmp_path: Path, row: str, words: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(EXTRACT.read_text().splitlines()[0] + "\n" + row + "\n")
    script = [sys.executable, str(ROOT / "scripts" / "checks" / "hellobench"), str(path)]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_sample_has_checklists_with_weights() -> None:
    benchmark = load(BenchmarkConfig(name="hellobench", path="sample"))
    assert {item.groups["task"] for item in benchmark.items} < set(TASKS)
    for item in benchmark.items:
        assert sum(criterion.weight for criterion in item.rubric.criteria) == pytest.approx(100)
        assert item.rubric.points(1.0) == 100


def test_an_unknown_task_is_quarantined(tmp_path: Path) -> None:
    row = {"id": "poetry_000", "category": "travel", "instruction": "Write.", "checklists": ["a?"] * 7}
    path = tmp_path / "chat.jsonl"
    path.write_text(json.dumps(row) + "\n" + json.dumps(row | {"id": "chat_000"}) + "\n")
    benchmark = load(BenchmarkConfig(name="hellobench", path=str(path)))
    assert [item.id for item in benchmark.items] == ["chat_000"]
    assert "'id' names no task" in benchmark.quarantined[0].reason
