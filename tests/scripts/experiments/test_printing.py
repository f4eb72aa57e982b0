"""Tables are printed from finished runs' files, and a row without numbers says why."""

import json

import pyarrow as pa
import pytest
from experiments import printing
from experiments.work import Workplace
from pyarrow import parquet

import reer
from reer.errors import DataError

ESTIMATE = {"mean": 87.5, "low": 85.0, "high": 90.0, "n_ok": 10, "n": 10}
RESULTS = {
    "benchmarks": {"hellobench": {"overall": ESTIMATE, "groups": {"task": {"heuristic_text_generation": ESTIMATE}}}},
}
REASONING = {
    "benchmarks": {"reasoning": {"overall": {"mean": 3.25, "low": 3.0, "high": 3.5}}},
    "reference_lift": {"mean": 0.05, "low": -0.01, "high": 0.11},
    "outputs": {"well_formed": {"mean": 0.9, "low": 0.8, "high": 1.0}},
}
TRAJECTORIES = [
    {"usage": {"generated_tokens": n, "prefilled_tokens": 20, "scored_tokens": 20, "draft_counted": 5, "calls": 3}}
    for n in (3, 7)
]


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Workplace("reproduce/smoke")


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def row(workplace, n, *, done=True, **record):
    """A row whose three stages have files, as scripts/reproduce describes it."""
    stages = [f"synthesize-{n}", f"sft-{n}", f"evaluate-r{n}-{n}"]
    ended = {"code": 0, "error": None, "seconds": 1.0, "reer": reer.__version__, "format_version": 1}
    for stage in stages if done else stages[:-1]:
        write(workplace.path / stage / "stage.json", ended)
    if record:
        write(workplace.path / stages[1] / "stage.json", ended | record)
    path = workplace.path / stages[0] / "synthesize/trajectories.parquet"
    path.parent.mkdir(parents=True)
    parquet.write_table(pa.Table.from_pylist(TRAJECTORIES), path)
    folder = f"{stages[-1]}/evaluate-r{n}"
    for name, results in (("hellobench", RESULTS), ("reasoning", REASONING)):
        write(workplace.path / folder / name / "results.json", results)
    return {
        "experiment": f"a/r{n}", "title": f"row {n}", "paper": "full", "label": f"r{n}", "problem": None,
        "skipped": False, "stages": stages, "folders": [folder],
    }  # fmt: skip


def state(*rows):
    return {
        "table": "ablations", "scale": "smoke", "overrides": [], "seeds": [0],
        "question": "Why?", "reference": "a/r0", "decides": [],
        "benchmarks": ["hellobench", "reasoning"], "comparison": "ablations/comparison.json", "compared": None,
        "rows": list(rows),
    }  # fmt: skip


def lines(workplace, described):
    return printing.lines(described, printing.read_rows(described, workplace), workplace)


def printed(workplace, *rows):
    return "\n".join(lines(workplace, state(*rows)))


def test_numbers_stand_with_intervals_beside_the_papers_and_their_lineage(workplace):
    text = printed(workplace, row(workplace, 0))
    assert "| | HB-A | HB-B | reasoning | lift | well-formed | loops | words | tokens a pair |" in text
    assert (
        "| row 0 | – | 87.5 [85.0, 90.0] (87.5) | 3.25 [3.00, 3.50] | 0.05 [-0.01, 0.11] | 90% [80%, 100%] | – | – "
        "| 50.0 |"
    ) in text
    assert "row 0: synthesize-0 -> sft-0 -> evaluate-r0-0" in text


def test_a_row_without_numbers_says_why_and_the_table_goes_on(workplace):
    missing = row(workplace, 1)
    missing["stages"] = ["synthesize-none"]
    half = row(workplace, 2, done=False)
    rows = [
        row(workplace, 0),
        missing,
        half,
        row(workplace, 3, code=1, error="reer-sft: no such file"),
        row(workplace, 4, reer="0.0.1"),
        row(workplace, 5, format_version=99),
        row(workplace, 6, code=2),
        row(workplace, 7) | {"problem": "a model of 8B does not fit", "skipped": True, "stages": []},
    ]
    said = printed(workplace, *rows).splitlines()
    assert "  row 1: synthesize-none has not been run" in said
    assert "  row 2: evaluate-r2-2 was begun and is not finished" in said
    assert "  row 3: sft-3 failed: reer-sft: no such file" in said
    assert f"  row 4: made by version 0.0.1, this is {reer.__version__}" in said
    assert "  row 5: sft-5 was made in format 99, which is read no more: delete it" in said
    assert "  row 6: some rows failed or were set aside in sft-6" in said
    assert "  row 7: a model of 8B does not fit" in said
    shown = {n for n in range(8) if f"| row {n} | – | 87.5" in "\n".join(said)}
    assert shown == {0, 4, 6}
    read = printing.read_rows(state(*rows), workplace)
    assert [printing.is_wanting(found) for found in read] == [False, True, True, True, False, True, False, False]


def test_differences_are_those_to_the_reference_whichever_way_they_were_made(workplace):
    test = {"mean": -2.0, "low": -3.0, "high": -1.0, "p": 0.01, "p_holm": 0.02}
    pair = {"a": "r1", "b": "r0", "overall": test, "scores": {}, "groups": {"task": {"open_ended_qa": test}}}
    other = {"a": "r1", "b": "r2", "overall": test, "scores": {}, "groups": {}}
    failed = {"a": "r0", "b": "r2", "overall": test, "scores": {}, "groups": {"task": {"open_ended_qa": test}}}
    write(
        workplace.path / "ablations/comparison.json", {"benchmarks": {"hellobench": {"pairs": [pair, other, failed]}}}
    )
    rows = [row(workplace, 0), row(workplace, 1), row(workplace, 2, code=1, error="no")]
    text = printed(workplace, *rows)
    # one difference is printed: of the four tests in the file its p is corrected for itself alone
    assert "difference to `row 0` [95 %], p after Holm\n  row 1: HB-A +2.00 [+1.00, +3.00] p 0.010\n" in text
    assert "row 2: HB-A" not in text


def test_p_is_corrected_for_the_differences_that_are_printed(workplace):
    tests = [{"mean": 1.0, "low": 0.5, "high": 1.5, "p": p, "p_holm": 1.0} for p in (0.01, 0.03)]
    pairs = [{"a": "r0", "b": f"r{n}", "overall": {}, "groups": {"task": {"open_ended_qa": test}}}
             for n, test in enumerate(tests, 1)]  # fmt: skip
    write(workplace.path / "ablations/comparison.json", {"benchmarks": {"hellobench": {"pairs": pairs}}})
    text = printed(workplace, *(row(workplace, n) for n in range(3)))
    assert "row 1: HB-A +1.00 [+0.50, +1.50] p 0.020\n  row 2: HB-A +1.00 [+0.50, +1.50] p 0.030" in text


def test_what_the_table_was_run_with_stands_above_it(workplace):
    found = lines(workplace, state(row(workplace, 0)) | {"overrides": ["model.path=other"]})
    assert next(found) == "Why?  (table ablations, scale smoke, model.path=other)\n"


def test_several_seeds_are_their_mean_between_the_lowest_and_the_highest(workplace):
    other = row(workplace, 1)
    results = {"benchmarks": {"reasoning": {"overall": {"mean": 3.75}}}}
    write(workplace.path / other["folders"][0] / "reasoning/results.json", results)
    both = row(workplace, 0)
    both["folders"] += other["folders"]
    text = "\n".join(lines(workplace, state(both) | {"seeds": [0, 1]}))
    assert "| row 0 | – | 87.5 [87.5, 87.5] (87.5) | 3.50 [3.25, 3.75] | – | – | – | – | 50.0 |" in text
    assert "ours mean of seeds 0, 1 [lowest, highest]" in text


def test_broken_results_are_one_sentence(workplace):
    broken = row(workplace, 0)
    (workplace.path / broken["folders"][0] / "reasoning/results.json").write_text("{")
    assert "row 0: reasoning has no results that can be read" in printed(workplace, broken)


def test_fifty_rows_read_no_rows_of_answers_and_compose_nothing(workplace, monkeypatch):
    import sys

    rows = [row(workplace, n) for n in range(50)]
    monkeypatch.delitem(sys.modules, "experiments.stages", raising=False)
    text = printed(workplace, *rows)
    assert text.count("87.5 [85.0, 90.0] (87.5)") == 50
    assert "experiments.stages" not in sys.modules or sys.modules["experiments.stages"] is None


def test_a_table_that_was_never_begun_is_one_sentence(workplace):
    with pytest.raises(DataError, match="does not exist: run the table without --print first"):
        printing.read_state(workplace.path / "ablations.json")
