"""Prompt files are strict: a placeholder that is missing or unknown is one sentence."""

from importlib import resources
from pathlib import Path

import pytest

from reer.errors import PromptError
from reer.prompts import PLACEHOLDERS, load_set, parse

SETS = sorted(
    (folder.parent.name, folder.name)
    for folder in Path(str(resources.files("reer"))).glob("prompts/*/*")
    if folder.is_dir()
)


@pytest.mark.parametrize(("language", "name"), SETS)
def test_every_shipped_set_loads(language, name):
    prompts = load_set(name, language)
    values = {key: f"<<{key}>>" for key in (*PLACEHOLDERS["rewrite"], "part")}
    for prompt in (prompts.initial, prompts.rewrite):
        text = prompt.render(**values)
        assert "<<answer>>" in text or "<<part>>" in text


def test_braces_in_the_values_stay_as_they_are():
    prompt = parse("# user\n{query} {answer}", PLACEHOLDERS["initial"], Path("p.md"))
    assert prompt.render(query="{answer} {x}", answer="{}") == "{answer} {x} {}"


def test_sections_are_read():
    prompt = parse(
        "<!-- why -->\n# user\n{query}{answer}\n# openers\nOne\nTwo\n# reply\nthink\n",
        PLACEHOLDERS["initial"],
        Path("p"),
    )
    assert (prompt.user, prompt.openers, prompt.reply_tag) == ("{query}{answer}", ("One", "Two"), "think")
    assert [prompt.opener(seed) for seed in (0, 1, 2)] == ["One", "Two", "One"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# user\n{query}", r"initial.md: placeholder \{answer\} is missing"),
        ("# user\n{query} {answer} {anwser}", r"initial.md: unknown placeholder \{anwser\}"),
        ("# openers\nOne", "initial.md: no section '# user'"),
        ("# user\n{part}", r"initial.md: \{part\} needs a section '# openers'"),
        ("# user\n{query} {answer}\n# opener\nOne", "initial.md: unknown section '# opener'"),
    ],
)
def test_a_broken_file_is_one_sentence(text, message):
    with pytest.raises(PromptError, match=message):
        parse(text, PLACEHOLDERS["initial"], Path("initial.md"))


def test_a_missing_set_or_file_is_named(tmp_path):
    with pytest.raises(PromptError, match="prompts.set=nowhere has no folder"):
        load_set("nowhere", "en")
    with pytest.raises(PromptError, match="initial.md: cannot be read"):
        load_set(str(tmp_path), "en")
