"""The forms that rows go out in: what `datasets` reads of each, and DeepWriting-20K there and back."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from searched import trajectory

from collect.read.pairs import from_dataset
from reer.config import ColumnsConfig, DataConfig, ExportConfig, ExportingConfig, SourceConfig
from reer.errors import DataError
from reer.files.export.run import run
from reer.files.pairs import Notes
from reer.types import Example

ROOT = Path(__file__).parents[3]
HISTORY = [{"role": "user", "content": "Before."}, {"role": "assistant", "content": "Yes?"}]
NLL = {"none": 2.0, "first": 1.5, "final": 1.25}
Export = Callable[..., Path]


def searched(n: int, **other: Any) -> dict[str, Any]:
    more = {"nll": NLL, "segments": ["a", "b"], "seed": 0, "steps": [], "history": [], "format_version": 1}
    return trajectory(n, **more, extra={"document": f"d{n}", "votes": 3}) | other


@pytest.fixture
def export(tmp_path: Path) -> Export:
    """Write rows, export them, and return the folder to publish."""

    def exported(rows: list[dict[str, Any]] | Path, form: str = "dataset", code: int = 0, **keys: Any) -> Path:
        path = rows if isinstance(rows, Path) else tmp_path / "trajectories.jsonl"
        if not isinstance(rows, Path):
            path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        config = ExportingConfig(
            name="mine",
            stage="export",
            run_dir=str(tmp_path / f"export-{form}"),
            data=DataConfig(trajectories=str(path)),
            export=ExportConfig(form=form, **keys),
        )
        assert run(config) == code
        return tmp_path / f"export-{form}" / "dataset"

    return exported


def load(folder: Path) -> Any:
    return datasets.load_dataset(str(folder), cache_dir=str(folder.parent / "cache"))


def test_the_whole_dataset_has_every_column_of_a_search(export: Export) -> None:
    from reer.files.trajectories import arrow_schema

    loaded = load(export([searched(0, history=HISTORY), searched(1, id=2**63 + 5)]))
    assert list(loaded) == ["train"]
    assert loaded["train"].column_names == arrow_schema().names
    first, second = loaded["train"].to_list()
    assert (first["history"], first["nll"], first["first"]["thinking"]) == (HISTORY, NLL, "A first plan 0.")
    assert json.loads(first["extra"]) == {"document": "d0", "votes": 3}
    assert second["id"] == "9223372036854775813"
    assert "steps" not in load(export([searched(0)], steps=False))["train"].column_names


def test_a_parquet_file_of_a_search_gives_the_same_rows(export: Export, tmp_path: Path) -> None:
    from reer.files.trajectories import arrow_schema

    rows = [searched(0, history=HISTORY), searched(1)]
    wanted = load(export(rows))["train"].to_list()
    table = [row | {"extra": json.dumps(row["extra"])} for row in rows]
    pq.write_table(pa.Table.from_pylist(table, schema=arrow_schema()), tmp_path / "t.parquet")
    assert load(export(tmp_path / "t.parquet"))["train"].to_list() == wanted


def test_rows_of_other_origin_have_what_every_row_has(export: Export) -> None:
    row = {"question": "Ask.", "solution": "<think>z</think>\n\nThe answer.", "license": "MIT"}
    (loaded,) = load(export([{**row, "prompt": None}]))["train"].to_list()
    assert (loaded["query"], loaded["thinking"], loaded["answer"], loaded["licence"]) == (
        "Ask.",
        "z",
        "The answer.",
        "MIT",
    )
    assert (loaded["origin"], loaded["language"], loaded["history"]) == ("trajectories", "en", [])


def test_answers_show_no_thinking(export: Export) -> None:
    loaded = load(export([searched(0, history=HISTORY)], "answers"))["train"].to_list()
    assert loaded == [
        {
            "id": "t0",
            "query": "Ask 0.",
            "answer": "The answer 0.",
            "history": HISTORY,
            "language": "en",
            "domain": "Artistic",
            "source": "book",
            "licence": "MIT",
        }
    ]


def test_verl_has_verls_columns(export: Export) -> None:
    (row,) = load(export([searched(0, history=HISTORY)], "verl"))["train"].to_list()
    assert list(row) == ["data_source", "prompt", "ability", "reward_model", "extra_info"]
    assert row["prompt"] == [*HISTORY, {"role": "user", "content": "Ask 0."}]
    assert row["reward_model"] == {"style": "rule", "ground_truth": "The answer 0."}
    assert (row["data_source"], row["ability"]) == ("book", "Artistic")
    assert row["extra_info"] == {
        "split": "train", "index": 0, "id": "t0", "thinking": "word", "language": "en", "domain": "Artistic",
        "licence": "MIT",
    }  # fmt: skip


DEEPWRITING = [
    {
        "prompt": [{"content": "Write of rain.", "role": "user"}],
        "solution": "<think>\nI will.\n\n  Slowly.\n</think>\n\n\n  The rain came.\n",
        "data_source": "reddit",
        "reward_model": {"style": "rule", "ground_truth": None},
        "extra_info": {"index": 7},
        "__index_level_0__": 12,
    },
    {
        "prompt": [{"content": "写一句话。", "role": "user"}],
        "solution": "<think>慢慢地</think>月亮出来了。",
        "data_source": None,
        "reward_model": None,
        "extra_info": {"index": 8},
        "__index_level_0__": 13,
    },
]


@pytest.mark.parametrize("prompt", ["chat", "text", "json"])
@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_deepwriting_comes_out_as_it_went_in(export: Export, tmp_path: Path, kind: str, prompt: str) -> None:
    def as_kept(turns: list[dict[str, str]]) -> Any:
        return {"chat": turns, "text": turns[0]["content"], "json": json.dumps(turns)}[prompt]

    rows: Any = [{**row, "prompt": as_kept(row["prompt"])} for row in DEEPWRITING]  # type: ignore[arg-type]
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "deepwriting20k.parquet")
    out = export(tmp_path / "deepwriting20k.parquet" if kind == "parquet" else rows, "deepwriting")
    assert load(out)["train"].to_list() == rows


def test_what_goes_out_as_deepwriting_is_read_as_deepwriting_and_goes_out_again_the_same(export: Export) -> None:
    """By the preset of reer-collect, and by whatever reads DeepWriting-20K."""
    odd = searched(1, thinking="Two\n\n  lines", answer="  An answer\n\nwith blanks. ")
    out = export([searched(0, history=HISTORY), odd], "deepwriting")
    preset = yaml.safe_load((ROOT / "conf/source/deepwriting_20k.yaml").read_text(encoding="utf-8"))
    columns = ColumnsConfig(**preset.pop("columns"))
    found = list(from_dataset(SourceConfig(**preset, columns=columns, path=str(out)), Notes()))
    first, second = (row for row in found if isinstance(row, Example))
    assert (first.query, first.answer, first.extra["thinking"]) == ("Ask 0.", "The answer 0.", "word")
    assert [(turn.role, turn.content) for turn in first.history] == [(t["role"], t["content"]) for t in HISTORY]
    assert (second.id, second.extra["thinking"], second.licence) == ("t1", "Two\n\n  lines", "MIT")
    assert second.answer.strip() == "An answer\n\nwith blanks."
    before = load(out)["train"].to_list()
    (shard,) = (out / "data").iterdir()
    assert load(export(shard.rename(out.parent / "again.parquet"), "deepwriting"))["train"].to_list() == before


def test_a_row_that_lacks_a_column_of_deepwriting_is_set_aside_and_two_types_are_refused(
    export: Export, tmp_path: Path
) -> None:
    out = export([DEEPWRITING[0], {"query": "q", "answer": "a"}], "deepwriting", code=2)
    assert load(out)["train"].num_rows == 1
    (left,) = map(json.loads, (out.parent / "quarantine.jsonl").read_text().splitlines())
    assert left["reason"] == "it lacks `prompt` or `solution`, which the rows before it have"
    with pytest.raises(DataError, match="a column has values of two types"):
        export([DEEPWRITING[0], {**DEEPWRITING[1], "extra_info": "text"}], "deepwriting")
