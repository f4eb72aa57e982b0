"""The command line: a value is what was typed, and what Hydra's grammar means stays what it means."""

import json
import random
import re
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from hydra.core.override_parser.overrides_parser import OverridesParser

from reer.config import EvaluationConfig, SynthesizeConfig, load, register
from reer.errors import ConfigError
from reer.run.launch import DONE, MISTAKE
from reer.run.overrides import as_typed
from reer.synthesize import main

AS_TYPED = [
    "写作.jsonl", "my pairs (1).jsonl", "(1)", "~/x", "a=b.jsonl", "it's.jsonl", "x,y.jsonl", "[draft].jsonl", "[1]",
    "{x}.jsonl", "{a:1}", "#1;!&.jsonl", 'say "hi".jsonl', "'", '"', "'a'b", "（一）《x》，；！.jsonl", "x.jsonl ",
    " x.jsonl", "C:\\dir", "C:\\dir\\", "1.10", "1e3", "12e4567", "2024_11", "007", "+1", ".5", "1_000",
    "on", "true", "nan", "inf", "", "str(1.10)", "choice(a,b)", "range(1,3)", "a\tb", "データ　1.jsonl", "🙂.jsonl",
    "http://127.0.0.1:8000/v1?a=b&c=d", "a:b", "data/*.jsonl", "$x", "100%", "x@y", "-", "a`b", "<a>|b",
]  # fmt: skip


def value_of(*arguments: str, key: str = "data.path") -> object:
    """What Hydra makes of the word about a key."""
    words = [word for word in as_typed(list(arguments)).arguments if word.startswith(f"{key}=")]
    return OverridesParser.create().parse_override(words[0]).value()


@pytest.mark.parametrize("text", AS_TYPED)
@pytest.mark.parametrize("key", ["data.path", "evaluate.label", "judge.judges.gpt.backend.api_key_env"])
def test_a_text_key_gets_the_text_that_was_typed(key: str, text: str) -> None:
    assert value_of(f"{key}={text}", key=key) == text
    assert value_of(f"++{key}={text}", key=f"++{key}") == text


def test_any_text_at_all_arrives() -> None:
    """Made of what the grammar cares about. Quotes around all of it, and backslash escapes, keep Hydra's meaning."""
    draw = random.Random(0)
    for _ in range(400):
        text = "".join(draw.choices("a1.e'\"()[]{}=,:#;!~ 写，&|", k=draw.randint(1, 9)))
        if not re.fullmatch(r"\s*(['\"]).*\1\s*", text):
            assert value_of(f"data.path={text}") == text


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("null", None), ("'null'", "null"), ("'a b'", "a b"), ('"1.10"', "1.10"), ("a\\=b", "a=b"), ("a\\,b", "a,b"),
        ("${name}.jsonl", "${name}.jsonl"), ("写${name}", "写${name}"),
    ],
)  # fmt: skip
def test_null_quotes_escapes_and_interpolations_keep_their_meaning(typed: str, meant: str | None) -> None:
    assert value_of(f"data.path={typed}") == meant


def test_null_is_a_name_where_nothing_else_could_be_meant() -> None:
    assert value_of("name=null", key="name") == "null"
    assert value_of("model.revision=null", key="model.revision") is None


@pytest.mark.parametrize(
    "word",
    [
        "search.max_steps=3", "search.edits=[delete,merge]", "trainer.args.learning_rate=1e-5", "steps=[judge]",
        "+trainer.args.x={a:1,b:[c]}", "search=forward", "experiment=null", "~experiment", "search.patience=null",
        "hydra.mode=RUN", "backend@generator=fake", "search.edits=[]", "seed=1,2", "model.path=Qwen/Qwen3-8B",
    ],
)  # fmt: skip
def test_what_hydra_reads_for_other_keys_is_left_alone(word: str) -> None:
    assert as_typed([word]).arguments == [word]


def test_what_hydra_cannot_read_for_other_keys_is_a_text() -> None:
    assert value_of("+trainer.args.run_name=写 (1)", key="+trainer.args.run_name") == "写 (1)"
    assert value_of("steps=[respond,写 (1)]", key="steps") == ["respond", "写 (1)"]
    assert value_of("steps=[respond, 写作]", key="steps") == ["respond", "写作"]
    assert value_of("experiment=1.10", key="experiment") == "1.10"
    assert value_of("backend@generator=我的", key="backend@generator") == "我的"


@pytest.mark.parametrize(
    ("typed", "values"),
    [
        ("a.jsonl,写.jsonl", ["a.jsonl", "写.jsonl"]),
        ("1.10, 1.20", ["1.10", "1.20"]),
        ("a(1,2).jsonl,b", ["a(1,2).jsonl", "b"]),
        ("it's,b", ["it's", "b"]),
        ("'x,y',z", ["x,y", "z"]),
        ("choice(1e3,写)", ["1e3", "写"]),
        ("a),b", ["a)", "b"]),
    ],
)
def test_with_m_commas_separate_the_values_of_a_sweep(typed: str, values: list[str]) -> None:
    line = as_typed(["-m", f"name={typed}", "data.limit=3"])
    override = OverridesParser.create().parse_override(line.arguments[0])
    again = [OverridesParser.create().parse_override(f"name={v}").value() for v in override.sweep_string_iterator()]
    assert again == values
    assert line.fixed == {"data.limit"}


def test_overrides_may_stand_on_both_sides_of_an_option() -> None:
    line = as_typed(["name=mine", "--config-dir", "a=b", "-m", "seed=1,2", "data.path=写"])
    assert line.arguments == ["name=mine", "seed=1,2", "data.path='写'", "--config-dir", "a=b", "-m"]


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("a.jsonl", "'a.jsonl' is not of the form key=value (a value with blanks goes into quotes: 'key=a b')"),
        ("数据=x", "unknown key 数据"),
        ("data.path =x", "unknown key data.path "),
        ("data.path=a${b", "data.path=a${b: '${' begins an interpolation without an end; write \\${ for itself"),
        ("data.path=\udcff.jsonl", "data.path=\\udcff.jsonl: its bytes are not UTF-8; rename it"),
    ],
)  # fmt: skip
def test_a_word_that_can_mean_nothing_is_one_sentence(word: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as refused:
        as_typed([word])
    assert str(refused.value) == sentence


def test_the_shell_completes_behind_words_that_hydra_cannot_read(command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMP_LINE", "reer-synthesize data.path=写作.jsonl name=1.10 search=b")
    code, said, _ = command(main, "-sc", "query=bash")
    assert (code, said.split()) == (DONE, ["search=backward", "search=best_of_n", "search=blind"])


def test_home_folders_are_expanded_in_paths_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    register()
    words = ["data.path=~/my pairs.jsonl", "model.path=~/m", "name=~a", "layout.instruction=~nobody-here/x"]
    words += ["backend@judge.backend=fake", "judge.backend.replies=~/r.jsonl", "answers=~/a.jsonl"]
    with initialize_config_module("reer.conf", version_base="1.3"):
        search = load(compose("synthesize", overrides=as_typed(words).arguments), SynthesizeConfig)
        judged = load(compose("evaluate", overrides=as_typed(words).arguments), EvaluationConfig)
    assert (search.data.path, search.name) == ("/home/me/my pairs.jsonl", "~a")
    assert search.generator.model.path == "/home/me/m"  # type: ignore[attr-defined]
    assert search.layout.instruction == "~nobody-here/x"
    assert judged.judge.backend.replies == "/home/me/r.jsonl"  # type: ignore[attr-defined]
    assert judged.answers == "/home/me/a.jsonl"


@pytest.mark.parametrize("file", ["写作.jsonl", "my pairs (1).jsonl", "it's, a=b.jsonl", "[draft] {x}.jsonl"])
def test_a_file_of_any_name_is_searched_into_a_folder_of_any_name(command, tmp_path: Path, file: str) -> None:
    pair = {"id": "a", "query": "Write of rain.", "answer": "Rain fell on the roof all night. Nobody slept."}
    (tmp_path / file).write_text(json.dumps(pair), encoding="utf-8")
    code, _, said = command(main, "experiment=fake", "data=files", f"data.path={file}", "name=1.10")
    assert code == DONE, said
    assert (tmp_path / "runs" / "1.10" / "synthesize" / "trajectories.jsonl").exists()


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("", "name=: a folder's name is missing in it; names inside runs/ look like fables or fables/first"),
        ("..", "name=..: '..' is no folder's name"),
        ("a/../../b", "'..' is no folder's name"),
        ("a//b", "a folder's name is missing"),
        ("/tmp/x", "a folder's name is missing"),
        ("a/.", "'.' is no folder's name"),
        ("a\nb", "a folder's name holds no line break"),
        ("写" * 86, "a folder's name has 255 bytes at most, not 258"),
    ],
)
def test_a_name_that_makes_no_folder_of_its_own_in_runs_is_one_sentence(
    command, tmp_path: Path, name: str, sentence: str
) -> None:
    code, _, said = command(main, "experiment=fake", "-m", f"name={name}")
    assert code == MISTAKE
    assert said.startswith("reer-synthesize: name=")
    assert sentence in said
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["fables/first: 写 作", "null", "x" * 255])
def test_other_names_are_folders(command, tmp_path: Path, name: str) -> None:
    assert command(main, "experiment=fake", "data.limit=1", "search.max_steps=1", f"name={name}")[0] == DONE
    assert (tmp_path / "runs" / name / "synthesize" / "summary.json").exists()


@pytest.mark.parametrize("written", ["1.10", "1e3", "12e4567", "2024_11", "007", "on"])
def test_a_number_for_a_text_in_a_file_is_refused_by_file_and_key(command, tmp_path: Path, written: str) -> None:
    folder = tmp_path / "mine" / "experiment"
    folder.mkdir(parents=True)
    (folder / "a.yaml").write_text(f"# @package _global_\nseed: 1_0\nname: {written}\n")
    (folder / "b.yaml").write_text(f"# @package _global_\nname: '{written}'\n")
    options = ["--config-dir", "mine", "data.limit=1", "dry_run=true"]
    code, _, said = command(main, *options, "experiment=a")
    assert code == MISTAKE
    assert f"{folder}/a.yaml: name: {written} is no text to YAML and would become" in said
    assert command(main, *options, "experiment=b")[0] == DONE
