"""A dry run's arithmetic: it grows with what it is asked to do, and says what it is."""

from dataclasses import replace

from hydra import compose, initialize_config_module

from reer.config import SynthesizeConfig, load, register
from reer.estimate import cost, estimate, tokens
from reer.pairs import read_pairs

EXAMPLE = read_pairs(None, 1).examples[0]


def config(*overrides):
    register()
    with initialize_config_module("reer.conf", version_base="1.3"):
        return load(compose("synthesize", overrides=["experiment=fake", *overrides]), SynthesizeConfig)


def test_tokens_count_words_and_characters():
    assert tokens("one two three four") == 5
    assert tokens("大雪三日") == 4


def test_more_samples_sweeps_and_removals_cost_more():
    base = config()
    for changes in ({"first_samples": 9}, {"candidates": 9}, {"order": "attribution"}):
        more = replace(base, search=replace(base.search, **changes))
        assert cost(EXAMPLE, more).scored_tokens > cost(EXAMPLE, base).scored_tokens
    assert cost(EXAMPLE, config("search=none")).generated_tokens < cost(EXAMPLE, base).generated_tokens


def test_the_text_says_that_it_is_an_estimate():
    said = estimate([EXAMPLE] * 3, config())
    assert said.startswith("3 examples, up to 10 steps of 4 rewrites")
    assert "nothing was run or written" in said
