"""The 25 names, which of them are the paper's, and how a mixture that knows only those counts the others."""

from importlib import resources

import yaml

from collect.tag.categories import CATEGORIES, OURS, PAPER, counted_as
from collect.tag.rules import by_rules
from reer.types import Example


def test_there_are_25_names_13_of_them_the_papers_and_half_artistic():
    assert (len(CATEGORIES), len(PAPER), len(OURS)) == (25, 13, 12)
    assert sum(name.startswith("artistic/") for name in CATEGORIES) == 12
    assert {whole for whole, _ in OURS.values()} <= PAPER.keys()


def test_the_papers_mixture_names_the_papers_categories_and_counts_ours_among_them():
    text = (resources.files("reer.conf") / "sample" / "paper.yaml").read_text(encoding="utf-8")
    mixture = yaml.safe_load(text)["mixture"]
    assert mixture.keys() == PAPER.keys()
    assert counted_as("artistic/poetry", mixture) == "artistic/creative"
    assert counted_as("law", mixture) == "law"
    assert counted_as("artistic/poetry", {"artistic/poetry": 1.0}) == "artistic/poetry"
    assert counted_as("artistic/poetry", {"law": 1.0}) == "artistic/poetry"


def test_rules_tell_domains_by_what_a_row_brings_and_by_key_words():
    def of(query, answer="Nothing.", domain=""):
        return by_rules(Example(id="a", query=query, answer=answer, domain=domain))

    assert of("Write a fable about a fox.") == "artistic/fable_myth"
    assert of("写一篇关于渔民的小说。") == "artistic/creative"
    assert of("Draft a contract clause for an attorney.") == "law"
    assert of("Anything at all.") == "other"
    assert of("Write a fable.", domain="memoir") == "artistic/life_writing"
    assert of("Write a fable.", domain="Finance Business") == "finance_business"
