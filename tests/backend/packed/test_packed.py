"""Packed forwards give what one plain forward per sequence gives, whatever is shared, kept, split or dropped."""

import asyncio
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from reer.backend import build_scorer
from reer.backend.hf import HFScorer
from reer.backend.packed import attention
from reer.backend.packed import forward as packed
from reer.backend.packed import scorer as packed_scorer
from reer.backend.packed.attention import DoesNotFit
from reer.backend.packed.forward import Kept, PackedForward, Wanted
from reer.backend.packed.runs import Path, Run
from reer.backend.packed.scorer import PackedScorer
from reer.config import HFBackendConfig, ModelConfig
from reer.errors import BackendError, Unanswered
from reer.types import ScoreRequest


@pytest.fixture(scope="module")
def model(tiny_model):
    return AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()


@pytest.fixture
def config(tiny_model):
    return HFBackendConfig(model=ModelConfig(path=str(tiny_model), dtype="float32", device="cpu", max_length=400))


def plain(model, wanted):
    with torch.inference_mode():
        return model.base_model(torch.tensor([wanted.ids])).last_hidden_state[0, wanted.first :]


def packed_states(forward, wanted):
    found = {}
    for rows in forward.hidden(wanted):
        for row in rows:
            found.setdefault(row.owner, []).append(row)
    for parts in found.values():
        assert all(a.first + len(a.states) == b.first for a, b in zip(parts, parts[1:], strict=False))
    return [torch.cat([row.states for row in found[n]]) for n in range(len(wanted))]


TOKENS = st.lists(st.integers(3, 250), min_size=1, max_size=12).map(tuple)


@st.composite
def families(draw):
    """Sequences that share beginnings of different lengths, as candidates of a search do."""
    stems = draw(st.lists(TOKENS, min_size=1, max_size=3))
    family = []
    for _ in range(draw(st.integers(1, 6))):
        stem = draw(st.sampled_from(stems))
        ids = stem[: draw(st.integers(0, len(stem)))] + draw(TOKENS) + draw(TOKENS)
        family.append(Wanted(ids, draw(st.integers(0, len(ids) - 1)), draw(st.booleans())))
    return sorted(family, key=lambda w: w.ids)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(families(), min_size=1, max_size=3), st.integers(1, 40), st.integers(0, 60), st.integers(0, 20))
def test_every_state_is_that_of_a_plain_forward(model, monkeypatch, calls, budget, kept, ahead):
    monkeypatch.setattr(packed, "AHEAD", ahead)
    forward = PackedForward(model, budget, kept)
    for wanted in calls:
        for state, sequence in zip(packed_states(forward, wanted), wanted, strict=True):
            torch.testing.assert_close(state, plain(model, sequence), rtol=1e-4, atol=1e-4)
        assert forward.kept.tokens <= kept


def test_what_candidates_share_is_run_once_and_the_accepted_prefix_is_kept(model):
    prompt, segments, answer = tuple(range(10, 40)), [(50, 51, 52), (60, 61, 62), (70, 71)], tuple(range(100, 120))
    forward = PackedForward(model, 1000, 1000)

    def reused(prefix, candidates, rest):
        sequences = sorted(prefix + c + rest + answer for c in candidates)
        packed_states(forward, [Wanted(ids, len(ids) - len(answer)) for ids in sequences])
        return forward.reused

    first = reused(prompt, [segments[0], (53, 54, 55)], segments[1] + segments[2])
    assert first == [0, len(prompt)]
    second = reused(prompt + segments[0], [(63, 64, 65), (66, 67, 68)], segments[2])
    assert second == [len(prompt) + 3, len(prompt) + 3]


def test_the_least_recently_used_beginning_goes_first():
    kept = Kept(limit=5)
    for ids in ((1, 2), (3, 4), (5, 6)):
        kept.add(ids, Run(ids, Path(), continued=True).then())
    assert len(kept.longest((1, 2, 9))) == 2  # now the most recently used
    kept.trim()
    assert (len(kept.longest((3, 4))), len(kept.longest((1, 2, 9))), len(kept.longest((5,)))) == (0, 2, 1)


def requests(scorer, texts):
    ids = [scorer.tokenizer.encode(text) for text in texts]
    return [ScoreRequest(i, len(i) // 3, len(i), skip=2, clip=4.0) for i in ids]


def test_scores_are_those_of_one_forward_per_request(config):
    scorer, reference = PackedScorer.load(config), HFScorer(config)
    texts = [f"I will think about the answer first, then {word} the story of the old man." for word in "abcdefg"]
    some = requests(scorer, [*texts, "月亮出来了，院子里很安静。", texts[0]])
    got, expected = (asyncio.run(s.score(some)) for s in (scorer, reference))
    for a, b in zip(got, expected, strict=True):
        assert a.score.nll == pytest.approx(b.score.nll, abs=1e-5)
        assert a.score.objective == pytest.approx(b.score.objective, abs=1e-5)
        assert a.score.tokens == b.score.tokens
    prompts = [r.ids[: r.start] for r in some]
    chosen, wanted = (asyncio.run(s.next_token(prompts, [5, 7, 9])) for s in (scorer, reference))
    for a, b in zip(chosen, wanted, strict=True):
        assert a == pytest.approx(b, abs=1e-5)


def test_one_request_too_many_fails_alone(config):
    scorer = PackedScorer.load(config)
    good, long = ScoreRequest((5, 6, 7), 1, 3), ScoreRequest((5,) * 500, 1, 500)

    async def each():
        return await asyncio.gather(scorer.score([good]), scorer.score([long]), return_exceptions=True)

    scored, failed = asyncio.run(each())
    assert scored[0].score.tokens == 2
    assert isinstance(failed, BackendError)
    assert "exceed model.max_length=400" in str(failed)


def test_a_number_that_is_none_is_an_error_of_its_request(config, monkeypatch):
    scorer = PackedScorer.load(config)
    monkeypatch.setattr(scorer, "_logprobs", lambda states, tokens: torch.full((len(states), 1), torch.nan))
    with pytest.raises(BackendError, match="no finite"):
        asyncio.run(scorer.score([ScoreRequest((5, 6, 7), 1, 3)]))


def test_out_of_memory_halves_the_budget_and_loses_nothing(config, monkeypatch, caplog):
    scorer = PackedScorer.load(config)
    expected = asyncio.run(scorer.score(requests(scorer, ["a b c d e f", "g h i j k l"])))
    whole = scorer._body._forward

    def small(batch):
        if scorer._body.budget > 1024:
            raise torch.OutOfMemoryError("no room")
        return whole(batch)

    monkeypatch.setattr(scorer._body, "_forward", small)
    got = asyncio.run(scorer.score(requests(scorer, ["a b c d e f", "g h i j k l"])))
    assert [s.score.nll for s in got] == pytest.approx([s.score.nll for s in expected], abs=1e-5)
    assert scorer._body.budget == 1024
    assert "goes on with 1024 tokens per forward" in caplog.text
    monkeypatch.setattr(packed_scorer, "SMALLEST_BUDGET", 2048)
    scorer._body.budget = 2048
    with pytest.raises(BackendError, match="out of memory"):
        asyncio.run(scorer.score(requests(scorer, ["m n o p q r"])))


def test_the_seconds_of_every_forward_are_somebodys(config, monkeypatch):
    scorer, ticks = PackedScorer.load(replace(config, token_budget=40)), [0]
    whole = scorer._body._forward

    def one_second(batch):
        ticks[0] += 1
        return whole(batch)

    monkeypatch.setattr(scorer._body, "_forward", one_second)
    monkeypatch.setattr(packed_scorer.time, "perf_counter", lambda: float(ticks[0]))
    long = [ScoreRequest((n, *(5,) * 199), 180, 200) for n in (7, 8)]  # most forwards hold no row of an answer
    assert sum(s.usage.seconds for s in asyncio.run(scorer.score(long))) == pytest.approx(ticks[0])
    assert ticks[0] > 4


def test_what_does_not_fit_fails_alone(config, monkeypatch):
    scorer = PackedScorer.load(replace(config, token_budget=packed_scorer.SMALLEST_BUDGET))
    long, short = ScoreRequest((5,) * 380, 300, 380), ScoreRequest((6,) * 30, 20, 30)
    [expected] = asyncio.run(scorer.score([short]))
    whole = scorer._body._forward

    def small(batch):
        if sum(len(run.ids) for run in batch) > 100:
            raise torch.OutOfMemoryError("no room")
        return whole(batch)

    async def together():
        return await asyncio.gather(*(scorer.score([one]) for one in (long, short)), return_exceptions=True)

    monkeypatch.setattr(scorer._body, "_forward", small)
    failed, [scored] = asyncio.run(together())
    assert isinstance(failed, Unanswered)  # another day, on another machine, it may fit
    assert failed.alone
    assert scored.score.nll == pytest.approx(expected.score.nll, abs=1e-5)


def test_a_forward_that_breaks_leaves_nothing_behind(config, monkeypatch):
    """What was planned to be kept has no keys and values yet: who continued it would be scored by what lay there."""
    one, other = ScoreRequest(tuple(range(5, 65)), 40, 60), ScoreRequest((*range(5, 17), *range(100, 140)), 30, 50)
    expected = [scored.score.nll for scored in asyncio.run(PackedScorer.load(config).score([one, other]))]
    scorer, honest = PackedScorer.load(config), attention._attend_run

    def breaks(*args):
        monkeypatch.setattr(attention, "_attend_run", honest)
        raise RuntimeError("can't allocate memory")

    monkeypatch.setattr(attention, "_attend_run", breaks)
    with pytest.raises(RuntimeError):
        asyncio.run(scorer.score([one]))
    got = [scored.score.nll for scored in asyncio.run(scorer.score([one, other]))]
    assert got == pytest.approx(expected, abs=1e-5)


def test_a_model_that_attends_otherwise_is_scored_by_plain_forwards(config, monkeypatch, caplog):
    assert isinstance(build_scorer(config), PackedScorer)
    honest = attention._attend_run

    def windowed(query, key, value, run, layer, scaling):
        return honest(query, key, value * 1.5, run, layer, scaling)

    monkeypatch.setattr(attention, "_attend_run", windowed)
    with pytest.raises(DoesNotFit, match="nats off a plain forward"):
        PackedScorer.load(config)
    assert isinstance(build_scorer(config), HFScorer)
    assert "a forward of its own" in caplog.text


@pytest.mark.slow
def test_rounding_to_bfloat16_is_no_other_attention():
    """Of the least likely tokens it changes the log-probability by half a nat: SmolLM2 was refused for it."""
    config = HFBackendConfig(model=ModelConfig(path="smollm2", dtype="bfloat16", device="cpu", max_length=400))
    assert isinstance(PackedScorer.load(config), PackedScorer)
