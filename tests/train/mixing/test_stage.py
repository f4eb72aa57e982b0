"""reer-mix writes what reer-sft trains on."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
from searched import trajectory

from reer.backend.models import load_tokenizer
from reer.config import DataConfig, GeneralConfig, MixConfig, MixingConfig, ModelConfig
from reer.errors import DataError
from reer.layout import Layout
from train.examples.data import prepare
from train.mix import run
from train.mixing.settings import rules_of

GENERAL = [{"question": f"Sum {n}?", "solution": f"Add {n}.", "answer": f"It is {n}."} for n in range(20)]


@pytest.fixture
def config(write: Callable[..., Path], tmp_path: Path) -> MixingConfig:
    odd = trajectory(9, thinking="  indented\n\nand 慢慢地 ", id="9007199254740993", history=[])
    history = [{"role": "user", "content": "Before."}, {"role": "assistant", "content": "Yes?"}]
    rows = [*(trajectory(n) for n in range(5)), odd, trajectory(6, history=history), {"query": "no answer"}]
    general = GeneralConfig(
        path=str(write(GENERAL, "limo.jsonl")), schema="limo", ratio=1.0, licence="MIT", source="GAIR/LIMO"
    )
    return MixingConfig(
        stage="mix",
        run_dir=str(tmp_path / "mix"),
        data=DataConfig(trajectories=str(write(rows))),
        mix=MixConfig(general=general, seed=3),
    )


def files(folder: Path) -> dict[str, str]:
    names = ("mix.jsonl", "mix.parquet", "quarantine.jsonl", "summary.json")
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}


def test_it_leaves_its_contract_and_the_same_bytes_again(
    config: MixingConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(config) == 2  # one row is broken
    folder = tmp_path / "mix"
    rows = [json.loads(line) for line in (folder / "mix.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 14
    keys = ["id", "query", "thinking", "answer", "history", "language", "domain", "source", "licence", "origin"]
    assert all(list(row) == keys for row in rows)
    assert all(row["source"] and row["licence"] and isinstance(row["id"], str) for row in rows)
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["rows"] == {"trajectories": 7, "general": 7}
    assert (summary["general_wanted"], summary["quarantined"]) == (7, 1)
    assert summary["left_out"] == [{"origin": "general", "reason": "not drawn", "rows": 13}]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert [Path(row["path"]).name for row in manifest["inputs"]] == ["trajectories.jsonl", "limo.jsonl"]
    assert "mix           13 of the general left out: not drawn" in capsys.readouterr().out
    before = files(folder)
    assert run(config) == 2
    assert files(folder) == before
    config.mix.seed = 4
    run(config)
    assert files(folder) != before


def test_load_dataset_gives_the_mix_and_nothing_beside_it(config: MixingConfig, tmp_path: Path) -> None:
    run(config)
    loaded = datasets.load_dataset(str(tmp_path / "mix"), cache_dir=str(tmp_path / "cache"))
    rows = [json.loads(line) for line in (tmp_path / "mix" / "mix.jsonl").read_text(encoding="utf-8").splitlines()]
    assert list(loaded) == ["train"]
    assert loaded["train"].to_list() == rows
    assert rows[5]["id"] == "9007199254740993"


@pytest.mark.parametrize("thinking", ["final", "first", "none"])
def test_the_file_trains_on_the_ids_that_the_mix_itself_trains_on(
    config: MixingConfig, tiny_model: Path, tmp_path: Path, thinking: str
) -> None:
    config.mix.thinking = thinking
    run(config)
    layout = Layout("think", load_tokenizer(ModelConfig(path=str(tiny_model))))
    mixed = prepare(Path(config.data.trajectories), layout, 512, data=config.data, rules=rules_of(config))
    variant = "answer_only" if thinking == "none" else "final"
    for name in ("mix.jsonl", "mix.parquet"):
        assert prepare(tmp_path / "mix" / name, layout, 512, variant).examples == mixed.examples
    assert len(mixed.examples) == 14


def test_a_dry_run_writes_nothing_and_a_mix_of_nothing_is_one_sentence(
    config: MixingConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.dry_run = True
    assert run(config) == 0
    assert not (tmp_path / "mix").exists()
    assert "mix           7 trajectories, 7 general rows" in capsys.readouterr().out
    config.dry_run, config.mix = False, MixConfig(languages=["fi"])
    with pytest.raises(DataError, match="mix: no row is in the mix; quarantine.jsonl says why of each"):
        run(config)
    assert "mix.languages" in (tmp_path / "mix" / "quarantine.jsonl").read_text()


def test_what_is_trained_on_tells_of_general_rows_and_holds_none_of_them_out(
    make_config: Callable[..., Any], config: MixingConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from train.sft import run as train

    sft = make_config({"max_steps": 1}, held_out=2)
    sft.data, sft.mix = config.data, config.mix
    assert train(sft) == 2
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["examples"], summary["held_out"]["examples"]) == (12, 2)
    assert summary["mix"]["rows"] == {"trajectories": 7, "general": 7}
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["mix"] == summary["mix"]
    said = capsys.readouterr().out
    assert "trained on    12 rows (7 of them general)" in said
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert "7 of the rows are general reasoning data, from `limo.jsonl` (sha256" in card
    with Path(str(config.mix.general.path)).open("a") as file:
        file.write("\n")
    with pytest.raises(Exception, match="was made from another version of .*limo.jsonl"):
        train(sft)
