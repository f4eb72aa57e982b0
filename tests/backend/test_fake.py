"""The fake engine is a product: scripted where asked, deterministic always."""

import asyncio
import json
import math

import pytest

from reer.backend import build_generator, build_scorer, describe
from reer.backend.fake import FakeGenerator, FakeScorer
from reer.config import FakeBackendConfig, HFBackendConfig, ModelConfig, OpenAIBackendConfig
from reer.errors import ConfigError, DataError, ModelError
from reer.types import GenerateRequest, Message, ScoreRequest


def ask(generator, text, seeds=(1, 2), **settings):
    request = GenerateRequest(messages=(Message("user", text),), seeds=seeds, max_tokens=200, **settings)
    return [response.text for response in asyncio.run(generator.generate([request]))[0]]


def test_scripted_replies_answer_prompts_that_hold_their_text(tmp_path):
    path = tmp_path / "replies.jsonl"
    path.write_text(json.dumps({"when": "rain", "reply": ["wet", "damp"]}) + "\n")
    generator = FakeGenerator(FakeBackendConfig(replies=str(path)))
    assert ask(generator, "about rain", seeds=(0, 1, 2)) == ["wet", "damp", "wet"]
    assert ask(generator, "about snow") == ask(generator, "about snow") != ask(generator, "about snow", seeds=(3, 4))


@pytest.mark.parametrize("content", ["{", '{"when": "x"}', "[]"])
def test_a_broken_script_is_named(tmp_path, content):
    path = tmp_path / "replies.jsonl"
    path.write_text(content)
    with pytest.raises(DataError, match=r"replies.jsonl: not a file of rows"):
        FakeGenerator(FakeBackendConfig(replies=str(path)))


def test_replies_have_the_form_the_request_expects():
    generator = FakeGenerator(FakeBackendConfig())
    for tag in ("refine", "skeleton"):
        replies = ask(generator, "a longer prompt", stop=(f"</{tag}>",))
        assert all(f"<{tag}>" in text and f"</{tag}>" not in text for text in replies)
    replies = ask(generator, "a longer prompt", seeds=tuple(range(40)))
    assert 20 < sum(text.startswith("<think>\n") for text in replies) < 40


def test_a_score_has_an_objective_only_where_one_is_asked_for_and_it_changes_no_nll():
    ids = tuple(b"user: rain. the rain fell")
    requests = [
        ScoreRequest(ids, 12, len(ids), *how) for how in [(), (3, None), (0, 2.0), (3, 1.5), (0, None, "mean_prob")]
    ]
    scores = [scored.score for scored in asyncio.run(FakeScorer(FakeBackendConfig()).score(requests))]
    assert len({score.nll for score in scores}) == len({score.tokens for score in scores}) == 1
    assert [score.objective is None for score in scores] == [True, False, False, False, False]
    assert scores[3].objective < scores[2].objective < scores[0].nll
    assert scores[4].objective == pytest.approx(1 - math.exp(-scores[0].nll))


def test_a_server_scores_only_with_its_models_tokenizer():
    with pytest.raises(ModelError, match="scoring on a server needs its model's tokenizer: scorer.tokenizer="):
        build_scorer(OpenAIBackendConfig(model_name="m"))


def test_a_server_that_needs_a_key_asks_for_the_variable(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="needs a key in the environment variable OPENAI_API_KEY"):
        build_generator(OpenAIBackendConfig(model_name="m"))


def test_engines_are_named_in_results_by_their_model():
    assert describe(FakeBackendConfig())["model"] == "fake"
    assert describe(OpenAIBackendConfig(model_name="gpt"))["model"] == "gpt"
    found = describe(HFBackendConfig(model=ModelConfig(path="a/b", revision="r", dtype="float32")))
    assert found == {"model": "a/b", "revision": "r", "dtype": "float32"}
