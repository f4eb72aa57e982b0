import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eval.answering.outputs import measure_outputs, training_texts
from reer.errors import DataError

SENTENCE = " ".join(f"word{n}" for n in range(20))


def answer(name: str, text: str, **fields: Any) -> dict[str, Any]:
    facts = {"well_formed": True, "loop": False, "finish_reason": "stop", "words": len(text.split())}
    return {"id": name, "answer": text} | facts | fields


def test_every_measure_has_its_own_denominator() -> None:
    answers = [answer("a", SENTENCE), answer("b", "", well_formed=False, finish_reason="length"), answer("c", "Word.")]
    found = measure_outputs(answers, {"a": 24, "b": 100}, [SENTENCE], seed=0)
    shown = {name: (value["mean"], value["n"]) for name, value in found.items() if isinstance(value, dict)}
    assert shown["well_formed"] == (pytest.approx(2 / 3), 3)
    assert shown["truncated"] == (pytest.approx(1 / 3), 3)
    assert shown["distinct_1"] == (1.0, 2)
    assert shown["distinct_2"] == (1.0, 1)  # one word has no pair
    assert shown["length_compliance"] == (0.5, 2)  # 20 of 24 words; none of 100
    assert shown["overlap"] == (1.0, 1)  # the only answer with 13 words is a copy
    assert found["copied_run"] == 20


def test_what_cannot_be_known_is_none() -> None:
    found = measure_outputs([answer("a", SENTENCE)], {}, None, seed=0)
    assert found["length_compliance"] is found["overlap"] is found["copied_run"] is None


def test_training_texts_are_thinking_and_answer(tmp_path: Path) -> None:
    path = tmp_path / "trajectories.jsonl"
    path.write_text(json.dumps({"thinking": "So.", "answer": "It is."}) + "\n")
    assert list(training_texts(path)) == ["So.\n\nIt is."]
    pq.write_table(pa.Table.from_pylist([{"thinking": "So.", "answer": "It is.", "id": 1}]), tmp_path / "t.parquet")
    assert list(training_texts(tmp_path / "t.parquet")) == ["So.\n\nIt is."]
    (tmp_path / "no.parquet").write_text("no table")
    with pytest.raises(DataError, match=r"no.parquet cannot be read"):
        list(training_texts(tmp_path / "no.parquet"))
    path.write_text('{"thinking": "So."}\n')
    with pytest.raises(DataError, match=r"trajectories.jsonl, row 1: no trajectory"):
        list(training_texts(path))
