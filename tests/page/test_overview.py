"""The terminal's last lines: models side by side, and a dash where there is nothing to show."""

import json
from pathlib import Path

from reer.files.results import Run, read_runs
from reer.page.overview import overview


def run(stage, summary):
    folder = f"{stage}-{summary['model']}" if "model" in summary else stage
    return Run(Path("runs") / folder, stage, summary, {}, "")


def results(model, mean, lift):
    estimate = {"mean": mean, "low": mean - 0.5, "high": mean + 0.5, "n_ok": 8, "n": 8}
    return {
        "model": model,
        "benchmarks": {"reasoning": {"scores": {"depth_of_analysis": estimate}, "overall": estimate}},
        "reference_lift": lift,
        "outputs": {"well_formed": {"mean": 0.25, "low": 0.0, "high": 0.5, "n": 8}},
    }


def test_every_stage_says_its_key_numbers():
    search = {"examples": {"done": 8, "input": 9}, "nll": {"none": 3.2, "first": 3.1, "final": 3.0},
              "thinking_words": 57.4}  # fmt: skip
    training = {"loss": {"first": 3.4, "last": 1.5}, "steps": 16}
    lift = {"mean": -0.05, "low": -0.1, "high": 0.0}
    runs = [
        run("synthesize", search),
        run("sft", training),
        run("evaluate", results("base", 2.0, None)),
        run("evaluate", results("tuned", 3.0, lift)),
    ]
    assert overview(runs).splitlines() == [
        "trajectories kept          8 of 9",
        "mean NLL of y              3.200 without thinking, 3.100 with the first, 3.000 with the final thinking "
        "(57 words)",
        "training loss              3.400 -> 1.500 in 16 steps",
        "                           base                      tuned",
        "reasoning                  2.00 [1.50, 2.50]         3.00 [2.50, 3.50]",
        "  depth of analysis        2.00 [1.50, 2.50]         3.00 [2.50, 3.50]",
        "  well-formed              25% [0, 50]               25% [0, 50]",
        "  ending in a loop         -                         -",
        "  words                    -                         -",
        "  reference lift (nats)    -                         -0.050 [-0.100, 0.000]",
    ]


def test_what_a_search_minimised_stands_beside_the_nll_with_its_unit():
    search = {"examples": {"done": 8, "input": 9}, "nll": {"none": 3.2, "first": 3.1, "final": 3.0}}
    found = {"kind": "mean_prob", "unit": "1 - mean probability of a token", "none": None, "first": 0.7, "final": 0.6}
    assert overview([run("synthesize", search | {"objective": found})]).splitlines()[-1] == (
        "what the search minimised  -, 0.700, 0.600 (1 - mean probability of a token)"
    )


def test_what_the_thinking_is_worth_is_said_with_what_is_missing():
    means = {
        "a_prob": {"mean": 0.125, "n": 8, "missing": 0},
        "a_lex": {"mean": 0.25, "n": 7, "missing": 1},
        "gain_over_blind": {"mean": -0.0625, "n": 1200, "missing": 34},
        "decorative": {"mean": None, "n": 0, "missing": 8},
    }
    search = {"examples": {"done": 8, "input": 8}, "nll": {"none": 3.2, "first": 3.1, "final": 3.0}, "worth": means}
    assert overview([run("synthesize", search)]).splitlines()[2:] == [
        "A_prob                     12.5%",
        "A_lex                      25.0% (7 trajectories, 1 missing)",
        "gain over blind (nats)     -0.062 (1,200 trajectories, 34 missing)",
    ]


def test_a_search_that_kept_nothing_has_no_mean():
    summary = {"examples": {"done": 0, "input": 2}, "nll": {"none": None, "first": None, "final": None}}
    assert overview([run("synthesize", summary)]) == "trajectories kept          0 of 2"
    without = {"examples": summary["examples"]}
    assert overview([run("synthesize", without), run("sft", {})]) == "trajectories kept          0 of 2"


def test_benchmarks_stand_below_each_other():
    writing = results("base", 60.0, None)["benchmarks"]["reasoning"]
    writing |= {"scale": {"low": 10, "high": 100}, "scores": {}}
    writing["groups"] = {"domain": {"D Literature & Arts": {"mean": 61.25, "low": None, "high": None}}}
    other = results("base", 2.0, None) | {"benchmarks": {"writingbench": writing}}
    lines = overview([run("evaluate", other), run("evaluate", results("tuned", 3.0, None))]).splitlines()
    assert lines[0].split() == ["base", "tuned"]
    assert "writingbench               60.0 [59.5, 60.5]         -" in lines
    assert "  D Literature & Arts      61.2                      -" in lines
    assert "reasoning                  -                         3.00 [2.50, 3.50]" in lines
    assert lines.index("reasoning                  -                         3.00 [2.50, 3.50]") == 1


def test_two_models_of_one_name_have_a_column_each():
    runs = [Run(Path("runs") / name / "evaluate", "evaluate", results("tuned", 2.0, None), {}, "") for name in "ab"]
    assert overview(runs).splitlines()[0].split() == ["tuned", "(a)", "tuned", "(b)"]


def test_files_that_are_written_for_others_are_no_stage_of_a_page(tmp_path):
    for name, summary in {
        "sft": {"examples": 3, "steps": 1},
        "mix": {"rows": {"trajectories": 3}},
        "export-dataset": {"rows": {"train": 3}},
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "summary.json").write_text(json.dumps(summary))
    assert [run.path.name for run in read_runs([tmp_path])] == ["sft"]
