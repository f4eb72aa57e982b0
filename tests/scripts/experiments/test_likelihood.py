"""How likely held-out answers are to the rows of a table: paired over prompts and seeds, from lift.jsonl alone."""

import json
from statistics import fmean

import pytest
from experiments.likelihood import likelihood_lines
from experiments.work import Workplace

NAMES = [f"p{n}" for n in range(8)]
EASE = dict(zip(NAMES, [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5], strict=True))


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Workplace("reproduce/tiny")


def measured(workplace, label, *shifts, thinks=True, **other):
    """A row with one evaluation for each shift, its NLLs by prompt that much above the prompt's own."""
    folders = []
    for seed, shift in enumerate(shifts):
        folder = workplace.path / f"evaluate-{label}-{seed}" / f"evaluate-{label}"
        (folder / "reasoning").mkdir(parents=True)
        (folder / "reasoning/results.json").write_text("{}")
        rows = [lift(name, EASE[name] + shift, thinks) | other.get(name, {}) for name in NAMES]
        items = [{"id": name, "source": "tales; one" if name < "p4" else f"book {name}"} for name in NAMES]
        for file, found in (("lift.jsonl", rows), ("items.jsonl", items)):
            (folder / "reasoning" / file).write_text("".join(f"{json.dumps(row)}\n" for row in found))
        folders.append(str(folder.relative_to(workplace.path)))
    return {"experiment": f"a/{label}", "title": label, "folders": folders}


def lift(name, nll, thinks):
    status, thought = ("ok", nll) if thinks else ("no_thinking", None)
    nlls = {"base": 9.0, "model": nll if not thinks else 9.0, "model_with_thinking": thought, "one_thought": thought}
    tokens = 30 if thinks else None
    return {"id": name, "pair": name, "status": status, "nll": nlls, "answer_tokens": 5, "thinking_tokens": tokens,
            "thoughts": {"asked": 4, "scored": 3 if thinks else 0}}  # fmt: skip


def lines(workplace, *rows, finished=None, decides=("a/plain",)):
    state = {"seeds": list(range(len(rows[0]["folders"]))), "reference": "a/ours", "decides": decides, "rows": rows}
    finished = [row["experiment"] for row in rows] if finished is None else finished
    return list(likelihood_lines(state, workplace, finished))


def test_rows_are_compared_over_prompts_and_seeds_and_by_source(workplace):
    ours = measured(workplace, "ours", 1.0, 1.2)
    plain = measured(workplace, "plain", 1.5, 1.5, thinks=False)
    found = lines(workplace, ours, plain)
    assert found[0] == (
        "\nNLL of 8 held-out answers behind the model's own thinking, nats per token, mean over seeds 0, 1\n"
    )
    assert found[3] == f"| ours | {fmean(EASE.values()) + 1.1:.4f} | 30 | 3.0 |  |  |  |"
    # every prompt differs by 0.5 and 0.3, so the interval is of the seeds: 0.1 either way, times sqrt(2) 12.706 / 1.96
    # for being two; 2 of 2^8 flips are as far from nought
    nll = fmean(EASE.values()) + 1.5
    assert found[4] == f"| plain | {nll:.4f} | 0 | 0.0 | +0.4000 [-0.5168, +1.3168] | 0.0078 | 0.0078 |"
    assert "over prompts and seeds" in found[5]
    assert "Said beforehand to decide, and corrected for being 1: `plain`." in found[5]
    assert found[7:] == [
        "  tales (4): plain +0.4000 [-0.5168, +1.3168]",
        "  all others (4): plain +0.4000 [-0.5168, +1.3168]",
    ]


def test_p_is_corrected_for_all_that_were_to_decide_also_before_they_are_there(workplace):
    rows = measured(workplace, "ours", 1.0, 1.2), measured(workplace, "plain", 1.5, 1.5)
    [*_, row, _, _, _, _] = lines(workplace, *rows, decides=("a/plain", "a/third", "a/fourth"))
    assert row.endswith("| 0.0078 | 0.0234 |")


def test_prompts_without_a_number_in_some_row_or_split_into_other_tokens_do_not_count(workplace):
    ours = measured(workplace, "ours", 1.0, p0={"status": "missing"}, p1={"answer_tokens": 6})
    found = lines(workplace, ours, measured(workplace, "plain", 1.5))
    assert found[0].startswith("\nNLL of 6 held-out answers behind the model's own thinking, nats per token\n")
    assert "one seed says nothing of another training" in found[5]


def test_no_prompt_in_common_is_a_sentence(workplace):
    gone = {name: {"status": "missing"} for name in NAMES}
    found = lines(workplace, measured(workplace, "ours", 1.0), measured(workplace, "plain", 1.5, **gone))
    assert found[-1] == "no answer has a usable number in every row"


def test_a_table_whose_reference_is_not_finished_has_no_such_section(workplace):
    rows = [measured(workplace, "ours", 1.0), measured(workplace, "plain", 1.5), measured(workplace, "third", 1.5)]
    assert lines(workplace, *rows, finished=["a/plain", "a/third"]) == []
