"""The files of a finished search: complete or not there at all, the same rows in both."""

import json

import pyarrow.parquet as pq
import pytest

from reer.trajectories import Tally, TrajectoryFiles, arrow_schema


def row(n, **changes):
    step = {"segment": 0, "operation": "rewrite", "before": "a", "candidates": [], "kept": None, "nll": 1.0}
    usage = dict.fromkeys(("calls", "generated_tokens", "prefilled_tokens", "scored_tokens", "reused_tokens"), n)
    engine = {"model": "m", "revision": None, "dtype": None}
    return {
        "id": str(n), "trajectory": 0, "query": "q", "answer": "雪 🐕", "thinking": "z", "segments": ["z"],
        "first": {"thinking": "z", "segments": ["z"]}, "nll": {"none": 3.0, "first": 2.0, "final": 1.0 + n},
        "answer_tokens": 4, "leak": {"longest_run": 0, "containment": 0.0}, "steps": [step] * (n % 2),
        "usage": usage, "layout": "think", "generator": engine, "scorer": engine, "source": "", "licence": "",
        "language": "en", "domain": "", "seed": 2**62, "format_version": 1,
    } | changes  # fmt: skip


@pytest.mark.parametrize("count", [0, 1, 4, 5])
def test_both_files_hold_all_rows_whatever_the_batch(tmp_path, monkeypatch, count):
    monkeypatch.setattr(TrajectoryFiles, "BATCH", 2)
    rows = [row(n) for n in range(count)]
    with TrajectoryFiles(tmp_path) as files:
        for one in rows:
            files.write(one)
    assert [json.loads(line) for line in (tmp_path / "trajectories.jsonl").read_text().splitlines()] == rows
    table = pq.read_table(tmp_path / "trajectories.parquet")
    assert table.to_pylist() == rows
    assert table.schema == arrow_schema()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["trajectories.jsonl", "trajectories.parquet"]


def test_an_export_that_fails_leaves_the_files_before_it(tmp_path):
    with TrajectoryFiles(tmp_path) as files:
        files.write(row(1))
    before = (tmp_path / "trajectories.jsonl").read_bytes()

    def broken():
        with TrajectoryFiles(tmp_path) as files:
            files.write(row(2))
            raise RuntimeError("disk")

    with pytest.raises(RuntimeError, match="disk"):
        broken()
    assert (tmp_path / "trajectories.jsonl").read_bytes() == before
    assert pq.read_table(tmp_path / "trajectories.parquet").num_rows == 1


def test_means_are_those_of_the_kept_and_absent_where_nothing_is_kept():
    tally = Tally()
    assert tally.summary(examples=3, seconds=1.0)["nll"] == {"none": None, "first": None, "final": None}
    tally.keep(row(1))
    tally.keep(row(3))
    assert tally.summary(examples=3, seconds=1.0)["nll"]["final"] == 3.0
