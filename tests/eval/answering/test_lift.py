import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from eval.answering.lift import LiftEngines, Lifting, measure_lift
from eval.store import Row, Rows
from reer.backend.fake import FakeGenerator, FakeScorer, FakeTokenizer
from reer.config import BenchmarkConfig, FakeBackendConfig, HFBackendConfig, LayoutConfig, ModelConfig
from reer.errors import BackendError, ConfigError
from reer.types import Example, GenerateRequest, Message, Response, Scored, ScoreRequest


class Thinker:
    """Thinks the given text; remembers what it was asked."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.requests: list[GenerateRequest] = []

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[list[Response]]:
        self.requests += requests
        return [[Response(text=self.text, finish_reason="stop")] for _ in requests]


def measure(
    path: Path, examples: list[Example], engines: LiftEngines, **changes: Any
) -> tuple[list[Row], dict[str, str]]:
    benchmark = BenchmarkConfig(thinking_tokens=33, **changes)
    with Rows(path) as rows:
        lifting = Lifting(engines, LayoutConfig(), label="m", benchmark=benchmark, seed=1)
        failed = asyncio.run(measure_lift(examples, rows, lambda: lifting.measure, concurrency=4))
        return rows.rows, failed


def fake(generator: Thinker | FakeGenerator) -> LiftEngines:
    scorer = FakeScorer(FakeBackendConfig())
    return LiftEngines(generator, scorer, scorer)


def test_the_three_nlls_agree_with_plain_transformers(tiny_model: Path, tmp_path: Path, pairs: list[Example]) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from reer.backend.hf import HFScorer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    model = AutoModelForCausalLM.from_pretrained(tiny_model).eval()
    other = AutoModelForCausalLM.from_pretrained(tiny_model).eval()
    with torch.no_grad():
        for weight in other.parameters():
            weight *= 1.1
    other.save_pretrained(tmp_path / "tuned")
    tokenizer.save_pretrained(tmp_path / "tuned")
    tuned, base = (
        HFScorer(HFBackendConfig(model=ModelConfig(path=str(path), device="cpu", max_length=4096)))
        for path in (tmp_path / "tuned", tiny_model)
    )
    rows, _ = measure(tmp_path / "lift.jsonl", pairs, LiftEngines(Thinker("\nI plan it.\n"), tuned, base))

    def nll(judged: Any, before: str, answer: str) -> float:
        prompt = tokenizer(before, add_special_tokens=False).input_ids
        ids = tokenizer(answer, add_special_tokens=False).input_ids
        with torch.no_grad():
            logits = judged(torch.tensor([prompt + ids])).logits[0].double().log_softmax(-1)
        return -sum(float(logits[len(prompt) - 1 + n, token]) for n, token in enumerate(ids)) / len(ids)

    assert len(rows) == len(pairs)
    for row in rows:
        pair = next(pair for pair in pairs if pair.id == row["id"])
        prompt = f"<|im_start|>user\n{pair.query}<|im_end|>\n<|im_start|>assistant\n"
        thought = f"{prompt}<think>\nI plan it.\n</think>\n\n"
        assert row["nll"]["base"] == pytest.approx(nll(model, prompt, pair.answer), abs=1e-3)
        assert row["nll"]["model"] == pytest.approx(nll(other, prompt, pair.answer), abs=1e-3)
        assert row["nll"]["model_with_thinking"] == pytest.approx(nll(other, thought, pair.answer), abs=1e-3)
        assert row["lift"] == pytest.approx(row["nll"]["base"] - row["nll"]["model_with_thinking"])


def test_the_thinking_never_sees_the_reference(tmp_path: Path, pairs: list[Example]) -> None:
    thinker = Thinker("plan")
    measure(tmp_path / "lift.jsonl", pairs, fake(thinker))
    assert len(thinker.requests) == len(pairs)
    for request, pair in zip(thinker.requests, pairs, strict=True):
        assert [message.content for message in request.messages] == [pair.query]
        assert (request.prefill, request.stop, request.max_tokens) == ("<think>\n", ("</think>",), 33)


@pytest.mark.parametrize("thinking", ["a <think> within", "an end <|end|> inside"])
def test_thinking_that_cannot_be_laid_out_is_missing_not_scored(
    tmp_path: Path, pairs: list[Example], thinking: str
) -> None:
    rows, failed = measure(tmp_path / "lift.jsonl", pairs, fake(Thinker(thinking)))
    assert not failed
    assert {(row["status"], row["nll"], row["lift"]) for row in rows} == {("missing", None, None)}
    assert all("thinking" in row["reason"] for row in rows)


def test_stored_rows_are_kept_and_changed_pairs_measured_again(tmp_path: Path, pairs: list[Example]) -> None:
    path = tmp_path / "lift.jsonl"
    first, _ = measure(path, pairs, fake(Thinker("plan")))
    idle = Thinker("plan")
    assert measure(path, pairs, fake(idle))[0] == first
    assert not idle.requests
    changed = Example(id=pairs[0].id, query=pairs[0].query, answer="Another answer.")
    measure(path, [changed, *pairs[1:]], fake(idle))
    assert len(idle.requests) == 1


def test_a_scorer_that_fails_leaves_no_row(tmp_path: Path, pairs: list[Example]) -> None:
    class Failing(FakeScorer):
        async def score(self, requests: Sequence[ScoreRequest]) -> list[Scored]:
            raise BackendError("the model gave no finite log-probability")

    scorer = Failing(FakeBackendConfig())
    rows, failed = measure(tmp_path / "lift.jsonl", pairs, LiftEngines(Thinker("plan"), scorer, scorer))
    assert not rows
    assert failed.keys() == {pair.id for pair in pairs}


def test_models_with_different_tokens_are_not_compared(tmp_path: Path, pairs: list[Example]) -> None:
    class Shifted(FakeTokenizer):
        def encode(self, text: str) -> tuple[int, ...]:
            return tuple(byte + 1 for byte in text.encode())

    base = FakeScorer(FakeBackendConfig())
    base.tokenizer = Shifted()
    with pytest.raises(ConfigError, match="different tokens"):
        measure(tmp_path / "lift.jsonl", pairs, LiftEngines(Thinker("plan"), FakeScorer(FakeBackendConfig()), base))


def test_what_came_before_a_query_is_thought_about_and_scored_behind(tmp_path: Path, pairs: list[Example]) -> None:
    class Reading(FakeScorer):
        async def score(self, requests: Sequence[ScoreRequest]) -> list[Scored]:
            assert all(b"system: Rhyme." in bytes(i for i in request.ids if i < 256) for request in requests)
            return await super().score(requests)

    later = [replace(pairs[0], history=(Message("system", "Rhyme."),))]
    thinker, scorer = Thinker("a plan"), Reading(FakeBackendConfig())
    engines = LiftEngines(thinker, scorer, scorer)
    [row], _ = measure(tmp_path / "lift.jsonl", later, engines)
    assert row["status"] == "ok"
    assert [turn.role for turn in thinker.requests[0].messages] == ["system", "user"]
    alone = fake(Thinker("a plan"))
    assert len(measure(tmp_path / "lift.jsonl", pairs[:1], alone)[0]) == 2, "another conversation is measured anew"
