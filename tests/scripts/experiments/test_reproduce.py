"""scripts/reproduce from a bare folder: two rows of the ablations for real, shared, resumed, and printed."""

import argparse
import importlib.machinery
import importlib.util
import re
from dataclasses import replace
from pathlib import Path

import pytest
from experiments import rows, work

from reer.errors import ConfigError

SCRIPT = Path(__file__).parents[3] / "scripts" / "reproduce"


@pytest.fixture
def reproduce(tmp_path, monkeypatch):
    loader = importlib.machinery.SourceFileLoader("reproduce_script", str(SCRIPT))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("reproduce_script", loader))
    loader.exec_module(module)
    monkeypatch.chdir(tmp_path)

    def two_rows(name, scale):
        table = rows.read_table(name, scale)
        return replace(table, rows=table.rows[:2], benchmarks=("reasoning",))

    monkeypatch.setattr(module, "read_table", two_rows)
    return module


def arguments(**changed):
    values = {
        "table": "ablations", "scale": "smoke", "seeds": [0], "jobs": None, "only_print": False, "yes": False,
        "overrides": [], "retry": False,
    }  # fmt: skip
    return argparse.Namespace(**(values | changed))


@pytest.mark.slow
def test_two_rows_share_their_search_and_a_second_run_does_nothing(reproduce, tmp_path, capsys):
    assert reproduce.reproduce(arguments()) == 0
    said = capsys.readouterr().out
    assert "stages  1 collect, 1 synthesize, 2 sft, 2 evaluate; without sharing 2 collect, 2 synthesize, 2 sft" in said
    assert "| no iterative search | " in said
    assert "difference to `the whole recipe` [95 %], p after Holm\n  no iterative search: reasoning " in said
    assert (tmp_path / "runs/reproduce/smoke/ablations/report.html").exists()
    assert reproduce.reproduce(arguments()) == 0
    assert "$ reer-" not in capsys.readouterr().out
    assert reproduce.reproduce(arguments(only_print=True)) == 0
    assert "| the whole recipe | " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"overrides": ["dry_run=true"]}, "dry_run=true: a stage that only tells"),
        ({"overrides": ["+name=x"]}, "name=x: the table says that"),
        ({"overrides": ["seed=5"]}, "seed=5: --seeds says which"),
        ({"seeds": [1, 1]}, "--seeds 1 1: one stands there twice"),
    ],
)
def test_words_that_would_make_another_table_are_refused(reproduce, tmp_path, changed, sentence):
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        reproduce.reproduce(arguments(**changed))
    assert not list(tmp_path.rglob("stage.json"))


def test_only_what_was_run_is_printed(reproduce):
    state = {"overrides": ["model.path=other"], "seeds": [0, 1]}
    assert reproduce.as_run(state, arguments()) == state
    assert reproduce.as_run(state, arguments(overrides=["model.path=other"], seeds=[0, 1])) == state
    for changed in ({"overrides": ["x=1"]}, {"seeds": [2]}):
        with pytest.raises(ConfigError, match="last run with model.path=other --seeds 0 1"):
            reproduce.as_run(state, arguments(**changed))


def test_a_search_on_a_budget_costs_what_the_one_does_that_sets_it(reproduce, monkeypatch, capsys):
    monkeypatch.setattr("experiments.price._dry_run", lambda stage, benchmark: [])
    monkeypatch.setattr(reproduce, "read_table", rows.read_table)
    assert reproduce.reproduce(arguments(table="controls", scale="full")) == 0
    said = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("search ")]
    hours = {name: float(took.replace(",", "")) for _, name, took, *_ in said}
    assert hours["controls/best_of_n"] == hours["controls/random_accept"] == hours["main/deepwriter"]


def test_full_tells_what_it_takes_and_runs_nothing(reproduce, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("experiments.price._dry_run", lambda stage, benchmark: [f"  {benchmark}"])
    assert reproduce.reproduce(arguments(scale="full", overrides=["plan.price_per_gpu_hour=2.5"])) == 0
    said = capsys.readouterr().out
    [total] = [line for line in said.splitlines() if line.startswith("in all")]
    hours, dollars = (float(word.replace(",", "").lstrip("$")) for word in (total.split()[2], total.split()[-1]))
    assert dollars == pytest.approx(2.5 * hours, rel=0.01)
    assert said.endswith("Nothing was run: --yes does.\n")
    assert not list(tmp_path.rglob("stage.json"))


def test_a_row_that_cannot_be_composed_is_a_sentence_of_its_own(reproduce):
    table = rows.read_table("ablations", "smoke")
    broken = replace(table.rows[0], experiment="ablations/none", title="none")
    plan, problems = reproduce.planned(replace(table, rows=(broken, table.rows[1])), arguments())
    assert list(plan) == ["ablations/first_thinking"]
    assert "ablations/none" in problems["ablations/none"]
    assert work.in_order(plan["ablations/first_thinking"])


def test_seeds_are_of_trainings_and_evaluations_and_share_pairs_and_searches(reproduce):
    table = rows.read_table("ablations", "smoke")
    plan, _ = reproduce.planned(table, arguments(seeds=[0, 1]))
    first, second = ([stage.id for stage in work.in_order([last])] for last in plan["main/deepwriter"])
    assert first[:2] == second[:2]
    assert not {*first[2:]} & {*second[2:]}
    [training] = [stage for stage in work.in_order(plan["main/deepwriter"][1:]) if stage.command == "sft"]
    assert "seed=1" in training.words
