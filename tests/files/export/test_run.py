"""reer-export: the folder that is published, its card, and mistakes."""

import json
from pathlib import Path
from typing import Any

import datasets
import pytest
from huggingface_hub import CommitOperationAdd, DatasetCard
from searched import trajectory

from reer.config import DataConfig, ExportConfig, ExportingConfig
from reer.errors import ConfigError, DataError
from reer.files.export.facts import lineage, yields
from reer.files.export.figure import shares
from reer.files.export.run import run

LICENCES = ["MIT", "CC-BY-SA-3.0", "Public domain in the US (text)", "MIT", ""]


def rows() -> list[dict[str, Any]]:
    found = []
    for n, licence in enumerate(LICENCES):
        nll = {"none": 2.0, "first": 1.9, "final": 1.0 + n}
        found.append(trajectory(n, licence=licence, nll=nll, extra={"document": f"d{n // 2}"}, source=f"book {n % 2}"))
    found[3]["language"] = "zh"
    return found


@pytest.fixture
def config(tmp_path: Path) -> ExportingConfig:
    folder = tmp_path / "synthesize"
    folder.mkdir()
    path = folder / "trajectories.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows()), encoding="utf-8")
    return ExportingConfig(
        name="fables",
        stage="export",
        run_dir=str(tmp_path / "out"),
        data=DataConfig(trajectories=str(path)),
        export=ExportConfig(),
    )


def write(path: Path, value: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


@pytest.fixture
def history(config: ExportingConfig, tmp_path: Path) -> None:
    """A search and a collection as those stages leave them."""
    collected, searched = tmp_path / "collect", tmp_path / "synthesize"
    write(collected / "manifest.json", {"stage": "collect", "inputs": [{"path": "/gone/away.jsonl"}]})
    pairs = {"read": 20, "quarantined": 1, "written": 12}
    write(collected / "summary.json", {"pairs": pairs, "rejected": {"min_words": 5, "near_duplicates": 2, "mask": 0}})
    models = {"generator": {"model": "Qwen/Qwen3-8B", "revision": "abc"}, "scorer": {"model": "/home/me/models/own"}}
    inputs = [{"path": str(collected / "pairs.jsonl")}]
    write(searched / "manifest.json", {"stage": "synthesize", "inputs": inputs, "models": models})
    examples = {"input": 12, "done": 5, "dropped": {"echo": 4}, "failed": 1, "quarantined": 2}
    write(searched / "summary.json", {"examples": examples})


def test_the_folder_is_what_the_hub_takes(config: ExportingConfig, history: None, tmp_path: Path) -> None:
    assert run(config) == 0
    folder = tmp_path / "out" / "dataset"
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert files == ["README.md", "data/train-00000-of-00001.parquet", "domains.png"]
    added = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=folder / name) for name in files]
    assert all(operation.upload_info.size > 0 for operation in added)
    card = DatasetCard.load(folder / "README.md").data.to_dict()
    assert card["license"] == ["cc-by-sa-3.0", "mit", "other", "unknown"]
    assert (card["language"], card["size_categories"], card["pretty_name"]) == (["en", "zh"], ["n<1K"], "fables")
    data_files = [{"split": "train", "path": "data/train-*.parquet"}]
    assert card["configs"] == [{"config_name": "default", "data_files": data_files}]
    assert str(tmp_path) not in (folder / "README.md").read_text()


def test_the_card_tells_what_is_in_it(config: ExportingConfig, history: None, tmp_path: Path) -> None:
    run(config)
    text = (tmp_path / "out" / "dataset" / "README.md").read_text(encoding="utf-8")
    for line in (
        "| train | 5 |",
        "| MIT | 2 | mit | any |",
        "| not named | 1 | unknown | its source names no licence |",
        "| Artistic | 2 | 40.0% |",
        "| book 0 | 3 | -1.000 |",  # 1.0, -1.0 and -3.0 nats
        "| book 1 | 2 | -1.000 |",
        "| thinking | 3 | 1 | 3 | 5 |",
        "| gain | -1.000 | -3.000 | -1.000 | 1.000 |",
        "it is above 0 in 1 of 5 rows",
        "| reer-collect | read | 20 |",
        "| reer-collect | min_words | -5 |",
        "| reer-collect | written | 12 |",
        "| reer-synthesize | echo | -4 |",
        "| reer-synthesize | kept | 5 |",
        "- generator of the search: `Qwen/Qwen3-8B` at revision `abc`",
        "- scorer of the search: `own`",
    ):
        assert line in text, line
    assert text.index("reer-collect | read") < text.index("reer-synthesize | read")


def test_shards_splits_and_the_same_bytes_again(config: ExportingConfig, tmp_path: Path) -> None:
    config.export.shard_rows = 2
    run(config)
    folder = tmp_path / "out" / "dataset"
    assert sorted(path.name for path in (folder / "data").iterdir()) == [
        f"train-0000{n}-of-00003.parquet" for n in range(3)
    ]
    before = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    run(config)
    assert {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    config.export.held_out, config.seed = 0.5, 1
    run(config)
    loaded = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    sides = {split: {json.loads(row["extra"])["document"] for row in loaded[split]} for split in loaded}
    assert set(sides) == {"train", "test"}
    assert not sides["train"] & sides["test"]
    assert sum(loaded.num_rows.values()) == 5


def test_broken_rows_are_set_aside_and_told(
    config: ExportingConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Path(config.data.trajectories).open("a") as file:
        file.write("{\n")
    assert run(config) == 2
    (left,) = map(json.loads, (tmp_path / "out" / "quarantine.jsonl").read_text().splitlines())
    assert left["row"] == 6
    said = capsys.readouterr().out
    assert "quarantined          1 rows" in said
    assert "licence              1 rows name none" in said
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["rows"], summary["quarantined"]) == ({"train": 5}, 1)


def test_a_mistake_is_one_sentence(
    config: ExportingConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.dry_run = True
    assert run(config) == 0
    assert "5 rows, 0 broken" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()
    config.export.form = "csv"
    with pytest.raises(
        ConfigError, match="export.form=csv is unknown: choose one of dataset, answers, deepwriting, verl"
    ):
        run(config)
    config.export = ExportConfig(held_out=1.0)
    with pytest.raises(ConfigError, match="export.held_out=1.0 is no share"):
        run(config)
    config.export, config.data.trajectories = ExportConfig(), str(tmp_path / "none.jsonl")
    with pytest.raises(DataError, match="data.trajectories=.*none.jsonl: no such file"):
        run(config)
    (tmp_path / "none.jsonl").write_text('{"query": "q"}\n')
    with pytest.raises(DataError, match="none.jsonl has no usable row; row 1: 'answer' is missing"):
        run(config)


def test_a_mix_tells_what_it_left_out_and_a_folder_without_manifest_ends_the_chain(tmp_path: Path) -> None:
    left_out = [{"origin": "general", "reason": "not drawn", "rows": 7}]
    summary = {"rows": {"trajectories": 3, "general": 2}, "left_out": left_out, "quarantined": 1}
    assert yields("mix", summary) == [("read", 13), ("quarantined", -1), ("general: not drawn", -7), ("kept", 5)]
    assert yields("sft", {}) == []
    assert list(lineage(tmp_path)) == []


def test_domains_beyond_the_paper_s_number_are_one_bar() -> None:
    found = shares({f"d{n:02}": 2 for n in range(26)} | {"": 48})
    assert (found[0], len(found)) == (("not named", 48.0), 26)
    assert found[-1] == ("others", 4.0)
