"""A real vLLM, in process and as a server. `scripts/checks/vllm` sets both up and runs this file; elsewhere it skips.

REER_VLLM_URL: a server of SmolLM2 under the name smol; for the test with "parser" in its name, of the model that
`tests/thinking_model.py` makes, behind a reasoning parser. In-process tests need vLLM in this environment.
"""

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
from thinking_model import ANSWER

from reer.config import HFBackendConfig, ModelConfig, OpenAIBackendConfig, VLLMBackendConfig
from reer.errors import BackendError, ModelError
from reer.types import GenerateRequest, Message, ScoreRequest

URL = os.environ.get("REER_VLLM_URL")
TEXTS = [
    "The rain came at dusk, and nobody ran. She put the kettle on and waited for the others to come home.",
    "First came the fox, then the crow.\n\nNeither of them spoke; the cheese lay between them.",
    "雪夜，湖心亭。\n\n到亭上，有两人铺毡对坐。",
]
MODEL = ModelConfig(path="smollm2", dtype="float32", device="cpu", max_length=1024)
in_process = pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed here: scripts/checks/vllm")
served = pytest.mark.skipif(URL is None, reason="no server (REER_VLLM_URL): scripts/checks/vllm")


@pytest.fixture(scope="module")
def requests():
    from reer.backend.models import load_tokenizer

    ids = [load_tokenizer(MODEL).encode(text) for text in TEXTS]
    return [ScoreRequest(i, len(i) // 3, len(i), skip=2, clip=2.0) for i in ids] + [ScoreRequest(ids[0], 1, 9)]


@pytest.fixture(scope="module")
def plain(requests):
    from reer.backend.hf import HFScorer

    return asyncio.run(HFScorer(HFBackendConfig(model=MODEL)).score(requests))


@pytest.fixture(scope="module")
def engine():
    from reer.backend.vllm import load_engine

    config = VLLMBackendConfig(model=MODEL, engine_args={"enforce_eager": True, "max_num_seqs": 16})
    yield config
    load_engine(config).close()


def server():
    return OpenAIBackendConfig(model_name="smol", base_url=URL, tokenizer="smollm2", max_length=1024)


def agree(scorer, requests, plain):
    for found, expected in zip(asyncio.run(scorer.score(requests)), plain, strict=True):
        assert found.score.nll == pytest.approx(expected.score.nll, abs=1e-4)
        assert found.score.objective == (
            None if expected.score.objective is None else pytest.approx(expected.score.objective, abs=1e-3)
        )
        assert found.score.tokens == expected.score.tokens


@in_process
def test_the_engine_scores_as_a_plain_forward(engine, requests, plain):
    from reer.backend.vllm import VLLMScorer

    agree(VLLMScorer(engine), requests, plain)
    agree(VLLMScorer(engine), requests, plain)  # with whatever its prefix cache holds by now


@in_process
def test_the_engine_draws_the_same_for_the_same_seed(engine):
    from reer.backend.vllm import VLLMGenerator

    request = GenerateRequest(messages=(Message("user", "Tell me about rain."),), seeds=(1, 2, 1), max_tokens=16,
                              temperature=0.9, stop=("zzz",))  # fmt: skip
    [[a, b, again]] = asyncio.run(VLLMGenerator(engine).generate([request]))
    assert (a.text, a.finish_reason, a.usage.generated_tokens) == (again.text, "length", 16)
    assert a.text != b.text


@in_process
def test_an_engine_that_takes_old_numbers_from_its_prefix_cache_is_refused(engine, monkeypatch):
    """vLLM passes its cache over when it is to give numbers. Made to read it, it gives what is left in its memory."""
    from reer.backend import vllm

    run = vllm.Engine.run

    def reading(self, ids, **settings):
        return run(self, ids, **settings | {"skip_reading_prefix_cache": False})

    loaded = vllm.load_engine(engine)
    monkeypatch.setattr(vllm.Engine, "run", reading)
    monkeypatch.setattr(loaded, "_believed", False)
    with pytest.raises(ModelError, match="engine_args.enable_prefix_caching=false"):
        loaded.try_scoring()


@served
def test_the_server_scores_as_a_plain_forward(requests, plain):
    from reer.backend.server.scorer import ServerScorer

    agree(ServerScorer(server()), requests, plain)


@served
def test_the_server_takes_one_token_less_than_its_context():
    from reer.backend.server.scorer import ServerScorer

    scorer = ServerScorer(replace(server(), max_length=10**6))
    longest = ScoreRequest(tuple(range(100, 101 + scorer.max_length)), 1, scorer.max_length)
    [found] = asyncio.run(scorer.score([longest]))
    assert found.score.tokens == scorer.max_length - 1
    with pytest.raises(BackendError, match="leave no room"):
        asyncio.run(scorer.score([replace(longest, end=longest.end + 1)]))


def roles(*names):
    """Overrides that let the server take these roles."""
    return [word.format(name) for name in names for word in (
        "backend@{0}=openai", "{0}.model_name=smol", f"{{0}}.base_url={URL}")]  # fmt: skip


def run(module, *overrides):
    done = subprocess.run([sys.executable, "-m", module, *overrides], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@served
def test_a_small_synthesis_through_the_server_is_confirmed_by_plain_transformers(tmp_path):
    run("reer.synthesize", *roles("generator", "scorer"), "scorer.tokenizer=smollm2", "experiment=demo",
        "data.limit=2", "search.max_steps=1", f"run_dir={tmp_path}")  # fmt: skip
    rows = read(tmp_path / "trajectories.jsonl")
    assert len(rows) == 2
    assert all(row["scorer"]["model"] == "smol" for row in rows)
    assert rows[0]["id"] in (tmp_path / "report.html").read_text(encoding="utf-8")
    check = Path(__file__).parents[2] / "scripts" / "checks" / "scores"
    done = subprocess.run([sys.executable, check, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@served
def test_an_answer_of_a_model_that_thinks_behind_a_parser_is_well_formed(tmp_path):
    run("eval.run", *roles("evaluate.backend"), "experiment=demo", "evaluate=base", "benchmark.limit=2",
        "steps=[respond]", f"run_dir={tmp_path}")  # fmt: skip
    rows = read(tmp_path / "answers.jsonl")
    assert len(rows) == 2
    assert all(row["well_formed"] and row["answer"] == ANSWER for row in rows)


@served
def test_the_reasoning_of_a_fine_tuned_model_comes_apart_from_its_answer():
    """On the queries it was trained on, greedily: what opens with a think block and closes it is taken apart."""
    from openai import OpenAI

    from reer.files.pairs import read_pairs

    client = OpenAI(base_url=str(URL), api_key="none")
    apart = 0
    for example in read_pairs(None, 8).examples:
        reply = client.chat.completions.create(
            model="smol", messages=[{"role": "user", "content": example.query}], max_tokens=224, temperature=0
        )
        message = reply.choices[0].message.model_dump()
        assert "<think>" not in (message["content"] or "")
        apart += bool(message.get("reasoning") or message.get("reasoning_content")) and bool(message["content"])
    assert apart > 0
