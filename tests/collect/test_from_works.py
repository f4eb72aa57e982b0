"""From a folder of works to a page: every stage of one name, with a real server that writes and a real tiny model."""

import json
import subprocess
import sys

import datasets
import pytest
from chat_server import running
from writing_server import CHINESE, FLAWS, THINGS, Writer, query_of, write_works


def call(cwd, module, *overrides):
    words = [sys.executable, "-m", module, "name=mine", *overrides]
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 2), done.stderr[-3000:]
    return done.stdout


def jsonl(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def server_of(server):
    return "backend@generator=openai", f"generator.base_url={server.url}", "generator.model_name=m"


def collect(tmp_path, server, *more):
    write_works(tmp_path / "works")
    words = ["source=texts", "source.path=works", "source.licence=CC0-1.0", "source.min_words=50", *server_of(server)]
    return call(tmp_path, "collect.run", *words, *more)


def test_a_good_writer_behind_a_server_gives_every_passage_its_own_query(tmp_path):
    with running() as server:
        server.instead = Writer()
        said = collect(tmp_path, server, "sample.held_out=0", "ask.likelihood=false")
    folder = tmp_path / "runs" / "mine" / "collect"
    rows = jsonl(folder / "pairs.jsonl")
    assert {row["query"] for row in rows} == {query_of(row["answer"]) for row in rows}
    assert len({row["query"] for row in rows}) == len(rows) == len(THINGS) + len(CHINESE)
    refused = [row["reason"] for row in jsonl(folder / "rejected.jsonl")]
    assert {name: refused.count(name) for name in refused} == dict.fromkeys(FLAWS, 2)
    assert f"{len(rows)} of them got a query" in said
    loaded = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    assert sorted(loaded["train"]["id"]) == sorted(row["id"] for row in rows)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_from_works_to_one_page(tiny_model, tmp_path):
    model = [f"model.path={tiny_model}", "model.dtype=float32", "model.max_length=4096"]
    with running() as server:
        server.instead = Writer(flawed=False)
        collect(tmp_path, server, "sample.held_out=0.4", "tag.by=rules", *model)
        short = ["search.first_samples=2", "search.candidates=2", "search.max_steps=1"]
        call(tmp_path, "reer.synthesize", "data=collected", *server_of(server), *model, *short)
    folder = tmp_path / "runs" / "mine"
    held, pairs = (jsonl(folder / "collect" / f"{name}.jsonl") for name in ("held_out", "pairs"))
    found = jsonl(folder / "synthesize" / "trajectories.jsonl")
    assert {row["id"] for row in found} == {row["id"] for row in pairs}
    assert {row["licence"] for row in found} <= {"CC0-1.0", "Public domain"}
    call(tmp_path, "train.mix", "mix=first")
    assert {row["id"] for row in jsonl(folder / "mix" / "mix.jsonl")} == {row["id"] for row in found}
    call(tmp_path, "train.sft", "mix=first", "trainer=demo", "+trainer.args.max_steps=1", *model)
    asked = [
        "benchmark.path=runs/mine/collect/held_out.jsonl",
        "benchmark.max_tokens=24",
        "benchmark.thinking_tokens=8",
    ]
    call(tmp_path, "eval.run", *asked, "backend@judge.backend=fake", *model)
    results = json.loads((folder / "evaluate-tuned" / "reasoning" / "results.json").read_text())
    assert results["reference_lift"]["n_asked"] == len(held)
    words = [sys.executable, "-m", "reer.page.report", "runs/mine"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    page = (folder / "report.html").read_text(encoding="utf-8")
    for text in (pairs[0]["query"], "Collection", "Search", "Training", "Reference lift", "Provenance"):
        assert text in page
