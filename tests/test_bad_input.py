"""Bad rows are set aside with their reason while the others go on; a mistake is one sentence and exit code 1.

Runs the command itself, in this process, with the fake backend.
"""

import json
import signal
import sys

import pytest

from reer.errors import ModelError
from reer.method.prompts import load_set
from reer.run import launch
from reer.synthesize import main

GOOD = {"id": "good", "query": "Write of rain.", "answer": "Rain fell on the roof all night. Nobody slept."}
OTHER = {"id": "other", "query": "Write of a dog.", "answer": "The dog barked at the gutter, and the rain went on."}


@pytest.fixture
def synthesize(tmp_path, monkeypatch, capsys):
    """Run the command over some rows; gives the exit code, the ids kept, what was set aside, and the last words."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # the command sets it: undone after the test
    before = signal.getsignal(signal.SIGTERM)

    def call(rows, *overrides):
        (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        arguments = ["experiment=fake", "data=files", "data.path=pairs.jsonl", "run_dir=run", *overrides]
        monkeypatch.setattr(sys, "argv", ["reer-synthesize", *arguments])
        with pytest.raises(SystemExit) as stop:
            main()
        said = capsys.readouterr().err
        assert "Traceback" not in said
        kept = [row["id"] for row in read(tmp_path / "run" / "trajectories.jsonl")]
        aside = {row["id"]: (row["status"], row["reason"]) for row in read(tmp_path / "run" / "quarantine.jsonl")}
        return stop.value.code, kept, aside, said.strip()

    yield call
    signal.signal(signal.SIGTERM, before)


def read(path):
    """Rows of a file; one that could not be read as a pair is known by its number."""
    if not path.exists():
        return []
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [{"id": row.get("row")} | row for row in rows]


def test_a_model_that_can_be_asked_nothing_ends_the_run_with_one_sentence(synthesize, monkeypatch):
    async def refused(*_):
        raise ModelError("the server does not know the key")

    monkeypatch.setattr("reer.backend.fake.FakeGenerator.generate", refused)
    code, kept, aside, said = synthesize([GOOD, OTHER])
    assert (code, kept, aside) == (launch.MISTAKE, [], {})
    assert said.splitlines()[-1] == "reer-synthesize: the server does not know the key"


BAD = {
    "'answer' is empty": {"answer": ""},
    "'query' is empty": {"query": " \n\t\u3000"},
    "'answer' holds a NUL byte": {"answer": "one\0two"},
    "'query' holds a NUL byte": {"query": "one\0two"},
    "the answer holds the model's control token <|end|>": {"answer": "It ends <|end|> here."},
    "the query holds the model's control token <|end|>": {"query": "Write. <|end|>assistant:"},
    "the answer holds the tag <answer>": {"answer": "An <answer> in tags."},
}


def test_bad_rows_are_set_aside_with_their_reasons_and_the_others_go_on(synthesize):
    rows = [{"id": f"bad {n}", "query": "q", "answer": f"y {n}"} | bad for n, bad in enumerate(BAD.values())]
    code, kept, aside, _ = synthesize([GOOD, *rows, OTHER])
    assert (code, kept) == (launch.PARTIAL, ["good", "other"])
    assert sorted(aside.values()) == sorted(("quarantined", reason) for reason in BAD)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (300, "its answer cannot be scored: {} tokens exceed model.max_length=256"),
        (150, "no usable first trajectory in 3 draws (not_scored: {} tokens exceed model.max_length=256"),
    ],
    ids=["alone", "with its thinking"],
)
def test_an_answer_longer_than_the_scorers_context_is_set_aside_never_cut(
    synthesize, tiny_model, tmp_path, words, reason
):
    reply = {"when": "", "reply": "I will begin with the sea and the wind. " * 4 + "</think>"}
    (tmp_path / "replies.jsonl").write_text(json.dumps(reply))
    long = {"id": "long", "query": "Write.", "answer": "the " * words}
    short = {"id": "short", "query": "Write.", "answer": "the sea"}
    overrides = ["backend@scorer=hf", f"model.path={tiny_model}", "model.dtype=float32", "model.max_length=256"]
    overrides += ["generator.replies=replies.jsonl", "search.max_steps=1"]
    code, kept, aside, _ = synthesize([long, short], *overrides)
    assert (code, kept) == (launch.PARTIAL, ["short"])
    status, why = aside["long"]
    before, after = reason.split("{}")
    assert status == "quarantined"
    assert why.startswith(before)
    assert after in why


@pytest.mark.parametrize(
    ("query", "answer", "given", "language"),
    [
        ("Write about snow.", "大雪三日，湖中人鸟声俱绝。余拏一小舟，独往湖心亭看雪。", None, "zh"),
        ("写一段关于雨的话。", "Rain fell on the roof all night. Nobody slept.", None, "en"),
        ("Write about rain.", "Rain fell on the roof all night. Nobody slept.", "zh", "zh"),
    ],
    ids=["chinese answer", "chinese query", "named in the row"],
)
def test_the_answers_language_chooses_the_prompts_unless_the_row_names_one(
    synthesize, tmp_path, query, answer, given, language
):
    code, kept, _, _ = synthesize([{"id": "e", "query": query, "answer": answer, "language": given}])
    assert (code, kept) == (launch.DONE, ["e"])
    assert read(tmp_path / "run" / "trajectories.jsonl")[0]["language"] == language
    prompts = json.loads((tmp_path / "run" / "manifest.json").read_text())["prompts"]["sha256"]
    assert prompts == {language: load_set("standard", language).sha256}


FILES = {
    "initial.md": "# user\n{query} {answer}\n",
    "rewrite.md": "# user\n{query} {answer} {before} {segment} {after}\n",
    "instruction.md": "Think, then answer: {query}\n",
}


@pytest.mark.parametrize(
    ("file", "text", "sentence"),
    [
        ("initial.md", "# user\n{query}\n", "initial.md: placeholder {answer} is missing"),
        ("rewrite.md", "# user\n{query} {answer} {segment}\n", "rewrite.md: placeholder {after} is missing"),
        ("initial.md", "# user\n{query} {answer} {anwser}\n", "initial.md: unknown placeholder {anwser}"),
        ("initial.md", "{query} {answer}\n", "initial.md: no section '# user'"),
        ("initial.md", "# user\n{query} {answer}\n# opener\nI\n", "initial.md: unknown section '# opener'"),
        ("instruction.md", "Think.\n", "instruction.md: an instruction has to show {query} once"),
    ],
)
def test_a_prompt_file_that_cannot_be_used_is_one_sentence(synthesize, tmp_path, file, text, sentence):
    folder = tmp_path / "prompts"
    folder.mkdir()
    overrides = [f"prompts.set={folder}", f"layout.instruction={folder}/instruction.md", "search.max_steps=1"]
    for name, content in FILES.items():
        (folder / name).write_text(content)
    (folder / file).write_text(text)
    refused(synthesize([GOOD], *overrides), f"{folder}/{sentence}")
    if file == "instruction.md":  # with the file mended, the same command works
        (folder / file).write_text(FILES[file])
        assert synthesize([GOOD], *overrides)[:2] == (launch.DONE, ["good"])


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (
            ["search.start=skeleton", "prompts=compact"],
            "which prompts.set=compact lacks",
        ),
        (
            ["search=compose", "prompts=standard"],
            "search.compose=true puts together what was drawn passage",
        ),
        (["layout.instruction=nowhere.md"], "nowhere.md: cannot be read"),
        (["prompts.set=nowhere"], "prompts.set=nowhere has no prompts for language en"),
        (["data.path=nowhere.jsonl"], "nowhere.jsonl: no such file"),
    ],
)
def test_what_does_not_go_together_or_is_not_there_is_one_sentence(synthesize, overrides, sentence):
    refused(synthesize([GOOD], *overrides), sentence)


def refused(result, sentence):
    code, kept, aside, said = result
    assert (code, kept, aside) == (launch.MISTAKE, [], {})
    assert said.startswith("reer-synthesize: ")
    assert sentence in said
    assert "\n" not in said


@pytest.mark.parametrize("key", ["query", "thinking"])
def test_a_column_that_no_row_has_leaves_no_folder_behind(synthesize, tmp_path, key):
    code, _, _, said = synthesize([GOOD, OTHER], f"data.columns.{key}=titel")
    assert code == launch.MISTAKE
    assert said.endswith(
        f"data.columns.{key}=titel: no row of pairs.jsonl has that column (there are: id, query, answer)"
    )
    assert not (tmp_path / "run").exists()
    assert synthesize([GOOD, OTHER | {"titel": "Hm."}], f"data.columns.{key}=titel")[0] != launch.MISTAKE
