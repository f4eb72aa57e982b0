"""Pairs that are other pairs in the next run, under the same path and run folder: what is searched anew."""

import contextlib
import json
import sqlite3

import pytest
from hydra import compose, initialize_config_module

from reer import synthesize
from reer.config import SynthesizeConfig, load, register
from reer.run.launch import DONE, PARTIAL

RAIN = {"id": "ok", "query": "Write of rain.", "answer": "Rain fell on the roof all night. Nobody slept."}
SNOW = {"id": "ok", "query": "Write of snow.", "answer": "Snow lay deep in the yard at dawn. The fox was gone."}
BROKEN = {"id": "fixme", "query": "Write of a dog.", "answer": "The dog <|end|> barked, and the rain went on."}
MENDED = BROKEN | {"answer": "The dog barked at the gutter, and the rain went on."}
SEA = {"id": "sea", "query": "Write of the sea.", "answer": "The sea was flat and grey, and nobody spoke of it."}


@pytest.fixture
def run(tmp_path, capsys):
    """Run the stage on some rows; gives its exit code and what it said."""
    register()

    def run_on(*rows, **overrides):
        (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        given = [f"{key.replace('__', '.')}={value}" for key, value in overrides.items()]
        with initialize_config_module("reer.conf", version_base="1.3"):
            config = compose(
                "synthesize",
                overrides=[
                    "experiment=fake", f"data.path={tmp_path / 'pairs.jsonl'}", f"run_dir={tmp_path / 'run'}", *given
                ],
            )  # fmt: skip
        code = synthesize.run(load(config, SynthesizeConfig))
        return code, capsys.readouterr().out

    return run_on


def read(tmp_path, name):
    return [json.loads(line) for line in (tmp_path / "run" / name).read_text(encoding="utf-8").splitlines()]


def kept(tmp_path):
    return {row["id"]: searched(row) for row in read(tmp_path, "trajectories.jsonl")}


def searched(row):
    """Without A_lex, which weighs words by the answers of all rows there are."""
    del row["worth"]["a_lex"]
    return row


def summary(tmp_path):
    return json.loads((tmp_path / "run" / "summary.json").read_text(encoding="utf-8"))


def alone(run, tmp_path, row):
    """The trajectory of a row searched in a folder of its own."""
    run(row, run_dir=tmp_path / "alone")
    path = tmp_path / "alone" / "trajectories.jsonl"
    return searched(json.loads(path.read_text(encoding="utf-8")))


def test_a_corrected_row_and_a_mended_one_are_searched_anew_and_that_is_said(run, tmp_path):
    assert run(RAIN, BROKEN)[0] == PARTIAL
    assert summary(tmp_path)["changed"] == 0
    code, said = run(SNOW, MENDED)
    assert code == DONE
    assert "2 rows changed since the last run: searched anew" in said
    assert summary(tmp_path)["changed"] == 2
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["changed"] == 2
    assert read(tmp_path, "quarantine.jsonl") == []
    assert kept(tmp_path)["ok"] == alone(run, tmp_path, SNOW)


def test_a_row_that_was_right_and_is_broken_now_loses_its_trajectory(run, tmp_path):
    run(RAIN, MENDED)
    code, said = run(RAIN, BROKEN)
    assert code == PARTIAL
    assert "1 row changed" in said
    assert kept(tmp_path).keys() == {"ok"}
    assert [row["id"] for row in read(tmp_path, "quarantine.jsonl")] == ["fixme"]


@pytest.mark.parametrize("change", [{"query": "Write of rain!"}, {"answer": "Rain fell."}, {"language": "zh"}])
def test_each_text_that_decides_a_search_counts(run, tmp_path, change):
    run(RAIN | {"language": "en"}, SEA)
    before = kept(tmp_path)
    _, said = run(RAIN | {"language": "en"} | change, SEA)
    assert "1 row changed since the last run" in said
    after = kept(tmp_path)
    assert after["sea"] == before["sea"]
    assert after["ok"]["thinking"] != before["ok"]["thinking"]


def test_rows_in_another_order_with_other_columns_keep_their_searches_and_carry_the_new_columns(run, tmp_path):
    run(RAIN, SEA)
    before, events = kept(tmp_path), recorded(tmp_path)
    code, said = run(SEA | {"year": 1900}, RAIN | {"source": "a diary"}, SEA)
    assert code == PARTIAL, "the second sea is a duplicate"
    assert "anew" not in said
    assert recorded(tmp_path) == events
    after = [*kept(tmp_path).values()]
    assert after == [before["sea"] | {"extra": {"year": 1900}}, before["ok"] | {"source": "a diary"}]


def test_a_row_that_vanished_is_not_exported_and_keeps_its_search_should_it_come_back(run, tmp_path):
    run(RAIN, SEA)
    before, events = kept(tmp_path), recorded(tmp_path)
    run(SEA)
    assert kept(tmp_path) == {"sea": before["sea"]}
    assert summary(tmp_path)["examples"]["input"] == 1
    run(RAIN, SEA)
    assert kept(tmp_path) == before
    assert recorded(tmp_path) == events


def test_a_text_that_changed_there_and_back_is_searched_each_time(run, tmp_path):
    run(RAIN)
    before = (tmp_path / "run" / "trajectories.jsonl").read_bytes()
    for rows in (SNOW, RAIN):
        assert "1 row changed" in run(rows)[1]
    assert (tmp_path / "run" / "trajectories.jsonl").read_bytes() == before


def test_a_file_that_changes_while_it_is_searched_gives_no_text_the_thinking_of_another(run, tmp_path, monkeypatch):
    def search_and_change(*arguments):
        search_all(*arguments)
        path = tmp_path / "pairs.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in (SNOW, SEA)), encoding="utf-8")

    search_all = synthesize.search_all
    monkeypatch.setattr(synthesize, "search_all", search_and_change)
    run(RAIN, SEA)
    assert kept(tmp_path).keys() == {"sea"}
    assert summary(tmp_path)["pending"] == 1


def recorded(tmp_path):
    with contextlib.closing(sqlite3.connect(tmp_path / "run" / "ledger.db")) as db:
        return list(db.execute("SELECT example, n, body FROM events ORDER BY example, n"))


def make_former(tmp_path):
    """Take the contents out of a ledger: what the version before them left."""
    with contextlib.closing(sqlite3.connect(tmp_path / "run" / "ledger.db")) as db:
        db.executescript(
            "DELETE FROM outcomes WHERE status = 'open'; ALTER TABLE outcomes DROP COLUMN content;"
            "PRAGMA user_version = 0"
        )


def test_a_ledger_of_the_former_version_on_the_same_file_keeps_everything(run, tmp_path):
    run(RAIN, BROKEN, SEA)
    before, events = (tmp_path / "run" / "trajectories.jsonl").read_bytes(), recorded(tmp_path)
    make_former(tmp_path)
    (tmp_path / "run" / "trajectories.jsonl").unlink()
    _, said = run(RAIN, BROKEN, SEA)
    assert "anew" not in said
    assert (tmp_path / "run" / "trajectories.jsonl").read_bytes() == before
    assert recorded(tmp_path) == events


def test_a_ledger_of_the_former_version_on_another_file_keeps_what_the_trajectories_confirm(run, tmp_path):
    run(RAIN, BROKEN, SEA)
    before = kept(tmp_path)
    make_former(tmp_path)
    code, said = run(SNOW, MENDED, SEA)
    assert code == DONE
    assert "2 rows searched by a former version, which did not keep their text: searched anew" in said
    assert kept(tmp_path)["sea"] == before["sea"]
    assert kept(tmp_path)["ok"]["query"] == "Write of snow."
    assert kept(tmp_path)["ok"]["thinking"] != before["ok"]["thinking"]
    assert "anew" not in run(SNOW, MENDED, SEA)[1]
