"""A real vLLM, in process and as a server. `scripts/checks/vllm` sets both up and runs this file; elsewhere it skips.

REER_VLLM_URL: a server of SmolLM2 under the name smol. In-process tests need vLLM in this environment.
"""

import asyncio
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from reer.config import HFBackendConfig, ModelConfig, OpenAIBackendConfig, VLLMBackendConfig
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


@served
def test_the_server_scores_as_a_plain_forward(requests, plain):
    from reer.backend.server.scorer import ServerScorer

    agree(ServerScorer(server()), requests, plain)


@served
def test_a_small_synthesis_through_the_server_is_confirmed_by_plain_transformers(tmp_path):
    role = "backend@{0}=openai {0}.model_name=smol {0}.base_url=" + str(URL)
    overrides = [*role.format("generator").split(), *role.format("scorer").split(), "scorer.tokenizer=smollm2",
                 "scorer.max_length=2048", "experiment=demo", "data.limit=2", "search.max_steps=1",
                 f"run_dir={tmp_path}"]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "reer.synthesize", *overrides], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "trajectories.jsonl").read_text().splitlines()]
    assert len(rows) == 2
    assert all(row["scorer"]["model"] == "smol" for row in rows)
    check = Path(__file__).parents[2] / "scripts" / "checks" / "scores"
    done = subprocess.run([sys.executable, check, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


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
