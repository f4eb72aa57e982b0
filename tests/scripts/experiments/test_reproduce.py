"""scripts/reproduce from a bare folder: two rows of the ablations for real, shared, resumed, and printed."""

import argparse
import importlib.machinery
import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
from experiments import rows, work

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
        "overrides": [],
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
