"""The store of record: what was committed is there, whatever happens."""

import contextlib
import json
import sqlite3
from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reer.errors import RunDirError
from reer.run.ledger import Ledger, content_of, is_locked
from reer.types import Attribution, Baseline, Candidate, Example, First, Message, Step, Usage

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


PAIR = Example(id="a", query="Write of rain.", answer="Rain fell.")
BASELINE = Baseline(nll=1.0, answer_tokens=2, usage=Usage())


def opened(folder):
    return contextlib.closing(Ledger(folder / "ledger.db"))


@given(st.lists(EVENTS, max_size=5))
def test_events_come_back_as_they_were(tmp_path_factory, events):
    folder = tmp_path_factory.mktemp("ledger")
    with opened(folder) as ledger:
        assert ledger.begin(PAIR) == []
        for n, event in enumerate(events):
            ledger.commit("a", n, event)
    with opened(folder) as ledger:
        assert ledger.begin(PAIR) == ledger.events("a") == events
        assert ledger.events("b") == []


def test_an_event_is_never_written_twice(tmp_path):
    with opened(tmp_path) as ledger:
        ledger.commit("a", 0, BASELINE)
        with pytest.raises(sqlite3.IntegrityError):
            ledger.commit("a", 0, replace(BASELINE, nll=9.0))
        assert ledger.events("a") == [BASELINE]


def test_failed_examples_are_tried_again_and_others_are_not(tmp_path):
    pairs = [replace(PAIR, id=name) for name in "abcd"]
    with opened(tmp_path) as ledger:
        for pair in pairs[:3]:
            ledger.begin(pair)
        ledger.finish("a", "done")
        ledger.finish("b", "failed", "server gone")
        ledger.finish("c", "quarantined", "too long")
        assert ledger.standing(pairs[1]) == ("failed", "server gone")
        ledger.reopen()
        expected = [("done", ""), ("open", ""), ("quarantined", "too long"), ("new", "")]
        assert [ledger.standing(pair) for pair in pairs] == expected


CHANGES = {
    "query": {"query": "Write of snow."},
    "answer": {"answer": "Rain fell, and fell."},
    "history": {"history": (Message("system", "You are a poet."),)},
    "language": {"language": "zh"},
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_recorded_of_other_content_does_not_count_and_goes_when_the_new_is_begun(tmp_path, change):
    changed = replace(PAIR, **CHANGES[change])
    with opened(tmp_path) as ledger:
        ledger.begin(PAIR)
        ledger.commit("a", 0, BASELINE)
        ledger.finish("a", "done")
        assert ledger.standing(changed) == ("changed", "")
        assert ledger.standing(PAIR) == ("done", "")
        assert ledger.begin(changed) == ledger.events("a") == []
        assert [ledger.standing(pair)[0] for pair in (changed, PAIR)] == ["open", "changed"]


def test_what_does_not_decide_a_search_does_not_change_its_content(tmp_path):
    other = replace(PAIR, domain="weather", source="a book", licence="CC0-1.0", extra={"year": 1900})
    with opened(tmp_path) as ledger:
        ledger.begin(PAIR)
        ledger.commit("a", 0, BASELINE)
        assert ledger.begin(other) == [BASELINE]


def test_turns_are_told_from_the_texts_beside_them():
    turns = [(), (Message("user", "a"),), (Message("system", "a"),), (Message("user", ""), Message("user", "a"))]
    contents = {content_of(replace(PAIR, history=history)) for history in turns}
    assert len(contents) == len(turns)


def test_a_reader_sees_what_the_writer_has_committed_and_keeps_nobody_out(tmp_path):
    path = tmp_path / "ledger.db"
    with opened(tmp_path) as ledger:
        ledger.begin(PAIR)
        ledger.commit("a", 0, BASELINE)
        assert is_locked(path)
        with contextlib.closing(Ledger(path, read_only=True)) as reader:
            assert reader.events("a") == [BASELINE]
            ledger.finish("a", "done")
            assert reader.standing(PAIR) == ("done", "")
            with pytest.raises(RunDirError, match="readonly"):
                reader.finish("a", "failed")
    assert not is_locked(path)


def test_a_damaged_file_is_told_at_once_with_what_can_be_done(tmp_path):
    with opened(tmp_path) as ledger:
        ledger.begin(PAIR)
        for n in range(60):
            ledger.commit("a", n, replace(BASELINE, nll=float(n)))
    path = tmp_path / "ledger.db"
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xff" * 4096 + whole[8192:])
    with pytest.raises(RunDirError, match=r"ledger\.db: damaged \(.+\): put a copy of it back"):
        Ledger(path)
    path.write_bytes(whole)
    Ledger(path).close()


def test_a_ledger_of_a_newer_version_is_refused(tmp_path):
    Ledger(tmp_path / "ledger.db").close()
    with contextlib.closing(sqlite3.connect(tmp_path / "ledger.db")) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(RunDirError, match="newer version"):
        Ledger(tmp_path / "ledger.db")


FORMER = """
CREATE TABLE events (
    example TEXT NOT NULL, n INTEGER NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (example, n)) WITHOUT ROWID;
CREATE TABLE outcomes (example TEXT PRIMARY KEY, status TEXT NOT NULL, reason TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO outcomes VALUES ('a', 'done', ''), ('c', 'quarantined', 'too long');
"""


def test_a_ledger_without_contents_keeps_its_events_for_those_it_is_told_they_are_of(tmp_path):
    body = json.dumps(asdict(BASELINE))
    with contextlib.closing(sqlite3.connect(tmp_path / "ledger.db")) as db:
        db.executescript(FORMER)
        db.executemany("INSERT INTO events VALUES (?, 0, 'Baseline', ?)", [("a", body), ("b", body)])
        db.commit()
    pairs = [replace(PAIR, id=name) for name in "abc"]
    for _ in range(2):  # it is brought to today's form once
        with opened(tmp_path) as ledger:
            assert ledger.is_former()
            assert [ledger.standing(pair)[0] for pair in pairs] == ["unknown"] * 3
    with opened(tmp_path) as ledger:
        for pair in pairs[:2]:
            ledger.adopt(pair)
        assert [ledger.standing(pair)[0] for pair in pairs] == ["done", "open", "unknown"]
        assert ledger.begin(pairs[1]) == [BASELINE]
        ledger.begin(pairs[2])
        assert not ledger.is_former()


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
