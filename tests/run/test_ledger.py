"""The store of record: what was committed is there, whatever happens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reer.errors import RunDirError
from reer.run.ledger import Ledger
from reer.types import Attribution, Baseline, Candidate, First, Step, Usage

NLL = st.floats(0, 20)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
USAGE = st.builds(
    Usage,
    calls=st.integers(0, 9),
    generated_tokens=st.integers(0, 99),
    scored_tokens=st.integers(0, 99),
    seconds=st.floats(0, 99),
)
OBJECTIVE = st.none() | NLL
CANDIDATES = st.lists(
    st.builds(Candidate, text=TEXT, nll=st.none() | NLL, rejected=st.none() | TEXT, objective=OBJECTIVE),
    min_size=1,
    max_size=3,
).map(tuple)
EVENTS = st.one_of(
    st.builds(Baseline, nll=NLL, answer_tokens=st.integers(1, 9), usage=USAGE),
    st.builds(
        First,
        candidates=CANDIDATES,
        kept=st.just(0),
        segments=st.tuples(TEXT, TEXT),
        nll=NLL,
        objective=OBJECTIVE,
        usage=USAGE,
    ),
    st.builds(
        Attribution, sweep=st.integers(0, 9), changes=st.lists(st.none() | NLL, max_size=3).map(tuple), usage=USAGE
    ),
    st.builds(
        Step,
        sweep=st.integers(0, 9),
        segment=st.integers(0, 9),
        operation=st.sampled_from(["rewrite", "delete", "merge"]),
        before=TEXT,
        candidates=CANDIDATES,
        kept=st.none() | st.just(0),
        nll=NLL,
        objective=OBJECTIVE,
        usage=USAGE,
    ),
)


@given(st.lists(EVENTS, max_size=5))
def test_events_come_back_as_they_were(tmp_path_factory, events):
    path = tmp_path_factory.mktemp("ledger") / "ledger.db"
    ledger = Ledger(path)
    for n, event in enumerate(events):
        ledger.commit("a", n, event)
    ledger.close()
    ledger = Ledger(path)
    assert ledger.events("a") == events
    assert ledger.events("b") == []
    ledger.close()


def test_an_event_is_never_written_twice(tmp_path):
    import sqlite3

    ledger = Ledger(tmp_path / "ledger.db")
    ledger.commit("a", 0, Baseline(nll=1.0, answer_tokens=2, usage=Usage()))
    with pytest.raises(sqlite3.IntegrityError):
        ledger.commit("a", 0, Baseline(nll=9.0, answer_tokens=2, usage=Usage()))
    ledger.close()


def test_failed_examples_are_tried_again_and_others_are_not(tmp_path):
    ledger = Ledger(tmp_path / "ledger.db")
    ledger.finish("a", "done")
    ledger.finish("b", "failed", "server gone")
    ledger.finish("c", "quarantined", "too long")
    ledger.reopen()
    assert [ledger.outcome(e) for e in "abcd"] == [("done", ""), None, ("quarantined", "too long"), None]
    ledger.close()


def test_a_second_process_is_kept_out(tmp_path):
    ledger = Ledger(tmp_path / "ledger.db")
    with pytest.raises(RunDirError, match=r"ledger.db: another process is working in this run folder"):
        Ledger(tmp_path / "ledger.db")
    ledger.close()
    Ledger(tmp_path / "ledger.db").close()


def test_another_file_under_that_name_is_refused(tmp_path):
    (tmp_path / "ledger.db").write_text("something else, long enough to be no database at all" * 9)
    with pytest.raises(RunDirError, match="not a ledger"):
        Ledger(tmp_path / "ledger.db")
