"""Several thoughts of one prompt: one number, computed once more by numpy and by a plain forward; failures counted."""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eval.answering.lift import LiftEngines, Lifting, measure_lift
from eval.answering.thoughts import check, effective, pooled_nll
from eval.store import Row, Rows
from reer.backend.fake import FakeGenerator, FakeScorer
from reer.config import BenchmarkConfig, FakeBackendConfig, HFBackendConfig, LayoutConfig, ModelConfig
from reer.errors import BackendError, ConfigError
from reer.types import Example, Failed, GenerateRequest, Response, Scored, ScoreRequest

CUT = Response(text="I was going to", finish_reason="length")
LONG = "I will begin far too long before. " * 40


class Script:
    """Draws the given ones, in turn; remembers what it was asked."""

    def __init__(self, *draws: str | Response | Failed) -> None:
        self.draws = [Response(text=draw, finish_reason="stop") if isinstance(draw, str) else draw for draw in draws]
        self.requests: list[GenerateRequest] = []

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[list[Response | Failed]]:
        self.requests += requests
        return [[self.draws[n % len(self.draws)] for n in range(len(request.seeds))] for request in requests]


class Counting(FakeScorer):
    """Remembers its calls; cannot score what is too long."""

    def __init__(self) -> None:
        super().__init__(FakeBackendConfig())
        self.calls: list[int] = []

    async def score(self, requests: Sequence[ScoreRequest]) -> list[Scored]:
        self.calls.append(len(requests))
        if any(len(request.ids) > len(LONG) for request in requests):
            raise BackendError("too long")
        return await super().score(requests)


def measure(path: Path, examples: list[Example], engines: LiftEngines, **changes: Any) -> list[Row]:
    with Rows(path) as rows:
        lifting = Lifting(engines, LayoutConfig(), label="m", benchmark=BenchmarkConfig(**changes), seed=1)
        assert not asyncio.run(measure_lift(examples, rows, lambda: lifting.measure, concurrency=4))
        return rows.rows


def alone(generator: Any, scorer: FakeScorer | None = None) -> LiftEngines:
    scorer = scorer or FakeScorer(FakeBackendConfig())
    return LiftEngines(generator, scorer, scorer)


@pytest.mark.parametrize("nlls", [[2.5], [2.5, 2.5, 2.5], [2.4, 2.5, 2.6], [1.0, 9.0], [800.0, 801.0]])
@pytest.mark.parametrize("tokens", [1, 7, 3000])
def test_the_pooled_nll_is_log_mean_exp_of_the_whole_answers_log_probability(nlls: list[float], tokens: int) -> None:
    sums = -np.array(nlls) * tokens
    expected = -(np.logaddexp.reduce(sums) - np.log(len(nlls))) / tokens
    assert pooled_nll(nlls, tokens) == pytest.approx(expected, abs=1e-12)
    assert min(nlls) <= pooled_nll(nlls, tokens) <= np.mean(nlls) + 1e-12, "Jensen"
    weights = np.exp(sums - np.logaddexp.reduce(sums))
    assert effective(nlls, tokens) == pytest.approx(1 / (weights**2).sum())


def test_one_thought_is_its_own_mean_to_the_last_bit() -> None:
    assert pooled_nll([2.718281828], 977) == 2.718281828


def test_the_numbers_agree_with_a_plain_forward(tiny_model: Path, tmp_path: Path, pairs: list[Example]) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from reer.backend.packed.scorer import PackedScorer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()
    scorer = PackedScorer.load(HFBackendConfig(model=ModelConfig(path=str(tiny_model), device="cpu", max_length=4096)))
    texts = ["I plan it.", "The sea comes first, then rain.", "Wait."]
    [row] = measure(tmp_path / "lift.jsonl", pairs[:1], LiftEngines(Script(*texts), scorer, scorer), thoughts=3)

    def total(thinking: str) -> float:
        before = (
            f"<|im_start|>user\n{pairs[0].query}<|im_end|>\n<|im_start|>assistant\n<think>\n{thinking}\n</think>\n\n"
        )
        prompt = tokenizer(before, add_special_tokens=False).input_ids
        ids = tokenizer(pairs[0].answer, add_special_tokens=False).input_ids
        with torch.no_grad():
            logprobs = model(torch.tensor([prompt + ids])).logits[0].double().log_softmax(-1)
        return sum(float(logprobs[len(prompt) - 1 + n, token]) for n, token in enumerate(ids))

    totals, tokens = np.array([total(text) for text in texts]), row["answer_tokens"]
    expected = -(np.logaddexp.reduce(totals) - np.log(3)) / tokens
    assert row["nll"]["model_with_thinking"] == pytest.approx(expected, abs=1e-4)
    assert row["nll"]["one_thought"] == pytest.approx(-totals.mean() / tokens, abs=1e-4)
    assert row["lift"] == pytest.approx(row["nll"]["base"] - row["nll"]["model_with_thinking"])
    lengths = [len(tokenizer(text, add_special_tokens=False).input_ids) for text in texts]
    assert row["thinking_tokens"] == pytest.approx(np.mean(lengths))
    assert [sample["tokens"] for sample in row["samples"]] == lengths


def test_the_first_of_several_thoughts_is_the_single_one_and_its_numbers_stay(
    tmp_path: Path, pairs: list[Example]
) -> None:
    generator = FakeGenerator(FakeBackendConfig())
    [one] = measure(tmp_path / "one.jsonl", pairs[:1], alone(generator))
    [four] = measure(tmp_path / "four.jsonl", pairs[:1], alone(generator), thoughts=4)
    assert four["samples"][0]["thinking"] == four["thinking"] == one["thinking"]
    assert four["samples"][0]["nll"] == one["nll"]["model_with_thinking"] == one["nll"]["one_thought"]
    assert len({sample["thinking"] for sample in four["samples"]}) == 4
    assert four["nll"]["model_with_thinking"] < four["nll"]["one_thought"]
    assert "samples" not in one
    assert one["thoughts"] == {"asked": 1, "scored": 1, "cut": 0, "failed": {}, "effective": 1.0}


def test_two_models_think_with_the_same_seeds(tmp_path: Path, pairs: list[Example]) -> None:
    first, second = Script("a plan"), Script("another plan")
    for n, script in enumerate((first, second)):
        measure(tmp_path / f"{n}.jsonl", pairs, alone(script), thoughts=5)
    seeds = [[request.seeds for request in script.requests] for script in (first, second)]
    assert seeds[0] == seeds[1]
    assert len({seed for drawn in seeds[0] for seed in drawn}) == 5 * len(pairs)


def test_all_thoughts_of_a_prompt_are_scored_in_one_call_and_equal_ones_once(
    tmp_path: Path, pairs: list[Example]
) -> None:
    scorer = Counting()
    [row] = measure(tmp_path / "lift.jsonl", pairs[:1], alone(Script("a", "b", "a"), scorer), thoughts=6)
    assert scorer.calls == [3]  # without thinking, and behind a and b
    assert row["thoughts"]["scored"] == 6
    nlls = [sample["nll"] for sample in row["samples"]]
    assert nlls[0] == nlls[2] != nlls[1]


def test_a_thought_that_failed_has_no_number_and_is_counted(tmp_path: Path, pairs: list[Example]) -> None:
    refused = Failed(faults=("refused: no",))
    draws = ["a plan", "", CUT, refused, "an end <|end|> inside", LONG, "another"]
    [row] = measure(tmp_path / "lift.jsonl", pairs[:1], alone(Script(*draws), Counting()), thoughts=7)
    assert row["thoughts"]["failed"] == {
        "empty": 1, "not_laid_out": 1, "not_scored": 1, "refused": 1, "truncated": 1,
    }  # fmt: skip
    assert (row["thoughts"]["asked"], row["thoughts"]["scored"], row["thoughts"]["cut"]) == (7, 2, 1)
    assert [sample["nll"] is None for sample in row["samples"]] == [sample["failed"] is not None
                                                                     for sample in row["samples"]]  # fmt: skip
    [few] = measure(tmp_path / "few.jsonl", pairs[:1], alone(Script("a plan", "another")), thoughts=2)
    assert few["nll"] == row["nll"], "what failed changes nothing"


def test_one_thought_that_was_cut_is_scored_as_ever_and_told(tmp_path: Path, pairs: list[Example]) -> None:
    [row] = measure(tmp_path / "lift.jsonl", pairs[:1], alone(Script(CUT)))
    assert (row["status"], row["finish_reason"], row["thoughts"]["cut"]) == ("ok", "length", 1)
    [row] = measure(tmp_path / "none.jsonl", pairs[:1], alone(Script(CUT)), thoughts=2)
    assert (row["status"], row["nll"], row["thoughts"]["failed"]) == ("missing", None, {"truncated": 2})


@pytest.mark.parametrize(("text", "thoughts"), [("", 1), (" \n", 8), ("not asked", 0)])
def test_a_model_that_thinks_nothing_is_scored_once(
    tmp_path: Path, pairs: list[Example], text: str, thoughts: int
) -> None:
    scorer, script = Counting(), Script(text)
    [row] = measure(tmp_path / "lift.jsonl", pairs[:1], alone(script, scorer), thoughts=thoughts)
    assert scorer.calls == [1]
    assert len(script.requests) == (thoughts > 0)
    assert (row["status"], row["thinking_tokens"], row["thoughts"]["asked"]) == ("no_thinking", 0, thoughts)
    assert row["nll"]["model_with_thinking"] is row["nll"]["one_thought"] is None
    assert row["lift"] == row["nll"]["base"] - row["nll"]["model"]


def test_a_request_of_which_every_draw_failed_is_tried_again(tmp_path: Path, pairs: list[Example]) -> None:
    path, failing = tmp_path / "lift.jsonl", Script(Failed(faults=("no_text: nothing",)))
    with Rows(path) as rows:
        benchmark = BenchmarkConfig(thoughts=3)
        lifting = Lifting(alone(failing), LayoutConfig(), label="m", benchmark=benchmark, seed=1)
        failed = asyncio.run(measure_lift(pairs[:1], rows, lambda: lifting.measure, concurrency=1))
    assert "no_text" in failed[pairs[0].id]
    assert [row["status"] for row in measure(path, pairs[:1], alone(Script("a plan")), thoughts=3)] == ["ok"]


def test_stored_rows_are_kept_and_give_what_a_whole_run_gives(tmp_path: Path, pairs: list[Example]) -> None:
    generator = FakeGenerator(FakeBackendConfig())
    whole = measure(tmp_path / "whole.jsonl", pairs, alone(generator), thoughts=3)
    measure(tmp_path / "part.jsonl", pairs[:1], alone(generator), thoughts=3)
    assert measure(tmp_path / "part.jsonl", pairs, alone(generator), thoughts=3) == whole
    idle = Script("never asked")
    measure(tmp_path / "part.jsonl", pairs, alone(idle), thoughts=3)
    assert not idle.requests


def test_fewer_than_no_thoughts_are_refused() -> None:
    with pytest.raises(ConfigError, match="benchmark.thoughts=-1: give 0"):
        check(replace(BenchmarkConfig(), thoughts=-1))
    assert math.isfinite(pooled_nll([0.0], 1))
