"""What a run has finished reaches its files while it is at work and after an interruption, and the files load."""

import contextlib
import json
import signal
import subprocess
import sys
import time

import pytest
from hydra import compose, initialize_config_module

from reer import synthesize
from reer.config import SynthesizeConfig, load, load_search, register
from reer.errors import ConfigError
from reer.files.export import bring_up_to_date
from reer.files.trajectories import plain
from reer.page.report import main as report
from reer.run.launch import DONE, INTERRUPTED
from reer.run.ledger import Ledger
from reer.run.manifest import write_card

PAIRS = [
    {"id": str(n), "query": f"Write of rain, part {n}.", "answer": f"Rain fell {n} times on the roof, all night."}
    for n in range(12)
]


def config(folder, *overrides):
    register()
    given = ["experiment=fake", f"data.path={folder / 'pairs.jsonl'}", f"run_dir={folder / 'run'}", *overrides]
    with initialize_config_module("reer.conf", version_base="1.3"):
        return load(compose("synthesize", overrides=given), SynthesizeConfig)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in PAIRS))
    return tmp_path


def ids(folder):
    lines = (folder / "run" / "trajectories.jsonl").read_text().splitlines()
    return [json.loads(line)["id"] for line in lines]


def summary(folder):
    return json.loads((folder / "run" / "summary.json").read_text())


def cut_short(folder, monkeypatch, after):
    """A run that is interrupted when so many examples have ended."""
    ended = []

    def on_event(self, example, event):
        ended.extend([example] if event is None else [])
        if len(ended) == after:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(synthesize._Progress, "__call__", on_event)
        with pytest.raises(KeyboardInterrupt):
            synthesize.run(config(folder, "executor.concurrency=1"))


def test_what_is_finished_is_written_after_an_interruption_and_the_rest_is_pending(folder, monkeypatch, capsys):
    cut_short(folder, monkeypatch, after=5)
    assert ids(folder) == list("01234")
    assert f"the 5 trajectories that are finished are in {folder / 'run'}" in capsys.readouterr().out
    assert (summary(folder)["pending"], summary(folder)["examples"]["done"]) == (7, 5)
    assert (folder / "run" / "quarantine.jsonl").read_text() == ""
    before = (folder / "run" / "trajectories.jsonl").read_bytes()
    assert synthesize.run(config(folder)) == DONE
    assert summary(folder)["pending"] == 0
    assert (folder / "run" / "trajectories.jsonl").read_bytes().startswith(before)


def test_what_takes_long_to_write_is_left_to_the_report(folder, monkeypatch, capsys):
    monkeypatch.setattr(synthesize, "QUICK", 3)
    cut_short(folder, monkeypatch, after=5)
    assert f"5 examples are finished; `reer-report {folder / 'run'}` writes them" in capsys.readouterr().out
    assert not (folder / "run" / "trajectories.jsonl").exists()
    monkeypatch.setattr(sys, "argv", ["reer-report", str(folder / "run")])
    with pytest.raises(SystemExit) as end:
        report()
    assert end.value.code == DONE
    said = capsys.readouterr().out
    assert "trajectories kept          5 of 12" in said
    assert "still to be searched       7" in said
    assert ids(folder) == list("01234")
    assert "7 still to be searched" in (folder / "report.html").read_text()


def test_a_run_at_work_can_be_reported_and_goes_on(folder):
    run = ["-m", "reer.synthesize", "experiment=fake", f"data.path={folder / 'pairs.jsonl'}", "executor.concurrency=1"]
    process = subprocess.Popen(
        [sys.executable, *run, f"run_dir={folder / 'run'}", "generator.latency=0.1"],
        cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert _until(lambda: _finished(folder) >= 2, process)
        done = subprocess.run(
            [sys.executable, "-m", "reer.page.report", folder / "run"], capture_output=True, text=True, check=False
        )
        assert process.poll() is None
        assert done.returncode == 0, done.stderr
        assert "still to be searched" in done.stdout
        assert ids(folder)[:2] == ["0", "1"]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
    assert process.returncode == INTERRUPTED


def _until(happens, process):
    while process.poll() is None:
        if happens():
            return True
        time.sleep(0.05)
    return False


def _finished(folder):
    if not (folder / "run" / "manifest.json").exists():
        return 0
    with contextlib.closing(Ledger(folder / "run" / "ledger.db", read_only=True)) as ledger:
        return ledger.finished()


def test_a_run_that_cannot_be_exported_is_reported_as_it_was(folder, monkeypatch):
    cut_short(folder, monkeypatch, after=5)
    before = (folder / "run" / "trajectories.jsonl").read_bytes()
    (folder / "pairs.jsonl").unlink()
    assert "no such file" in bring_up_to_date(folder / "run")
    assert (folder / "run" / "trajectories.jsonl").read_bytes() == before


def test_a_finished_run_is_not_exported_again(folder):
    synthesize.run(config(folder))
    (folder / "pairs.jsonl").unlink()
    assert bring_up_to_date(folder / "run") is None
    assert bring_up_to_date(folder) is None


def test_a_frozen_config_comes_back_with_its_engines(folder, tmp_path):
    given = config(folder, "filter.min_words=2", "backend@generator=openai", "generator.model_name=m")
    synthesize.open_run_dir(given)
    assert load_search(folder / "run" / "config.yaml") == given
    (tmp_path / "other.yaml").write_text("a: 1\n")
    for name in ("other.yaml", "none.yaml"):
        with pytest.raises(ConfigError, match=name):
            load_search(tmp_path / name)


def test_other_columns_and_turns_ride_along_and_the_folder_loads(folder):
    from datasets import load_dataset

    rows = [PAIRS[0] | {"year": 1900, "tags": ["a", None]}, PAIRS[1] | {"year": "unknown", "score": float("nan")}]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    synthesize.run(config(folder))
    lines = [json.loads(line) for line in (folder / "run" / "trajectories.jsonl").read_text().splitlines()]
    assert [row["extra"] for row in lines] == [{"year": 1900, "tags": ["a", None]}, {"year": "unknown", "score": None}]
    loaded = load_dataset(str(folder / "run"), cache_dir=str(folder / "cache"))["train"]
    assert [json.loads(extra) for extra in loaded["extra"]] == [row["extra"] for row in lines]
    assert [row["thinking"] for row in loaded] == [row["thinking"] for row in lines]
    assert loaded[0]["history"] == []


def test_a_folder_of_many_kinds_of_files_loads_what_its_card_names(tmp_path):
    from datasets import load_dataset

    rows = [{"step": 1, "loss": 2.0}, {"step": 2, "nll_answer": 1.5}, {"step": 3, "loss": None}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "scores.jsonl").write_text('{"id": "a", "scores": {"depth": null}}\n')
    for name in ("training.json", "manifest.json"):
        (tmp_path / name).write_text('{"steps": 3}')
    write_card(tmp_path, {"metrics": "metrics.jsonl", "scores": "scores.jsonl"})
    metrics, scores = (
        load_dataset(str(tmp_path), *name, cache_dir=str(tmp_path / "cache"))["train"] for name in ([], ["scores"])
    )
    assert (metrics["step"], metrics["loss"]) == ([1, 2, 3], [2.0, None, None])
    assert scores["id"] == ["a"]
    (tmp_path / "scores.jsonl").write_text('{"id": "b", "scores": {"depth": null}}\n')
    write_card(tmp_path, {"metrics": "metrics.jsonl", "scores": "scores.jsonl"})
    again = load_dataset(str(tmp_path), "scores", cache_dir=str(tmp_path / "cache"))["train"]
    assert again["id"] == ["b"]  # datasets would go on giving what it found there first


def test_values_that_json_has_no_word_for_are_written_as_text_or_nothing():
    import datetime

    day, found = datetime.date(1900, 1, 2), plain({"day": (datetime.date(1900, 1, 2), float("inf")), 3: True})
    assert found == {"day": [str(day), None], "3": True}
