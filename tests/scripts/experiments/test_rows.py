"""Every row of every table is there, composes at every scale, and differs from the main run in what it says alone."""

from pathlib import Path

import pytest
from experiments.rows import SCALES, paper_numbers, read_table, tables
from experiments.stages import Planner, _loaded, hydra

from reer.config import flatten
from reer.errors import ConfigError

CONF = Path(__file__).parents[3] / "conf" / "experiment"
MAIN = "main/deepwriter"
JUDGE = "judge.backend.model_name=m"
DIFFERENCES = {
    "ablations/no_synthetic": {"mix.domains": ["no trajectory"], "mix.rows": 17000, "mix.general.ratio": None},
    "ablations/first_thinking": {"mix.thinking": "first"},
    "ablations/no_reflection": {"prompts.set": "plain"},
    "ablations/long_downsampled": {"mix.length": "short"},
    "ablations/short_downsampled": {"mix.length": "long"},
    "controls/answers_only": {"mix.thinking": "none"},
    "controls/blind": {"search.start": "blind", "search.max_steps": 0},
    "controls/best_of_n": {"search.first_samples": 4, "search.first_rounds": 60, "search.max_steps": 0},
    "controls/random_accept": {"search.accept": "random", "search.sweeps": 60, "search.max_steps": 60},
    "controls/official_objective": {"search.objective.clip": 2.0, "search.objective.skip_opening": True},
    "controls/other_scorer": {"scorer.model.path": "Qwen/Qwen2.5-32B-Instruct", "scorer.model.dtype": "bfloat16",
                              "scorer.model.max_length": 16384},
    "controls/distillation": {"data.trajectories": "runs/NAME/evaluate-generator/reasoning/answers.jsonl"},
    "main/base": {"evaluate.label": "base", "evaluate.model_path": None},
}  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def _hydra():
    with hydra():
        yield


def config(experiment):
    """Everything that any stage of an experiment reads, at no scale."""
    words = (f"experiment={experiment}", JUDGE)
    merged = {}
    for command in ("synthesize", "sft", "evaluate"):
        merged |= {key: value for key, value in flatten(_loaded(command, "NAME", words)) if key != "stage"}
    return merged


@pytest.mark.parametrize("experiment", DIFFERENCES)
def test_a_row_is_the_main_run_with_one_difference(experiment):
    base, row = config(MAIN), config(experiment)
    ignored = {"run_dir"}
    changed = {key: row[key] for key in row if row[key] != base[key] and key not in ignored}
    if experiment == "controls/distillation":  # what the model was trained on is searched for overlap, too
        assert changed.pop("evaluate.training_data") == changed["data.trajectories"]
    assert changed == DIFFERENCES[experiment]


def test_no_literature_leaves_out_domains_and_keeps_the_mix():
    base, row = config(MAIN), config("ablations/no_literature")
    changed = {key for key in row if row[key] != base[key]}
    assert changed == {"mix.without_domains"}
    assert "artistic" in row["mix.without_domains"]


def test_tables_and_folders_name_the_same_rows():
    there = {f"{path.parent.name}/{path.stem}" for path in CONF.glob("*/*.yaml")}
    named = {row.experiment for name in tables() for row in read_table(name, "full").rows}
    assert named == there
    assert {row.paper for name in tables() for row in read_table(name, "full").rows} - {None} <= set(paper_numbers())
    assert all((CONF / name / "README.md").exists() for name in tables())


@pytest.mark.parametrize("name", tables())
def test_models_that_were_not_taught_to_think_are_measured_without_thinking(name):
    """Else their think block is opened for them, and they fill it with an answer."""
    for row in read_table(name, "tiny").rows:
        taught = row.experiment != "main/base" and DIFFERENCES.get(row.experiment, {}).get("mix.thinking") != "none"
        assert ("benchmark.thoughts=0" in row.stages.get("evaluate", ())) is not taught, row.experiment


def test_an_unknown_table_is_one_sentence():
    with pytest.raises(ConfigError, match="table nine is unknown: choose one of ablations, controls, main"):
        read_table("nine", "smoke")


@pytest.mark.slow
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", tables())
def test_every_row_composes_at_every_scale(name, scale):
    table = read_table(name, scale)
    others = {row.experiment: row for row in table.rows}
    planner = Planner(scale, table.benchmarks)
    found = {row.experiment: planner.evaluation(row, others) for row in table.rows if not row.skip}
    assert len({stage.key for stage in found.values()}) == len(found)


def test_a_row_that_another_table_describes_is_that_row_with_the_words_of_its_own_table():
    def found(name):
        [row] = [row for row in read_table(name, "smoke").rows if row.experiment == "controls/distillation"]
        return row

    mine, there = found("replication"), found("controls")
    assert (mine.title, mine.stages["evaluate-generator"]) == (there.title, there.stages["evaluate-generator"])
    assert mine.stages["evaluate"] == ["benchmark.path=scripts/search/data/unseen_pairs.jsonl"]
