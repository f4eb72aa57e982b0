"""The method in one file finds the numbers that the package finds, and stays one short file."""

import ast
import asyncio
import importlib.util
import json
import runpy
import sys
from pathlib import Path

import pytest
import torch

from reer.backend.hf import HFScorer
from reer.config import HFBackendConfig, ModelConfig
from reer.layout import Layout

FILE = Path(__file__).parents[2] / "examples" / "reer_in_one_file.py"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("reer_in_one_file", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def found(example, tiny_model):
    """Every thinking that a search keeps, with its NLL: none, the first, each accepted rewrite."""
    torch.manual_seed(0)
    return list(example.search(example.Model(str(tiny_model)), example.QUERY, example.ANSWER))


def package_nlls(folder, query, thinkings, answer):
    scorer = HFScorer(HFBackendConfig(model=ModelConfig(path=str(folder))))
    layout = Layout("think", scorer.tokenizer)
    requests = [layout.encode(query, thinking, answer).score_request() for thinking in thinkings]
    return [scored.score.nll for scored in asyncio.run(scorer.score(requests))]


def test_its_numbers_are_those_of_the_package(example, tiny_model, found):
    thinkings, nlls = zip(*found, strict=True)
    expected = package_nlls(tiny_model, example.QUERY, thinkings, example.ANSWER)
    assert list(nlls) == pytest.approx(expected, rel=0, abs=1e-5)


def test_only_what_lowers_the_nll_is_kept(found):
    (nothing, _), (first, start), *accepted = found
    assert nothing is None
    assert first
    assert accepted
    values = [start, *(nll for _, nll in accepted)]
    assert all(after < before for before, after in zip(values, values[1:], strict=False))


def test_what_recites_the_answer_is_refused(example):
    plan = "My story begins when a king rules a city. And in the end I tell how he is cured."
    assert example.is_allowed(plan, example.ANSWER)
    assert not example.is_allowed(f"{plan} {' '.join(example.ANSWER.split()[:9])}", example.ANSWER)
    assert not example.is_allowed(f"{plan} </think>", example.ANSWER)


def test_quotations_are_whole_and_passages_cover_the_answer(example):
    told = ["He said, “Go. Now.”", "Then he left!", "And so"]
    assert example.sentences(" ".join(told)) == told
    steps = example.steps_to(example.ANSWER)
    assert len(steps) == len(example.PLAN)
    assert " ".join(passage for passage, _ in steps).split() == example.ANSWER.split()
    assert len(example.steps_to("One. Two.")) == 2


def test_as_a_command_it_takes_the_first_pair_of_a_file(tiny_model, tmp_path, capsys, monkeypatch):
    pairs = [{"query": "Rain?", "answer": "It came at dusk. Nobody ran."}, {"query": "no", "answer": "no"}]
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, pairs)), encoding="utf-8")
    monkeypatch.setattr(sys, "argv", [str(FILE), str(tiny_model), "--pairs", str(path), "--seed", "1"])
    runpy.run_path(str(FILE), run_name="__main__")
    printed = capsys.readouterr().out.splitlines()
    [bare] = package_nlls(tiny_model, "Rain?", [None], pairs[0]["answer"])
    assert printed[0] == f"{bare:.3f}  without thinking (nats per answer token)"
    assert [line.partition(":")[0] for line in printed if line.startswith("Segment")] == ["Segment 1", "Segment 2"]


def test_it_is_short_and_needs_only_torch_and_transformers():
    text = FILE.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    imports = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {a.name for i in imports if isinstance(i, ast.Import) for a in i.names}
    names |= {i.module for i in imports if isinstance(i, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} <= {"torch", "transformers"} | sys.stdlib_module_names
