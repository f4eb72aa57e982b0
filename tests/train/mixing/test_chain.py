"""From pairs to every mix, trained on and exported, by the names that a user types. No model but a tiny one."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest
from hydra import compose, initialize_config_module

from reer import synthesize
from reer.config import ExportingConfig, MixingConfig, SftConfig, SynthesizeConfig, load, register
from reer.files.export.run import run as export
from train.examples.work import read
from train.mix import run as mix
from train.sft import run as train

MIXES = ("final", "first", "blind", "answers", "long", "short", "no_literature", "paper")
FAST = ("answers", "paper")
"""The others take seconds each."""
ARTISTIC = {"humor", "fable", "essay", "creative_writing", "memoir"}
"""Of the shipped pairs' domains, those that mix=no_literature leaves out."""


@pytest.fixture(scope="module", autouse=True)
def _config_module() -> Iterator[None]:
    register()
    with initialize_config_module("reer.conf", version_base="1.3"):
        yield


@pytest.fixture(scope="module")
def searched(_config_module: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped pairs, searched without a model."""
    folder = tmp_path_factory.mktemp("searched") / "synthesize"
    words = [f"run_dir={folder}", "experiment=fake", "search.worth.blind=2", "search.max_steps=2"]
    assert synthesize.run(load(compose("synthesize", overrides=words), SynthesizeConfig)) == 0
    return folder / "trajectories.jsonl"


def words_of(name: str, trajectories: Path, run_dir: Path) -> list[str]:
    words = [f"mix={name}", f"data.trajectories={trajectories}", f"run_dir={run_dir}"]
    if name == "paper":
        rows = [
            {"conversations": [{"from": "user", "value": f"{n}+1?"}, {"from": "assistant", "value": answer}]}
            for n, answer in enumerate([f"<think>\nCount on from {n}.\n</think>\n\nIt is {n + 1}." for n in range(40)])
        ]
        general = trajectories.with_name("openthoughts.jsonl")
        general.write_text("".join(json.dumps(row) + "\n" for row in rows))
        words.append(f"mix.general.path={general}")
    return words


@pytest.mark.parametrize(
    "name", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in MIXES]
)
def test_every_mix_trains_and_is_what_reer_mix_writes(
    name: str, searched: Path, tiny_model: Path, tmp_path: Path
) -> None:
    words = words_of(name, searched, tmp_path / "sft")
    words += [f"model.path={tiny_model}", "model.dtype=float32", "model.max_length=4096", "trainer=demo"]
    words += ["+trainer.args.max_steps=1"]
    config: SftConfig = load(compose("sft", overrides=words), SftConfig)
    prepared = read(config).prepared
    assert train(config) in (0, 2)  # 2: a pair of which every blind thinking was refused
    summary = json.loads((tmp_path / "sft" / "summary.json").read_text())
    assert summary["steps"] == 1
    mixing: MixingConfig = load(compose("mix", overrides=words_of(name, searched, tmp_path / "mix")), MixingConfig)
    assert mix(mixing) in (0, 2)
    rows = [json.loads(line) for line in (tmp_path / "mix" / "mix.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["id"] for row in rows] == [example.id for example in prepared.examples]
    assert all(row["source"] and row["licence"] for row in rows)
    trajectories = {row["id"]: row for row in map(json.loads, searched.read_text(encoding="utf-8").splitlines())}
    own = [(row, trajectories[row["id"]]) for row in rows if row["origin"] == "trajectories"]
    wanted = {
        "first": lambda found: found["first"]["thinking"],
        "blind": lambda found: next(draw["text"] for draw in found["worth"]["blind"] if not draw["rejected"]),
        "answers": lambda found: None,
    }.get(name, lambda found: found["thinking"])
    assert [row["thinking"] for row, _ in own] == [wanted(found) for _, found in own]
    count = {"long": 12, "short": 12, "no_literature": 7, "paper": 24 + 20, "blind": len(rows)}.get(name, 24)
    assert (len(rows), len(own)) == (count, 24 if name == "paper" else count)
    assert not (name == "no_literature" and ARTISTIC & {row["domain"] for row in rows})


@pytest.mark.parametrize("form", ["dataset", "answers", "deepwriting", "verl"])
def test_every_form_loads(form: str, searched: Path, tmp_path: Path) -> None:
    words = [f"export={form}", f"data.trajectories={searched}", f"run_dir={tmp_path}", "export.held_out=0.3"]
    config: ExportingConfig = load(compose("export", overrides=words), ExportingConfig)
    assert export(config) == 0
    loaded: Any = datasets.load_dataset(str(tmp_path / "dataset"), cache_dir=str(tmp_path / "cache"))
    assert sum(loaded.num_rows.values()) == 24
    assert set(loaded) == {"train", "test"}
    card = (tmp_path / "dataset" / "README.md").read_text(encoding="utf-8")
    assert "| reer-synthesize | kept | 24 |" in card
