"""The frozen anchors, and the shift of a judge on them."""

import asyncio
import json
from pathlib import Path

import pytest
from judging import Scripted, verdict_json

from eval.judging.anchors import anchor_items, drift
from eval.judging.ask import judge_answers
from eval.judging.judge import OpenAIJudge
from eval.store import Row, Rows
from reer.config import OpenAIJudgeConfig
from reer.errors import DataError
from reer.run.manifest import sha256

NAME = "openai:scripted"


def judge_anchors(path: Path, score: int, better: int = 0, temperature: float = 0.5) -> list[Row]:
    """Every anchor gets `score`, the good ones `better` more."""
    items, answers, levels = anchor_items()
    good = {answers[id_]["answer"] for id_, level in levels.items() if level == 3}

    def reply(content: str) -> str:
        return verdict_json(score + better * any(text in content for text in good))

    judge = OpenAIJudge(Scripted(lambda request: reply(request.messages[0].content)), NAME, 100, 0.5)
    config = OpenAIJudgeConfig(repeats=1, temperature=temperature)
    with Rows(path) as rows:
        asyncio.run(judge_answers(items, answers, rows, lambda: judge, NAME, config, seed=0, concurrency=4))
        return rows.rows


def test_twelve_anchors_of_three_levels() -> None:
    items, answers, levels = anchor_items()
    assert [sorted(levels.values()).count(level) for level in (1, 2, 3)] == [4, 4, 4]
    assert len({item.query for item in items}) == 4
    assert answers.keys() == {item.id for item in items}


def test_the_anchors_stay_as_they_are() -> None:
    """Whoever changes a word starts a new series, and says so."""
    path = Path(__file__).parents[3] / "reer" / "files" / "data" / "anchors.jsonl"
    assert sha256(path) == "ae5ca09f7cfe736079129a9f8a674de9b2d853672b28921af9f5c658f144d956"


def test_the_shift_since_an_earlier_run(tmp_path: Path) -> None:
    judge_anchors(tmp_path / "before.jsonl", 3)
    now = judge_anchors(tmp_path / "now.jsonl", 2, better=2)
    found = drift(now, NAME, tmp_path / "before.jsonl", seed=0)
    assert found is not None
    assert found["n"] == 12
    assert found["mean"] == pytest.approx((8 * 2 + 4 * 4) / 12)
    assert found["shift"]["mean"] == pytest.approx((8 * -1 + 4 * 1) / 12)
    assert found["shift"]["low"] <= found["shift"]["mean"] <= found["shift"]["high"]
    assert found["order"] > 0.7


def test_a_baseline_asked_with_other_settings_is_one_sentence(tmp_path: Path) -> None:
    before = judge_anchors(tmp_path / "before.jsonl", 3)
    now = judge_anchors(tmp_path / "now.jsonl", 2, temperature=1.5)
    said = r"before\.jsonl: openai:scripted .* \(temperature=0\.5 [^,]*, now temperature=1\.5 .*no drift"
    with pytest.raises(DataError, match=said):
        drift(now, NAME, tmp_path / "before.jsonl", seed=0)
    old = [{key: value for key, value in row.items() if key != "settings"} for row in before]
    (tmp_path / "old.jsonl").write_text("".join(json.dumps(row) + "\n" for row in old))
    with pytest.raises(DataError, match=r"\(None, now temperature=1\.5"):
        drift(now, NAME, tmp_path / "old.jsonl", seed=0)


def test_another_served_model_is_the_drift_of_interest(tmp_path: Path) -> None:
    before = judge_anchors(tmp_path / "before.jsonl", 3)
    now = [row | {"served_model": "gpt-4o-2024-11-20"} for row in judge_anchors(tmp_path / "now.jsonl", 2)]
    dated = "".join(json.dumps(row | {"served_model": "gpt-4o-2024-08-06"}) + "\n" for row in before)
    (tmp_path / "before.jsonl").write_text(dated)
    found = drift(now, NAME, tmp_path / "before.jsonl", seed=0)
    assert found is not None
    assert found["shift"]["mean"] == -1


def test_without_a_baseline_there_is_no_shift_and_without_verdicts_nothing(tmp_path: Path) -> None:
    rows = judge_anchors(tmp_path / "now.jsonl", 3)
    found = drift(rows, NAME, None, seed=0)
    assert found == {"n": 12, "mean": 3.0, "order": None, "shift": None}
    assert drift(rows, "openai:other", None, seed=0) is None


def test_a_baseline_of_another_judge_wording_or_kind_is_one_sentence(tmp_path: Path) -> None:
    rows = judge_anchors(tmp_path / "now.jsonl", 3)
    for changes in ({"judge": "openai:other"}, {"rubric": "0" * 16}):
        other = tmp_path / "other.jsonl"
        other.write_text("".join(json.dumps(row | changes) + "\n" for row in rows))
        with pytest.raises(DataError, match=r"other.jsonl: holds no verdict of openai:scripted"):
            drift(rows, NAME, other, seed=0)
    older = json.dumps({key: value for key, value in rows[0].items() if key != "repeat"})
    for text in ("{broken", '{"id": 1}', "[1]", older):
        (tmp_path / "broken.jsonl").write_text(text + "\n")
        with pytest.raises(DataError, match=r"judge.baseline=.*broken.jsonl is no anchors.jsonl"):
            drift(rows, NAME, tmp_path / "broken.jsonl", seed=0)
