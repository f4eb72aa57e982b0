"""Sweeps: what is asked is run once, what fails is told, and SIGKILL costs at most the point at work."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

pytest.importorskip("optuna")

from experiments import responses, sweeping

from reer.errors import ConfigError, RunDirError

SCRIPT = Path(__file__).parents[3] / "scripts" / "sweep"
STUB = """#!{python}
import json, os, pathlib, sys, time
words = dict(word.split("=", 1) for word in sys.argv[1:])
with open("calls", "a") as file:
    file.write(words["name"] + chr(10))
folder = pathlib.Path("runs", words["name"])
if words.get("fault") == "fails":
    sys.exit("reer-sft: it cannot be")
value = float("nan") if words.get("fault") == "nan" else int(words["a"]) - float(words["b"])
time.sleep(float(words.get("wait", 0)))
(folder / "sft").mkdir(parents=True, exist_ok=True)
(folder / "sft/summary.json").write_text(json.dumps({{"found": {{"value": value}}}}))
sys.exit(2 if words.get("fault") == "partly" else 0)
"""
SWEEP = """
stage: sft
words: [wait=0]
file: sft/summary.json
value: found.value
direction: maximize
vary:
  a: [1, 2, 3]
  b: {low: 0.0, high: 1.0}
  c: {plain: [], odd: [fault=FAULT]}
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("experiments.work.BIN", tmp_path)
    (tmp_path / "reer-sft").write_text(STUB.format(python=sys.executable))
    (tmp_path / "reer-sft").chmod(0o755)
    return tmp_path


def sweep(here, fault="none", *words):
    (here / "mine.yaml").write_text(SWEEP.replace("FAULT", fault))
    return sweeping.read("mine.yaml", None, words)


def calls(here):
    return (here / "calls").read_text().splitlines()


def test_points_have_folders_of_their_own_and_the_report_tells_of_them(here):
    mine = sweep(here)
    sweeping.run(mine, 6, seed=0)
    assert len(set(calls(here))) == len(calls(here)) == 6
    said = list(sweeping.report(mine))
    trials = sweeping.open_study(mine, 0).trials
    best = max(trials, key=lambda trial: trial.value)
    assert said[0] == "sweeps/mine: found.value, maximize (6 points of 6 with a number)\n"
    assert said[3].startswith(f"| {best.number} | {best.params['a']} |")
    assert "importance  " in "\n".join(said)
    drawn = (here / "runs/sweeps/mine/responses.html").read_text()
    assert drawn.count("<svg") == 2
    assert set(responses.by_value(mine, trials, "a")) == {str(trial.params["a"]) for trial in trials}
    assert sum(map(len, responses.by_value(mine, trials, "b").values())) == 6


@pytest.mark.parametrize("fault", ["fails", "nan"])
def test_a_point_without_a_number_is_told_and_the_sweep_goes_on(here, fault, capsys):
    mine = sweep(here, fault)
    sweeping.run(mine, 8, seed=1)
    states = {trial.params["c"]: trial.state.name for trial in sweeping.open_study(mine, 0).trials}
    assert states == {"plain": "COMPLETE", "odd": "FAIL"}
    sentence = "failed: reer-sft: it cannot be" if fault == "fails" else "has no number at found.value"
    assert sentence in capsys.readouterr().out
    assert "without a number: " in "\n".join(sweeping.report(mine))


def test_a_point_of_which_rows_failed_has_its_number_and_is_named(here):
    mine = sweep(here, "partly")
    sweeping.run(mine, 6, seed=1)
    odd = [str(t.number) for t in sweeping.open_study(mine, 0).trials if t.params["c"] == "odd"]
    [said] = [line for line in sweeping.report(mine) if "some rows failed or were set aside: " in line]
    assert sorted(said.partition(": ")[2].partition(" (")[0].split(", ")) == sorted(odd)


def test_ranges_of_whole_numbers_texts_of_numbers_and_nothing(here):
    vary = "  a: {low: 2, high: 20}\n  b: {low: 1e-5, high: 1e-3, log: true}\n  c: [null, 2]\n"
    (here / "mine.yaml").write_text(SWEEP.partition("  a:")[0] + vary)
    mine = sweeping.read("mine.yaml", None, ())
    (here / "runs/sweeps/mine").mkdir(parents=True)
    values = sweeping.open_study(mine, 0).ask(sweeping.space(mine)).params
    assert isinstance(values["a"], int)
    assert 1e-5 <= values["b"] <= 1e-3
    assert sweeping.words_of(mine, {"c": None}) == ["c=null"]


@pytest.mark.parametrize(
    ("old", "new", "words", "sentence"),
    [
        ("stage: sft", "stage: stf", (), "stage 'stf' is none"),
        ("high: 1.0", "high: one", (), "describes no sweep: could not convert"),
        ("stage: sft", "stage: sft", ("dry_run=true",), "dry_run=true: every point"),
        ("stage: sft", "stage: sft", ("++name=x",), r"\+\+name=x: every point"),
    ],
)
def test_a_sweep_that_cannot_be_is_one_sentence(here, old, new, words, sentence):
    (here / "mine.yaml").write_text(SWEEP.replace(old, new))
    with pytest.raises(ConfigError, match=sentence):
        sweeping.read("mine.yaml", None, words)


def test_gain_per_token_counts_the_search_with_its_draft_and_no_measuring(here):
    usage = {"generated_tokens": 100, "prefilled_tokens": 200, "scored_tokens": 500, "draft_counted": 200}
    row = {"usage": usage, "worth": {"usage": usage}}
    (here / "synthesize").mkdir()
    parquet.write_table(pa.Table.from_pylist([row]), here / "synthesize/trajectories.parquet")
    per_tokens = sweeping.Sweep("s", "synthesize", (), "synthesize/summary.json", "gain", "maximize", {}, True)
    for gain, number in ((0.5, 0.5), (-0.5, -0.5)):  # a loss is no better for having cost more
        (here / per_tokens.file).write_text(json.dumps({"gain": gain}))
        assert sweeping.number_of(per_tokens, here) == pytest.approx(number)


def test_equal_values_are_not_run_twice(here):
    (here / "mine.yaml").write_text(SWEEP.replace("b: {low: 0.0, high: 1.0}", "b: [0.5]").replace("FAULT", "none"))
    mine = sweeping.read("mine.yaml", "again", ())
    sweeping.run(mine, 12, seed=0)
    assert len(set(calls(here))) == len(calls(here)) <= 6


def test_another_sweep_does_not_go_on_in_the_same_folder(here):
    sweeping.run(sweep(here), 1, seed=0)
    with pytest.raises(RunDirError, match="holds a sweep of other keys, values or words"):
        sweeping.run(sweep(here, "none", "seed=1"), 2, seed=0)
    assert "(1 points of 1 with a number)" in next(sweeping.report(sweep(here, "none", "seed=1")))  # it only reads


def test_an_unknown_sweep_is_one_sentence():
    with pytest.raises(ConfigError, match="sweep nine is unknown: choose one of search, sft, or give a YAML file"):
        sweeping.read("nine", None, ())


def test_the_shipped_sweeps_compose():
    from experiments.stages import hydra
    from hydra import compose

    from reer.run.overrides import as_typed

    with hydra():
        for name in ("search", "sft"):
            shipped = sweeping.read(name, None, ("mix.general.path=a.jsonl",))
            for draw in range(3):
                values = {
                    key: list(v)[draw % len(v)] if isinstance(v, list) or sweeping.is_named(v) else v["low"]
                    for key, v in shipped.vary.items()
                }
                words = [*shipped.words, *sweeping.words_of(shipped, values)]
                compose(shipped.stage, overrides=as_typed(words).arguments)


@pytest.mark.slow
def test_killed_and_started_again_it_repeats_no_finished_point(here):
    """Of 9 points the sweep is killed, with the stage, at the fourth; that one goes on, three are not run again."""
    (here / "mine.yaml").write_text(SWEEP.replace("FAULT", "none").replace("wait=0", "wait=0.7"))
    program = (
        f"import sys; sys.path.insert(0, {str(SCRIPT.parent)!r})\n"
        "from pathlib import Path; from experiments import sweeping, work\n"
        "work.BIN = Path('.').absolute()\n"
        "sweeping.run(sweeping.read('mine.yaml', None, ()), 9, 0)\n"
    )

    def start():
        return subprocess.Popen([sys.executable, "-c", program], start_new_session=True, stdout=subprocess.DEVNULL)

    first = start()
    deadline = time.monotonic() + 120
    while not (here / "calls").exists() or len(calls(here)) < 4:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    at_work = calls(here)[3]
    assert start().wait(timeout=120) == 0
    repeated = {name for name in calls(here) if calls(here).count(name) > 1}
    assert repeated <= {at_work}
    assert len(set(calls(here))) == 9
    found = [path.parent.parent.name for path in here.glob("runs/sweeps/mine/points/*/sft/summary.json")]
    assert len(found) == 9
    assert json.loads((here / "runs" / at_work / "point.json").read_text())["values"]
