"""reer-collect from a file of pairs to a folder that reer-synthesize reads."""

import json
import sys

import pytest

from collect.run import main
from reer.files.pairs import read_pairs

WORDS = [
    f"{a}{b}" for a in ("ba", "do", "ki", "lu", "me", "no", "pa", "ri", "so", "tu") for b in ("dan", "fel", "gor")
]


def text(seed, count=80):
    """Distinct, lawful words: no two seeds share runs."""
    return " ".join(f"{WORDS[(seed * 7 + n * n) % 30]}{seed}x{n}" for n in range(count))


def collect(monkeypatch, tmp_path, rows, *overrides):
    (tmp_path / "pairs.jsonl").write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in rows) + "\n")
    arguments = [f"source.path={tmp_path}/pairs.jsonl", f"run_dir={tmp_path}/run", *overrides]
    monkeypatch.setattr(sys, "argv", ["reer-collect", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    return stop.value.code


def lines(tmp_path, name):
    return [json.loads(line) for line in (tmp_path / "run" / name).read_text().splitlines()]


def pair(n, **more):
    return {"id": f"r{n}", "query": f"Tell tale number {n} of {text(n + 500, 6)}", "answer": text(n)} | more


def test_every_row_is_written_or_set_aside_with_its_reason(monkeypatch, tmp_path):
    rows = [pair(n) for n in range(20)]
    near = pair(20, answer=rows[0]["answer"] + " end", query=rows[0]["query"])
    leak = pair(21, answer=text(900, 30) + " " + text(901, 60))
    (tmp_path / "mine.jsonl").write_text(json.dumps({"prompt": text(900, 30)}) + "\n")
    short, loop = pair(22, answer="Too short."), pair(23, answer="and so on it goes " * 40)
    code = collect(
        monkeypatch, tmp_path, [*rows, near, leak, short, loop, "{broken"],
        f"decontaminate.paths=[{tmp_path}/mine.jsonl]", "sample.held_out=0.2",
    )  # fmt: skip
    assert code == 2  # a row is broken
    rejected = {row["row"]["id"]: row for row in lines(tmp_path, "rejected.jsonl")}
    reasons = {name: row["reason"] for name, row in rejected.items()}
    assert reasons == {"r20": "near_duplicates", "r21": "contaminated", "r22": "min_words", "r23": "repetition"}
    assert rejected["r20"]["why"]["of"] == "r0"
    assert rejected["r21"]["why"]["guarded"] == text(900, 30)
    assert rejected["r21"]["row"]["answer"] == leak["answer"]
    kept, held = lines(tmp_path, "pairs.jsonl"), lines(tmp_path, "held_out.jsonl")
    assert {row["id"] for row in kept + held} == {row["id"] for row in rows}
    assert held
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["pairs"] == {"read": 25, "written": 20, "quarantined": 1, "masked": 0}
    assert read_pairs(tmp_path / "run" / "pairs.jsonl").examples[0].licence == "unknown"
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    for reason in ("near duplicates", "contaminated", "min words", "repetition"):
        assert f"<h3>Refused: {reason}</h3>" in page
    assert f"&#34;guarded&#34;: &#34;{text(900, 30)}&#34;" in page  # both texts side by side


def test_again_gives_the_same_bytes_and_other_settings_are_refused(monkeypatch, tmp_path, capsys):
    rows = [pair(n, document=f"book {n // 4}") for n in range(40)]
    assert collect(monkeypatch, tmp_path, rows, "sample.held_out=0.3") == 0
    first = (tmp_path / "run" / "pairs.jsonl").read_bytes()
    assert collect(monkeypatch, tmp_path, rows, "sample.held_out=0.3") == 0
    assert (tmp_path / "run" / "pairs.jsonl").read_bytes() == first
    both = [{row["document"] for row in lines(tmp_path, name)} for name in ("pairs.jsonl", "held_out.jsonl")]
    assert both[1]
    assert not both[0] & both[1]
    assert collect(monkeypatch, tmp_path, rows, "sample.held_out=0.5") == 1
    assert "sample.held_out (was 0.3, now 0.5)" in capsys.readouterr().err


def test_personal_data_is_masked_on_request_and_votes_count(monkeypatch, tmp_path):
    mail = text(1) + " write to a.b@example.org or 555-123-4567"
    rows = [pair(1, answer=mail, ups=9), pair(2, ups=1), pair(3)]
    options = ["quality.mask=true", "source.score=ups", "quality.min_score=5", "sample.held_out=0"]
    assert collect(monkeypatch, tmp_path, rows, *options) == 0
    [row] = lines(tmp_path, "pairs.jsonl")
    assert row["answer"].endswith("write to [e-mail] or [telephone]")
    assert [row["reason"] for row in lines(tmp_path, "rejected.jsonl")] == ["min_score", "min_score"]


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("source.columns.query=foo", "source.columns.query=foo: no row of"),
        ("source.turns=some", "source.turns=some is unknown: choose one of all, last"),
    ],
)
def test_sentences_about_columns_and_turns_name_the_key_that_was_typed(
    monkeypatch, tmp_path, capsys, override, sentence
):
    assert collect(monkeypatch, tmp_path, [pair(1)], override) == 1
    assert sentence in capsys.readouterr().err


def test_what_was_left_out_and_why_a_row_is_broken_is_told_by_the_same_key(monkeypatch, tmp_path, capsys):
    turns = [{"role": role, "content": text(n, 60)} for n, role in enumerate(["user", "assistant"] * 2)]
    rows = [{"messages": turns}, {"title": "x"}]
    assert collect(monkeypatch, tmp_path, rows, "source.turns=last") == 2
    assert "(source.turns=last)" in capsys.readouterr().out
    [broken] = lines(tmp_path, "quarantine.jsonl")
    assert broken["reason"] == "'query' is missing (there are: title; source.columns.query=NAME says which)"
