"""The transformers engine against plain transformers: the same numbers, and draws that no neighbour can change."""

import asyncio
import math
import time
from statistics import fmean

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from reer.backend.hf import HFGenerator, HFScorer, Sampler
from reer.backend.models import prompt_ids
from reer.backend.packed.generator import ContinuousGenerator
from reer.backend.packed.scorer import PackedScorer
from reer.config import HFBackendConfig, ModelConfig
from reer.errors import BackendError
from reer.layout import Layout
from reer.types import GenerateRequest, Message, ScoreRequest

ANSWERS = [
    "Rain.",
    "One line\nand another\n\nand a third.",
    "雪夜，湖心亭。",
    "A dog 🐕!",
    "\n\nleading lines",
    "word " * 60,
]


@pytest.fixture(scope="module")
def config(tiny_model):
    return HFBackendConfig(model=ModelConfig(path=str(tiny_model), dtype="float32", max_length=600), batch_size=8)


@pytest.fixture(scope="module", params=[HFScorer, PackedScorer.load], ids=["plain", "packed"])
def scorer(config, request):
    return request.param(config)


@pytest.fixture(scope="module", params=[HFGenerator.load, ContinuousGenerator.load], ids=["plain", "continuous"])
def generator(config, request):
    return request.param(config)


@pytest.fixture(scope="module")
def plain(tiny_model):
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()
    return model, AutoTokenizer.from_pretrained(tiny_model)


def token_nlls(plain, ids, start, end):
    """One forward with every logit, nothing cached or shared."""
    with torch.no_grad():
        logprobs = plain[0](torch.tensor([ids])).logits[0].log_softmax(-1)
    return [-logprobs[i - 1, ids[i]].item() for i in range(start, end)]


def reference(plain, ids, start, end):
    return sum(token_nlls(plain, ids, start, end)) / (end - start)


def score(scorer, requests):
    return asyncio.run(scorer.score(requests))


def test_scores_equal_a_plain_forward_and_count_every_token_of_the_answer(scorer, plain):
    layout = Layout("think", scorer.tokenizer)
    thinkings = [None, "I will begin.", "I will begin with rain.", "Then snow, 雪."]
    encoded = [layout.encode("Write.", z, y) for y in ANSWERS for z in thinkings]
    results = score(scorer, [e.score_request() for e in encoded])
    for e, result in zip(encoded, results, strict=True):
        assert result.score.nll == pytest.approx(reference(plain, list(e.ids), e.answer, e.end), abs=1e-5)
    counts = {y: len(plain[1].encode(y, add_special_tokens=False)) for y in ANSWERS}
    assert [r.score.tokens for r in results] == [counts[y] for y in ANSWERS for _ in thinkings]


@pytest.mark.parametrize(
    ("skip", "clip"), [(0, 5.9), (4, 5.9), (4, None), (0, 2.0)], ids=["clip", "both", "skip", "the authors' clip"]
)
def test_an_objective_leaves_out_and_clips_tokens_and_the_nll_stays_that_of_the_whole_answer(
    scorer, plain, skip, clip
):
    layout = Layout("think", scorer.tokenizer)
    encoded = [layout.encode("Write.", z, y) for y in ANSWERS if len(y) > 5 for z in (None, "I will begin.", "雪.")]
    results = score(scorer, [e.score_request(skip, clip) for e in encoded])
    for e, result in zip(encoded, results, strict=True):
        nlls = token_nlls(plain, list(e.ids), e.answer, e.end)
        counted = [min(nll, clip or nll) for nll in nlls[skip:]]
        assert result.score.objective == pytest.approx(sum(counted) / len(counted), abs=1e-5)
        assert result.score.nll == pytest.approx(sum(nlls) / len(nlls), abs=1e-5)
        assert result.score.tokens == len(nlls)
        assert clip is None or min(nlls) < clip < max(nlls) or clip == 2.0  # clipping has to matter, and not to all


@pytest.mark.parametrize(("skip", "clip"), [(0, None), (4, 5.9)])
def test_the_mean_probability_of_a_token_is_that_of_a_plain_forward(scorer, plain, skip, clip):
    layout = Layout("think", scorer.tokenizer)
    encoded = [layout.encode("Write.", z, y) for y in ANSWERS if len(y) > 5 for z in (None, "I will begin.")]
    results = score(scorer, [e.score_request(skip, clip, "mean_prob") for e in encoded])
    for e, result in zip(encoded, results, strict=True):
        nlls = token_nlls(plain, list(e.ids), e.answer, e.end)
        likely = [max(math.exp(-nll), math.exp(-(clip or math.inf))) for nll in nlls[skip:]]
        assert result.score.objective == pytest.approx(1 - sum(likely) / len(likely), abs=1e-5)
        assert result.score.nll == pytest.approx(sum(nlls) / len(nlls), abs=1e-5)


def test_without_an_objective_there_is_none_and_one_changes_no_nll(scorer):
    encoded = Layout("think", scorer.tokenizer).encode("Write.", "I will begin.", ANSWERS[1])
    bare, shaped = score(scorer, [encoded.score_request(), encoded.score_request(2, 5.9)])
    assert bare.score.objective is None
    assert bare.score.value == bare.score.nll == pytest.approx(shaped.score.nll, abs=1e-6)
    assert shaped.score.value == shaped.score.objective != shaped.score.nll


def test_models_say_how_long_they_took(scorer, generator):
    encoded = Layout("think", scorer.tokenizer).encode("Write.", "I will begin.", ANSWERS[1])
    started = time.perf_counter()
    [scored] = score(scorer, [encoded.score_request()])
    [drawn] = asyncio.run(generator.generate([request("Rain.", (1, 2, 3))]))
    elapsed = time.perf_counter() - started
    seconds = [scored.usage.seconds, *(response.usage.seconds for response in drawn)]
    assert min(seconds) > 0
    assert sum(seconds) <= elapsed


def test_a_common_beginning_is_run_once_and_changes_nothing(scorer):
    layout = Layout("think", scorer.tokenizer)
    requests = [layout.encode("Write.", f"I will begin with {w}", "Rain.").score_request() for w in ("a", "b", "c")]
    together = score(scorer, requests)
    alone = [score(scorer, [request])[0] for request in requests]
    assert [t.score.nll for t in together] == pytest.approx([a.score.nll for a in alone], abs=1e-6)
    assert sum(t.usage.reused_tokens for t in together) > 0
    for t, request in zip(together, requests, strict=True):
        assert t.usage.scored_tokens + t.usage.reused_tokens == request.end


def test_next_token_log_probabilities_equal_a_plain_forward(scorer, plain):
    prompts = [scorer.tokenizer.encode(text) for text in ("Level: ", "Level: much longer ", "Level:")]
    options = [scorer.tokenizer.encode(digit)[0] for digit in "12345"]
    for prompt, found in zip(prompts, asyncio.run(scorer.next_token(prompts, options)), strict=True):
        with torch.no_grad():
            expected = plain[0](torch.tensor([prompt])).logits[0, -1].log_softmax(-1)[options]
        assert found == pytest.approx(expected.tolist(), abs=1e-5)


def test_a_sequence_over_the_limit_fails_alone(scorer):
    async def both():
        fine, long = ScoreRequest((5, 6, 7), 1, 3), ScoreRequest((5,) * 700, 1, 700)
        return await asyncio.gather(scorer.score([fine]), scorer.score([long]), return_exceptions=True)

    fine, long = asyncio.run(both())
    assert fine[0].score.tokens == 2
    assert isinstance(long, BackendError)
    assert "700 tokens exceed model.max_length=600" in str(long)


def test_numbers_that_are_not_finite_are_an_error(config):
    scorer = HFScorer(config)
    scorer.model = AutoModelForCausalLM.from_pretrained(config.model.path, dtype=torch.float32).eval()
    with torch.no_grad():
        scorer.model.model.norm.weight.fill_(float("nan"))
    with pytest.raises(BackendError, match="no finite log-probability"):
        score(scorer, [ScoreRequest((5, 6, 7), 1, 3)])


def request(text, seeds, **changes):
    settings = {"max_tokens": 12, "temperature": 0.9, "top_p": 0.95} | changes
    return GenerateRequest(messages=(Message("user", text),), seeds=seeds, **settings)


def test_a_draw_depends_on_its_seed_and_on_nothing_beside_it(generator):
    crowd = [request("Rain.", (1, 2)), request("A much longer prompt than the other one.", (3,)), request("x", (4, 5))]
    together = asyncio.run(generator.generate(crowd))
    alone = [asyncio.run(generator.generate([one]))[0] for one in crowd]
    assert [[r.text for r in rs] for rs in together] == [[r.text for r in rs] for rs in alone]
    again = asyncio.run(generator.generate([request("Rain.", (2, 9, 1))]))[0]
    assert [again[2].text, again[0].text] == [r.text for r in together[0]]
    assert again[1].text != again[0].text


def test_greedy_text_equals_transformers_own(generator, plain):
    model, tokenizer = plain
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Rain."}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    expected = model.generate(**ids, max_new_tokens=12, do_sample=False)[0, ids["input_ids"].shape[1] :]
    [[found]] = asyncio.run(generator.generate([request("Rain.", (0,), temperature=0.0)]))
    assert found.text == tokenizer.decode(expected, skip_special_tokens=True)


@pytest.mark.parametrize(
    ("temperature", "top_p", "expected"),
    [
        (1.0, 1.0, [0.6, 0.3, 0.1]),
        (0.5, 1.0, [0.36 / 0.46, 0.09 / 0.46, 0.01 / 0.46]),
        (1.0, 0.85, [0.6 / 0.9, 0.3 / 0.9, 0.0]),
        (1.0, 0.5, [1.0, 0.0, 0.0]),
    ],
)
def test_draws_follow_the_distribution_its_temperature_and_its_nucleus(temperature, top_p, expected):
    probabilities = torch.tensor([0.6, 0.3, 0.1])
    sampler = Sampler(range(4000), temperature=temperature, top_p=top_p, max_tokens=1)
    draws = sampler(None, probabilities.log().expand(4000, 3)).argmax(-1)
    shares = draws.bincount(minlength=3) / 4000
    assert (shares - torch.tensor(expected)).abs().max() < 0.03
    assert all(share == 0 for share, wanted in zip(shares, expected, strict=True) if wanted == 0)


def test_a_stop_text_and_the_limit_end_a_reply(generator):
    [[whole]] = asyncio.run(generator.generate([request("Rain.", (7,), max_tokens=30)]))
    assert whole.finish_reason == "length"
    assert whole.usage.generated_tokens == 30
    stop = whole.text[4:6]
    [[cut]] = asyncio.run(generator.generate([request("Rain.", (7,), max_tokens=30, stop=(stop,))]))
    assert cut.finish_reason == "stop"
    assert cut.text == whole.text[: whole.text.index(stop)]


def test_a_prefill_is_continued_and_not_repeated(generator):
    plain_, begun = (
        asyncio.run(generator.generate([request("Rain.", (7,), temperature=0.0, prefill=p)]))[0][0]
        for p in ("", "I will")
    )
    assert not begun.text.startswith("I will")
    read = [r.usage.prefilled_tokens + r.usage.reused_tokens for r in (plain_, begun)]
    assert read[1] - read[0] == len(generator.tokenizer.encode("I will"))


def test_control_tokens_typed_in_a_prompt_do_not_end_its_turn(generator):
    ids = prompt_ids(generator.tokenizer, request("a<|im_end|>b", (1,)))
    assert ids.count(generator.tokenizer.end_of_turn) == 1  # the template's own


def test_a_prompt_that_leaves_no_room_fails_alone(generator):
    async def both():
        crowd = (request("Rain.", (1,)), request("word " * 400, (1,)))
        return await asyncio.gather(*(generator.generate([r]) for r in crowd), return_exceptions=True)

    fine, long = asyncio.run(both())
    assert len(fine[0]) == 1
    assert isinstance(long, BackendError)
    assert "leaves no room" in str(long)


def test_a_model_that_slides_a_window_is_scored_as_by_plain_forwards(tiny_model, tmp_path):
    """Texts that share more than the window holds: a cache that forgets could not be cut back."""
    from transformers import AutoTokenizer, Gemma3ForCausalLM, Gemma3TextConfig

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    torch.manual_seed(0)
    config = Gemma3TextConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, sliding_window=8, layer_types=["sliding_attention", "full_attention"],
        initializer_range=0.5,
    )  # fmt: skip
    Gemma3ForCausalLM(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    scorer = HFScorer(HFBackendConfig(model=ModelConfig(path=str(tmp_path), dtype="float32")))
    shared = tuple(n % 90 + 5 for n in range(30))
    texts = [shared + tail for tail in ((7, 8, 9, 10, 11, 12), (7, 8, 20, 21, 22), (40, 41, 42, 43))]
    requests = [ScoreRequest(ids, 31, len(ids)) for ids in texts]
    found = asyncio.run(scorer.score(requests))
    for one, request in zip(found, requests, strict=True):
        with torch.no_grad():
            logits = scorer.model(torch.tensor([request.ids])).logits[0].log_softmax(-1)
        wanted = -fmean(logits[n - 1, request.ids[n]].item() for n in range(31, len(request.ids)))
        assert one.score.nll == pytest.approx(wanted, abs=1e-5)
    assert sum(one.usage.reused_tokens for one in found) > 0
