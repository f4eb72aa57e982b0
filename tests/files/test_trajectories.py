"""The files of a finished search: complete or not there at all, the same rows in both."""

import json
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from reer.config import FakeBackendConfig, LayoutConfig, ObjectiveConfig, SearchConfig, SynthesizeConfig
from reer.files.trajectories import Tally, TrajectoryFiles, arrow_schema, to_row, tokens_of
from reer.method.state import State
from reer.method.worth.lexical import Frequencies
from reer.types import Baseline, Candidate, Example, First, Step, Usage


def worth(n, usage):
    """Measured, all of it, in every other row."""
    absent = dict.fromkeys(("a_lex", "gain_over_blind", "decorative", "usage"))
    unmeasured = absent | {"a_prob": 0.5, "blind": []}
    counts = {"segments": 1, "decorative": 0}
    return unmeasured if n % 2 else {
        "a_prob": 0.25, "a_lex": 0.125, "gain_over_blind": 0.5, "usage": usage,
        "blind": [{"text": "b", "nll": 2.5, "rejected": None}, {"text": "", "nll": None, "rejected": "echo"}],
        "decorative": {"epsilon": 0.01, "share": 0.5, "reflecting": counts, "plain": counts, "removals": [0.1, None]},
    }  # fmt: skip


def row(n, **changes):
    candidate = {"text": "b", "nll": 1.5, "rejected": None, "objective": 0.5 if n % 3 else None,
                 "draft": 1.0 * n if n % 2 else None}  # fmt: skip
    step = {
        "sweep": 0, "segment": 0, "operation": "rewrite", "before": "a", "candidates": [candidate], "kept": None,
        "nll": 1.0, "objective": 0.75 if n % 3 else None, "whole": "audit" if n % 2 else None,
    }  # fmt: skip
    usage = dict.fromkeys(tokens_of(Usage()), n)
    engine = {"model": "m", "revision": None, "dtype": None}
    return {
        "id": str(n), "trajectory": 0, "query": "q", "answer": "雪 🐕",
        "history": [{"role": "system", "content": "s"}] * n, "thinking": "z", "segments": ["z"],
        "first": {"thinking": "z", "segments": ["z"]}, "nll": {"none": 3.0, "first": 2.0, "final": 1.0 + n},
        "objective": {"kind": "mean_nll", "none": None, "first": 1.5, "final": 0.5 * n} if n % 3 else None,
        "answer_tokens": 4,
        "leak": {"longest_run": 0, "containment": 0.0}, "echo": {"longest_run": 0, "containment": 0.0},
        "worth": worth(n, usage), "steps": [step] * (n % 2), "start": n, "usage": usage, "layout": "think",
        "instruction": None, "generator": engine, "scorer": engine, "draft": engine if n % 2 else None, "source": "",
        "licence": "", "language": "en", "domain": "", "seed": 2**62,
        "extra": {"n": n} if n % 2 else {"tags": ["a", None]}, "format_version": 1,
    } | changes  # fmt: skip


def as_table(rows):
    """Rows as the Parquet file holds them: the other columns of the pairs as JSON."""
    return [row | {"extra": json.dumps(row["extra"], ensure_ascii=False)} for row in rows]


@pytest.mark.parametrize("count", [0, 1, 4, 5])
def test_both_files_hold_all_rows_whatever_the_batch(tmp_path, monkeypatch, count):
    monkeypatch.setattr(TrajectoryFiles, "BATCH", 2)
    rows = [row(n) for n in range(count)]
    with TrajectoryFiles(tmp_path) as files:
        for one in rows:
            files.write(one)
    assert [json.loads(line) for line in (tmp_path / "trajectories.jsonl").read_text().splitlines()] == rows
    table = pq.read_table(tmp_path / "trajectories.parquet")
    assert table.to_pylist() == as_table(rows)
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
    tally.keep(row(1, thinking="Rain first."))
    tally.keep(row(3, thinking="先下雨，后来晴。"))
    found = tally.summary(examples=3, seconds=1.0)
    assert (found["nll"]["final"], found["thinking_words"]) == (3.0, 4.0)


EXAMPLE = Example(id="e", query="q", answer="Rain fell.", source="book", licence="public domain")
CONFIG = SynthesizeConfig(generator=FakeBackendConfig(), scorer=FakeBackendConfig(), seed=7)


def searched(first=None, second=None):
    """Two segments, the second deleted; the objectives before and after, if there is one."""
    usage = Usage(calls=1, scored_tokens=10, reused_tokens=3, seconds=1.25)
    return State.of([
        Baseline(nll=3.0, answer_tokens=10, objective=None if first is None else 2.0, usage=usage),
        First(candidates=(Candidate("One. Two.", 2.5, objective=first),), kept=0, segments=("One. ", "Two."), nll=2.5,
              objective=first, usage=usage),
        Step(segment=1, operation="delete", before="Two.", candidates=(Candidate("", 2.75, objective=second),), kept=0,
             nll=2.75, objective=second, usage=usage),
    ])  # fmt: skip


def test_a_row_tells_what_was_searched_and_nothing_of_the_machine():
    found = to_row(EXAMPLE, searched(), CONFIG, Frequencies())
    assert found["objective"] is None
    assert found["instruction"] is None
    assert (found["thinking"], found["segments"]) == ("One.", ["One."])
    assert found["first"] == {"thinking": "One. Two.", "segments": ["One. ", "Two."]}
    assert found["nll"] == {"none": 3.0, "first": 2.5, "final": 2.75}
    assert found["usage"] == {
        "calls": 3, "generated_tokens": 0, "prefilled_tokens": 0, "scored_tokens": 30, "reused_tokens": 9,
        "draft_tokens": 0, "draft_counted": 0,
    }  # fmt: skip
    candidate = {"text": "", "nll": 2.75, "rejected": None, "objective": None, "draft": None}
    assert found["steps"] == [
        {"sweep": 0, "segment": 1, "operation": "delete", "before": "Two.", "candidates": (candidate,), "kept": 0,
         "nll": 2.75, "objective": None, "whole": None},
    ]  # fmt: skip


def test_a_row_holds_the_objective_beside_the_nll_where_something_else_was_minimised():
    config = SynthesizeConfig(**(vars(CONFIG) | {"layout": LayoutConfig(name="answer_tags", instruction="default")}))
    found = to_row(EXAMPLE, searched(1.5, 0.0), config, Frequencies())
    assert found["objective"] == {"kind": "mean_nll", "none": 2.0, "first": 1.5, "final": 0.0}
    assert found["nll"] == {"none": 3.0, "first": 2.5, "final": 2.75}
    assert (found["layout"], found["instruction"]) == ("answer_tags", "default")
    assert found["steps"][0]["objective"] == found["steps"][0]["candidates"][0]["objective"] == 0.0


def test_rows_with_and_without_an_objective_stand_in_one_table(tmp_path):
    with TrajectoryFiles(tmp_path) as files:
        for state in (searched(), searched(1.5, 0.5)):
            files.write(to_row(EXAMPLE, state, CONFIG, Frequencies()))
    table = pq.read_table(tmp_path / "trajectories.parquet")
    assert table["objective"].to_pylist() == [
        None,
        {"kind": "mean_nll", "none": 2.0, "first": 1.5, "final": 0.5},
    ]
    lines = (tmp_path / "trajectories.jsonl").read_text().splitlines()
    assert table.to_pylist() == as_table([json.loads(line) for line in lines])
    assert set(table.schema.field("usage").type.names) == set(table["usage"][0].as_py()) == set(row(1)["usage"])


def test_the_summary_tells_what_was_minimised_and_in_which_unit():
    settings = SearchConfig(objective=ObjectiveConfig(kind="mean_prob"))
    config = SynthesizeConfig(**(vars(CONFIG) | {"search": settings}))
    tally, plain = Tally(), Tally()
    for second in (0.25, 0.75):
        tally.keep(to_row(EXAMPLE, searched(1.5, second), config, Frequencies()))
        plain.keep(to_row(EXAMPLE, searched(), CONFIG, Frequencies()))
    assert tally.summary(2, 0.0)["objective"] == {
        "kind": "mean_prob", "unit": "1 - mean probability of a token", "none": 2.0, "first": 1.5, "final": 0.5,
    }  # fmt: skip
    assert plain.summary(2, 0.0)["objective"] is None


def test_what_an_earlier_version_did_not_record_stays_unknown():
    state, tally = searched(1.5, 0.5), Tally()
    state.baseline = replace(state.baseline, objective=None)
    tally.keep(to_row(EXAMPLE, state, CONFIG, Frequencies()))
    assert tally.summary(1, 0.0)["objective"]["none"] is None
    assert state.relative_gain is None


def test_the_summary_counts_refused_proposals_by_their_first_word_and_keeps_the_seconds():
    usage = Usage(calls=1, seconds=0.5)
    plans = ("skeleton: truncated", "skeleton: no_tag", "leak", None)
    candidates = tuple(Candidate("x", None if why else 1.0, why) for why in plans)
    tally = Tally()
    tally.add(State.of([First(candidates=candidates, kept=3, segments=("x",), nll=1.0, usage=usage)]))
    summary = tally.summary(examples=1, seconds=9.0)
    assert summary["rejected"] == {"leak": 1, "skeleton": 2}
    assert summary["usage"]["seconds"] == 0.5
