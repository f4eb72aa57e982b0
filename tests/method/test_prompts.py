"""Prompt files are strict: a placeholder that is missing or unknown is one sentence."""

from importlib import resources
from pathlib import Path

import pytest

from reer.errors import PromptError
from reer.layout import load_instruction
from reer.method.prompts import PLACEHOLDERS, SKELETON, load_set, parse

PACKAGED = Path(str(resources.files("reer"))) / "method" / "prompts"
INSTRUCTIONS = Path(str(resources.files("reer"))) / "layout" / "instructions"
SETS = sorted((folder.parent.name, folder.name) for folder in PACKAGED.glob("??/*") if folder.is_dir())
PLANNED = [(language, name) for language, name in SETS if (PACKAGED / language / name / "skeleton.md").exists()]
MINIMAL = {
    "initial": "# user\n{query} {answer}",
    "rewrite": "# user\n{query} {answer} {before} {segment} {after}",
    "skeleton": "# user\n{query} {answer}\n# reply\nskeleton",
    "expand": "# user\n{query} {skeleton}\n# reply\nthink",
}


@pytest.mark.parametrize(("language", "name"), SETS)
def test_every_shipped_set_loads(language, name):
    prompts = load_set(name, language)
    values = {key: f"<<{key}>>" for key in (*PLACEHOLDERS["rewrite"], "part")}
    for prompt in (prompts.initial, prompts.rewrite):
        text = prompt.render(**values)
        assert "<<answer>>" in text or "<<part>>" in text


@pytest.mark.parametrize(("language", "name"), PLANNED)
def test_every_shipped_set_for_skeletons_loads_and_the_thinking_is_written_without_the_answer(language, name):
    prompts = load_set(name, language, "skeleton")
    values = {key: f"<<{key}>>" for key in ("query", "answer", "skeleton")}
    plan, thinking = prompts.skeleton.render(**values), prompts.expand.render(**values)
    assert ("<<query>>" in plan, "<<answer>>" in plan) == (True, True)
    assert ("<<query>>" in thinking, "<<skeleton>>" in thinking, "<<answer>>" in thinking) == (True, True, False)
    assert (prompts.skeleton.reply_tag, prompts.expand.reply_tag) == ("skeleton", "think")
    assert "{" not in plan + thinking


def test_the_sets_for_skeletons_come_in_both_languages():
    assert {*PLANNED} == {(language, name) for language in ("en", "zh") for name in ("plain", "standard")}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_set_without_a_skeleton_is_refused_by_name_where_one_is_asked_for(language):
    assert load_set("compact", language).skeleton is None
    with pytest.raises(PromptError, match=r"needs skeleton.md and expand.md, which prompts.set=compact lacks"):
        load_set("compact", language, "skeleton")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_set_between_small_and_large_has_ten_thoughts_some_of_which_doubt(language):
    first, again = (load_set("brief", language).initial, load_set("brief", language).rewrite)
    assert len({*first.openers, *again.openers}) == 20
    markers = {"en": ("Maybe", "Hmm", "At first"), "zh": ("也许", "嗯", "起初")}[language]
    assert all(any(opener.startswith(marker) for opener in first.openers) for marker in markers)


def written(folder, **changes):
    for role, text in (MINIMAL | changes).items():
        (folder / f"{role}.md").write_text(text)
    return str(folder)


def test_the_files_of_skeletons_count_only_where_they_are_used(tmp_path):
    direct, planned = (load_set(written(tmp_path), "en", start).sha256 for start in ("direct", "skeleton"))
    changed = written(tmp_path, skeleton=MINIMAL["skeleton"].replace("{query}", "{query} please"))
    assert load_set(changed, "en").sha256 == direct
    assert load_set(changed, "en", "skeleton").sha256 not in (direct, planned)
    for role in SKELETON:
        (tmp_path / f"{role}.md").unlink()
    without = load_set(str(tmp_path), "en")
    assert (without.sha256, without.skeleton, without.expand) == (direct, None, None)


@pytest.mark.parametrize(
    ("role", "text", "message"),
    [
        ("skeleton", "# user\n{query}", r"skeleton.md: placeholder \{answer\} is missing"),
        ("expand", "# user\n{query} {skeleton} {answer}", r"expand.md: unknown placeholder \{answer\}"),
        ("expand", "# user\n{query}", r"expand.md: placeholder \{skeleton\} is missing"),
    ],
)
def test_a_broken_file_of_a_skeleton_is_named(tmp_path, role, text, message):
    folder = written(tmp_path, **{role: text})
    load_set(folder, "en")
    with pytest.raises(PromptError, match=message):
        load_set(folder, "en", "skeleton")


@pytest.mark.parametrize("role", SKELETON)
def test_a_plan_of_the_whole_answer_cannot_be_asked_passage_by_passage(tmp_path, role):
    folder = written(tmp_path, **{role: "# user\n{query} {part}\n# openers\nOne\nTwo"})
    with pytest.raises(PromptError, match=rf"{role}.md"):
        load_set(folder, "en", "skeleton")


@pytest.mark.parametrize(("language", "query"), [("en", "Write about {rain}."), ("zh", "写一写{雨}，用两句话。")])
def test_the_instruction_shipped_here_stands_around_the_query_in_its_language(language, query):
    [before, after] = (INSTRUCTIONS / f"{language}.md").read_text().split("-->\n")[1].strip().split("{query}")
    assert load_instruction("default")(query) == f"{before}{query}{after}"
    assert "<think>" in before


def test_an_instruction_of_ones_own_wraps_every_query_alike(tmp_path):
    path = tmp_path / "mine.md"
    path.write_text("<!-- {why} -->\nThink first.\n\n{query}\n")
    wrap = load_instruction(str(path))
    assert (wrap("{query}?"), wrap("写。")) == ("Think first.\n\n{query}?", "Think first.\n\n写。")


@pytest.mark.parametrize("text", ["Think.", "{query} {answer}", "{query} {query}", "{qeury}", ""])
def test_an_instruction_has_to_show_the_query_once_and_nothing_else(tmp_path, text):
    path = tmp_path / "mine.md"
    path.write_text(text)
    with pytest.raises(PromptError, match=r"mine.md: an instruction has to show \{query\} once and nothing else"):
        load_instruction(str(path))


def test_an_instruction_that_cannot_be_read_is_named(tmp_path):
    for path in (tmp_path / "nowhere.md", tmp_path):
        with pytest.raises(PromptError, match=f"{path.name}: cannot be read"):
            load_instruction(str(path))


def test_braces_in_the_values_stay_as_they_are():
    prompt = parse("# user\n{query} {answer}", "initial", Path("p.md"))
    assert prompt.render(query="{answer} {x}", answer="{}") == "{answer} {x} {}"


def test_sections_are_read():
    prompt = parse(
        "<!-- why -->\n# user\n{query}{answer}\n# openers\nOne\nTwo\n# reply\nthink\n",
        "initial",
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
        (
            "# user\n{part}\n# openers\nI will show\nMore? No, I will tell",
            "'More\\? No, I will tell' holds the end of one",
        ),
        ("# user\n{query} {answer}\n# opener\nOne", "initial.md: unknown section '# opener'"),
    ],
)
def test_a_broken_file_is_one_sentence(text, message):
    with pytest.raises(PromptError, match=message):
        parse(text, "initial", Path("initial.md"))


def test_a_missing_set_or_file_is_named(tmp_path):
    with pytest.raises(
        PromptError, match=r"prompts.set=nowhere has no prompts for language en: there is no folder .*en/nowhere"
    ):
        load_set("nowhere", "en")
    with pytest.raises(PromptError, match="initial.md: cannot be read"):
        load_set(str(tmp_path), "en")
