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
from reer.text import words
from reer.types import Example

LIMITS = EchoConfig()
SETS = [(language, name) for language in ("en", "zh") for name in ("standard", "plain", "brief", "compact")]
HONEST = {
    language: (Path(__file__).parent / f"honest_{language}.txt").read_text(encoding="utf-8").splitlines()
    for language in ("en", "zh")
}
"""Twenty sentences each that a writer might think, in the ordinary words that prompts use too."""

TO_OTHERS = [
    "She hopes that this help will come.", "Of course, she must not know yet.", "Mara is happy to help the old baker.",
    "Sure, the goat could speak, but why?", "He writes “let me know if you want me”, and she does not.",
    "Let me know if he comes, says the boy.", "Here is the summary of her life.", "First rain.\nOf course, no sun.",
    "他希望雪停。", "当然，这里还要写雨。", "好的，就这样开头。", "我希望这个结尾能让读者满意。",
    "她希望得到邻居的帮助。", "如果老人告诉我他的名字，故事就完了。",
    "The story opens as an AI wakes in the empty lab.", "As an AI it does not feel cold, so others see the frost.",
    "Sure, I can let the keeper speak first.", "Of course I will need the storm later.", "当然可以先写雨。",
    "Here's a new part of town she has never seen.", "Here is the improved harbour: cranes and no gulls.",
    "她作为一个AI，学会了害怕。",
]  # fmt: skip
"""In the words of such talk."""


def prompts_of(language, name):
    prompts = load_set(name, language, "direct" if name in ("brief", "compact") else "skeleton")
    found = (prompts.initial, prompts.blind, prompts.rewrite, prompts.skeleton, prompts.expand)
    return [prompt for prompt in found if prompt is not None]


def sentences(prompt):
    """Of the fixed text, what ends as one: the openers, which are given, do not."""
    found = (s.strip(" -\n") for piece in prompt.fixed for s in re.split(r"(?<=[.!?:;。！？：；])\s*", piece))
    return [s for s in found if len(words(s)) > 1 and s[-1] in ".!?:;。！？：；" and "<" not in s]


def refused(text, prompt):
    return echoes(measure(text, prompt.fixed, LIMITS.ngram), LIMITS)


@pytest.mark.parametrize(("language", "name"), SETS)
def test_no_planted_echo_is_accepted(language, name):
    """Every sentence of every prompt, twenty at least: alone, and between honest ones."""
    planted = [(s, prompt) for prompt in prompts_of(language, name) for s in sentences(prompt)]
    chance = random.Random(0)
    for sentence, prompt in planted + chance.choices(planted, k=max(0, 20 - len(planted))):
        before, after = chance.sample(HONEST[language], 2)
        assert refused(sentence, prompt), sentence
        assert refused(f"{before} {sentence} {after}", prompt), sentence


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
     "好的，下面是改写后的一段。", "As an AI, I would open with rain.", "Of course, I can rewrite that.",
     "I’d be happy to help with this plan.", "希望以上内容对你有所帮助。", "如有需要，请随时告诉我。",
     "Here is the improved version:", "Here's my updated plan.", "Sure, I'll rewrite it.",
     "As an AI language model I open with rain.",
     "作为AI语言模型，我先写雨。", "作为一个AI，我没有感情。", "当然可以！先写雨。"],
)  # fmt: skip
def test_talk_to_whoever_asked(text):
    assert talks_to_asker(text)


@pytest.mark.parametrize("text", [*HONEST["en"], *HONEST["zh"], *TO_OTHERS])
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
