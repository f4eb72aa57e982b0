"""The draft as an engine: a thread, a tokenizer and a context of its own, scores remembered under its name."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from transformers import LlamaConfig, LlamaForCausalLM

from reer.backend import build_draft, build_scorer, parameters
from reer.backend.batching import WORKER, Batcher
from reer.backend.models import load_model
from reer.config import (
    BackendConfig,
    FakeBackendConfig,
    HFBackendConfig,
    LayoutConfig,
    ModelConfig,
    OpenAIBackendConfig,
    SearchConfig,
)
from reer.errors import ConfigError, ModelError
from reer.layout import build_layout
from reer.method.screen import Measure, Screen
from reer.types import Example, ScoreRequest

QWEN = Path.home() / ".cache/reer/check-models/qwen"
REQUEST = ScoreRequest(tuple(range(5, 25)), 10, 20)


def hf(path, **changes):
    return HFBackendConfig(model=ModelConfig(path=str(path), dtype="float32", device="cpu"), **changes)


def test_two_workers_do_not_wait_for_each_other():
    """Each batch holds on until the other one has begun: with one thread for both, neither would end."""
    meeting = threading.Barrier(2, timeout=5)

    def run(requests):
        meeting.wait()
        return requests

    async def both():
        with ThreadPoolExecutor(1) as own:
            return await asyncio.gather(Batcher(run).submit([1]), Batcher(run, own).submit([2]))

    assert asyncio.run(both()) == [[1], [2]]


@pytest.fixture(scope="module")
def other_model(tiny_model, tmp_path_factory):
    """The same model in another folder: for the program another one."""
    folder = tmp_path_factory.mktemp("other")
    for file in tiny_model.iterdir():
        (folder / file.name).symlink_to(file)
    return folder


def test_a_draft_has_its_own_thread_unless_it_is_a_model_in_use(tiny_model, other_model):
    own = build_draft(hf(other_model), [FakeBackendConfig(), hf(tiny_model)])
    shared = build_draft(hf(tiny_model), [hf(tiny_model), FakeBackendConfig()])
    assert own._requests._worker is not WORKER
    assert shared._requests._worker is WORKER
    [a], [b] = asyncio.run(_both(own, shared))
    assert a.score == b.score


async def _both(a, b):
    return await asyncio.gather(a.score([REQUEST]), b.score([REQUEST]))


def test_it_takes_no_more_tokens_than_its_model_has_positions(other_model):
    positions = load_model(hf(other_model).model).config.max_position_embeddings
    assert build_draft(hf(other_model), []).max_length == min(positions, 16384)


def test_its_scores_are_remembered_under_its_own_weights(other_model, tmp_path, monkeypatch):
    monkeypatch.setenv("REER_CACHE", str(tmp_path))
    draft = build_draft(hf(other_model, score_cache=True), [])
    [cold], [warm] = (asyncio.run(draft.score([REQUEST])) for _ in range(2))
    assert warm.score == cold.score
    assert (warm.usage.scored_tokens, warm.usage.seconds) == (cold.usage.scored_tokens, 0.0)


@pytest.mark.parametrize("tied", [True, False])
def test_a_token_is_multiplied_with_all_but_an_embedding_apart_from_the_head(tmp_path, tied):
    shape = LlamaConfig(vocab_size=50, hidden_size=8, intermediate_size=12, num_hidden_layers=1, num_attention_heads=2,
                        num_key_value_heads=2, tie_word_embeddings=tied)  # fmt: skip
    LlamaForCausalLM(shape).save_pretrained(tmp_path)
    # attention 4 * 8 * 8, feed-forward 3 * 8 * 12, three norms of 8, and one product with the head
    assert parameters(hf(str(tmp_path))) == 256 + 288 + 24 + 50 * 8
    assert parameters(FakeBackendConfig()) is None


@pytest.mark.parametrize(
    ("config", "kind", "words"),
    [
        (BackendConfig(kind="other"), ConfigError, "the draft cannot rank: .*backend@draft=hf"),
        (OpenAIBackendConfig(model_name="m"), ModelError, "the draft cannot rank: .*draft.tokenizer="),
    ],
)
def test_an_engine_that_cannot_score_is_no_draft(config, kind, words):
    with pytest.raises(kind, match=words):
        build_draft(config, [])


@pytest.mark.slow
@pytest.mark.skipif(not QWEN.exists(), reason="Qwen2.5-Coder-0.5B-Instruct is not on this machine")
def test_smollm2_ranks_for_qwen():
    """Of another family: the thinking that tells most of the answer is among the draft's best two of four."""
    example = Example(id="e", query="Write one line about rain.", answer="Rain fell on the tin roof all night long.")
    thinkings = [
        "I will count the apples in the market and multiply them by seven.",
        "A roof of tin, a night, and rain that does not stop: one long line.",
        "Maybe something about weather.",
        "The stock market fell on Monday, so bonds are better.",
    ]
    scorer = build_scorer(hf(QWEN))
    draft = build_draft(hf("smollm2"), [hf(QWEN)])
    scoring, ranking = (
        Measure(engine, build_layout(LayoutConfig(name="think"), engine.tokenizer), SearchConfig())
        for engine in (scorer, draft)
    )
    weight = parameters(hf("smollm2")) / parameters(hf(QWEN))

    async def run():
        return await asyncio.gather(
            Screen(ranking, weight).rank(example, thinkings, 2, audit=False), scoring.scores(example, thinkings)
        )

    ranked, scored = asyncio.run(run())
    winner = min(range(4), key=lambda n: scored[n].score.nll)
    assert thinkings[winner] in ranked.sent
    assert len(ranked.sent) == 2
    assert weight == pytest.approx(134_515_008 / 494_032_768)  # of the latter's 630,167,424, a fifth is a table
    assert ranked.usage.draft_counted == round(ranked.usage.draft_tokens * weight)
    assert scored[winner].score.nll != ranked.drafts[thinkings[winner]]
