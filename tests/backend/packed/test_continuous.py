"""A running batch: who joins, ends or makes room changes nobody's text. (What both generators do: test_hf.py.)"""

import asyncio
from dataclasses import replace
from itertools import count

import pytest
import torch

from reer.backend import build_generator
from reer.backend.hf import HFGenerator
from reer.backend.models import prompt_ids
from reer.backend.packed import generator as continuous
from reer.backend.packed.generator import ContinuousGenerator
from reer.backend.packed.rows import attend_rows
from reer.config import HFBackendConfig, ModelConfig
from reer.errors import Unanswered
from reer.types import GenerateRequest, Message


@pytest.fixture(scope="module")
def config(tiny_model):
    model = ModelConfig(path=str(tiny_model), dtype="float32", device="cpu", max_length=900)
    return HFBackendConfig(model=model, batch_size=5, token_budget=64, kept_tokens=200)


def asked(n):
    """Prompts and limits of many lengths; some stop at a text."""
    return GenerateRequest(
        messages=(Message("user", "rain " * (n % 7) + f"number {n}"),),
        seeds=tuple(range(n, n + 1 + n % 3)),
        max_tokens=3 + 11 * (n % 5),
        temperature=0.0 if n % 4 == 0 else 0.8,
        top_p=1.0 if n % 2 else 0.9,
        stop=("e",) if n % 3 == 0 else (),
    )


def drawn(generator, requests):
    """Every request comes a little later than the one before."""

    async def late(n, request):
        for _ in range(3 * n):
            await asyncio.sleep(0)
        return (await generator.generate([request]))[0]

    async def together():
        return await asyncio.gather(*(late(n, r) for n, r in enumerate(requests)), return_exceptions=True)

    return asyncio.run(together())


def texts(results):
    return [[(r.text, r.finish_reason, r.usage.generated_tokens) for r in result] for result in results]


def test_a_crowd_gets_the_texts_that_each_would_get_alone_by_plain_generation(config):
    requests = [asked(n) for n in range(14)]
    generator, reference = ContinuousGenerator.load(config), HFGenerator.load(config)
    expected = [asyncio.run(reference.generate([request]))[0] for request in requests]
    assert texts(drawn(generator, requests)) == texts(expected)
    assert texts(drawn(generator, requests[::-1])) == texts(expected[::-1])
    assert generator._rows == []
    assert generator._cache.layers == []


def test_a_row_ends_without_waiting_for_its_neighbours(config):
    generator = ContinuousGenerator.load(config)
    short, long = (GenerateRequest(messages=(Message("user", "rain"),), seeds=(1,), max_tokens=n) for n in (2, 60))

    async def order():
        done = []

        async def one(name, request):
            await generator.generate([request])
            done.append((name, len(generator._rows)))

        await asyncio.gather(one("long", long), one("short", short))
        return done

    assert asyncio.run(order()) == [("short", 1), ("long", 0)]


def test_what_prompts_share_with_earlier_ones_is_not_run_again(config):
    generator = ContinuousGenerator.load(config)
    same = "the same beginning of a prompt, over and over, "
    first, second = (GenerateRequest(messages=(Message("user", same + w),), seeds=(1,), max_tokens=2) for w in "ab")
    [[one]] = asyncio.run(generator.generate([first]))
    [[two]] = asyncio.run(generator.generate([second]))
    assert one.usage.reused_tokens == 0
    assert two.usage.reused_tokens >= len(generator.tokenizer.encode(same))
    assert two.usage.prefilled_tokens + two.usage.reused_tokens == len(prompt_ids(generator.tokenizer, second))


def test_long_samples_are_drawn_by_fewer_at_once_and_come_out_the_same(config, monkeypatch):
    requests = [asked(n) for n in range(14)]
    expected = drawn(ContinuousGenerator.load(config), requests)
    generator = ContinuousGenerator.load(replace(config, row_tokens=150))
    whole, seen = generator._forward, []

    def watched(tokens):
        rows = generator._rows
        seen.append((len({id(row.request) for row in rows}), len(rows) * max(row.reach for row in rows)))
        return whole(tokens)

    monkeypatch.setattr(generator, "_forward", watched)
    assert texts(drawn(generator, requests)) == texts(expected)
    assert all(at_once == 1 or tokens <= 150 for at_once, tokens in seen)
    assert max(tokens for _, tokens in seen) > 150, "no request was too large for the room"


def test_out_of_memory_begins_again_with_fewer_and_draws_the_same(config, monkeypatch, caplog):
    requests = [asked(n) for n in range(8)]
    expected = drawn(ContinuousGenerator.load(config), requests)
    generator = ContinuousGenerator.load(config)
    whole = generator._forward

    def small(tokens):
        if len(tokens) > 2:
            raise torch.OutOfMemoryError("no room")
        return whole(tokens)

    monkeypatch.setattr(generator, "_forward", small)
    assert texts(drawn(generator, requests)) == texts(expected)
    assert "goes on with" in caplog.text
    monkeypatch.setattr(generator, "_forward", lambda tokens: small([0] * 9))
    # one sample each: of several, the first to fail ends the call while the worker goes on with the others
    failed = drawn(generator, [replace(request, seeds=request.seeds[:1]) for request in requests[1:3]])
    assert all(isinstance(result, Unanswered) and result.alone for result in failed)


def test_a_sample_that_does_not_fit_alone_fails_and_who_waits_behind_it_is_served(config, monkeypatch):
    requests = [replace(asked(n), seeds=(n,)) for n in range(1, 6)]
    expected, generator = drawn(ContinuousGenerator.load(config), requests), ContinuousGenerator.load(config)
    whole = generator._forward

    def small(tokens):
        if any(row.request is requests[1] for row in generator._rows):
            raise torch.OutOfMemoryError("no room")
        return whole(tokens)

    monkeypatch.setattr(generator, "_forward", small)
    found = drawn(generator, requests)
    assert isinstance(found.pop(1), Unanswered)
    assert texts(found) == texts(expected[:1] + expected[2:])
    assert generator.batch_size == config.batch_size  # who comes later is drawn by as many at once as before


def test_a_fault_later_in_the_slice_does_not_take_what_has_ended(config, monkeypatch):
    generator = ContinuousGenerator.load(config)
    short, long = (GenerateRequest(messages=(Message("user", "rain"),), seeds=(1,), max_tokens=n) for n in (2, 60))
    [expected] = asyncio.run(ContinuousGenerator.load(config).generate([short]))
    whole = generator._forward

    def breaks(tokens):
        if len(tokens) == 1:  # the short one has ended
            raise RuntimeError("broken")
        return whole(tokens)

    async def together():
        asked = (generator.generate([request]) for request in (long, short))
        return await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 60)

    monkeypatch.setattr(generator, "_forward", breaks)
    error, [found] = asyncio.run(together())
    assert isinstance(error, RuntimeError)
    assert texts([found]) == texts([expected])


@pytest.mark.parametrize("failing", range(1, 8))
def test_out_of_memory_at_any_prompt_draws_the_same(config, monkeypatch, failing):
    requests = [asked(n) for n in (1, 2, 5)]
    expected = drawn(ContinuousGenerator.load(config), requests)
    generator = ContinuousGenerator.load(config)
    whole, forwards = generator._body._forward, count(1)

    def once(batch):
        if next(forwards) == failing:
            raise torch.OutOfMemoryError("no room")
        return whole(batch)

    monkeypatch.setattr(generator._body, "_forward", once)
    assert texts(drawn(generator, requests)) == texts(expected)


@pytest.mark.parametrize("error", [RuntimeError("no room"), torch.OutOfMemoryError("no room")])
def test_a_prompt_that_cannot_be_run_is_told(config, monkeypatch, error):
    generator = ContinuousGenerator.load(config)

    def broken(batch):
        raise error

    monkeypatch.setattr(generator._body, "_forward", broken)
    with pytest.raises(Unanswered if isinstance(error, torch.OutOfMemoryError) else RuntimeError):
        asyncio.run(asyncio.wait_for(generator.generate([replace(asked(1), seeds=(1,))]), 60))


def test_a_model_that_attends_otherwise_is_left_to_transformers(config, monkeypatch, caplog):
    assert isinstance(build_generator(config), ContinuousGenerator)
    honest = attend_rows

    def windowed(*args, **kwargs):
        return honest(*args, **kwargs | {"sliding_window": 4})

    monkeypatch.setattr(continuous, "attend_rows", windowed)
    assert isinstance(build_generator(config), HFGenerator)
    assert "attends in another way: samples are drawn in batches that end together" in caplog.text
