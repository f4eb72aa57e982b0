"""The echo guard: sentences of the instruction are no thinking; thinking in the prompt's ordinary words is no echo."""

import asyncio
import json
import random
import re
from pathlib import Path

import pytest

from reer.backend.fake import FakeGenerator, FakeTokenizer
from reer.config import EchoConfig, FakeBackendConfig, SearchConfig
from reer.layout import Layout
from reer.method.guards.echo import Echo, echoes, measure, talks_to_asker
from reer.method.prompts import load_set
from reer.method.propose import Proposer
from reer.types import Example

LIMITS = EchoConfig()
SETS = [(language, name) for language in ("en", "zh") for name in ("standard", "plain", "brief", "compact")]
HONEST = {
    language: (Path(__file__).parent / f"honest_{language}.txt").read_text(encoding="utf-8").splitlines()
    for language in ("en", "zh")
}
"""Twenty sentences each that a writer might think, in the ordinary words that prompts use too."""


def prompts_of(language, name):
    prompts = load_set(name, language, "direct" if name in ("brief", "compact") else "skeleton")
    return [p for p in (prompts.initial, prompts.rewrite, prompts.skeleton, prompts.expand) if p is not None]


def sentences(prompt, language):
    """Of the fixed text, long enough to say something."""
    shortest = 25 if language == "en" else 10
    found = (s.strip(" -\n") for piece in prompt.fixed for s in re.split(r"(?<=[.!?:;。！？：；])\s*", piece))
    return [s for s in found if len(s) >= shortest and "<" not in s]


def refused(text, prompt):
    return echoes(measure(text, prompt.fixed, LIMITS.ngram), LIMITS)


@pytest.mark.parametrize(("language", "name"), SETS)
def test_none_of_twenty_planted_echoes_is_accepted(language, name):
    planted = [(s, prompt) for prompt in prompts_of(language, name) for s in sentences(prompt, language)]
    for sentence, prompt in random.Random(0).choices(planted, k=20):
        assert refused(sentence, prompt), sentence
        assert refused(f"{HONEST[language][0]} {sentence} {HONEST[language][1]}", prompt), sentence


@pytest.mark.parametrize(("language", "name"), SETS)
def test_nineteen_of_twenty_honest_sentences_pass_whatever_the_prompt(language, name):
    for prompt in prompts_of(language, name):
        assert sum(refused(sentence, prompt) for sentence in HONEST[language]) <= 1


def test_what_a_stronger_model_was_accepted_with_is_seen():
    said = "Let's see where the part explores, a doubt or a second thought is welcome, and be definite."
    assert refused(said, load_set("standard", "en").rewrite)
    assert refused("一段话，保留名字。", load_set("compact", "zh").rewrite)


def test_both_measures_by_hand():
    fixed = ("Keep the names and the order.", "Say who does what.")
    assert measure("keep the NAMES, and go home quickly now", fixed) == Echo(4, 3 / 7)
    assert measure("", fixed) == Echo(0, 0.0)
    # a run does not go on from one piece of fixed text into the next: a placeholder stood between them
    assert measure("and the order say who", fixed).longest_run == 3


@pytest.mark.parametrize(
    "text",
    ["I hope this helps!", "Sure, here is the rewritten part:", "Let me know if you want more.", "希望这对您有帮助。",
     "好的，下面是改写后的一段。", "As an AI, I would open with rain."],
)  # fmt: skip
def test_talk_to_whoever_asked(text):
    assert talks_to_asker(text)


@pytest.mark.parametrize("text", [*HONEST["en"], *HONEST["zh"], "She hopes that this help will come.", "他希望雪停。"])
def test_thinking_talks_to_nobody(text):
    assert not talks_to_asker(text)


@pytest.fixture
def drawn(tmp_path):
    """First draws of a generator that was told what to say."""

    def draw(*said, **settings):
        script = tmp_path / "script.jsonl"
        script.write_text(json.dumps({"when": "", "reply": [f" {text}</think>" for text in said]}), encoding="utf-8")
        generator = FakeGenerator(FakeBackendConfig(replies=str(script)))
        search = SearchConfig(first_samples=12, **settings)
        layout = Layout("think", FakeTokenizer())
        proposer = Proposer(generator, lambda language: load_set("standard", language), layout, search, 0)
        example = Example(id="a", query="Write about a well.", answer="The king drank and the city was glad.")
        return {p.text: p.rejected for p in asyncio.run(proposer.first(example, 0))[0]}

    return draw


def test_an_echo_is_rejected_by_name_and_an_honest_draw_is_not(drawn):
    echo, honest = "It ends settled and ready to write, without doubts.", "The well comes first, then the joke on him."
    found = {text.rpartition("? " if "? " in text else ". ")[2]: why for text, why in drawn(echo, honest).items()}
    assert set(drawn(echo).values()) == {"echo"}
    assert set(drawn(honest).values()) == {None}
    assert len(found) == 2


def test_the_opener_that_was_given_is_no_echo_and_the_guard_can_be_switched_off(drawn):
    echo = "It ends settled and ready to write, without doubts."
    assert set(drawn(echo, echo=EchoConfig(enabled=False)).values()) == {None}
