"""`audit=true` shows what training supervises, and touches nothing."""

import ast
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from reer.backend.models import load_tokenizer
from reer.config import SftConfig
from reer.errors import DataError
from reer.layout import Layout
from train.examples.audit import HEAD, TAIL, spans
from train.examples.data import prepare, to_rows
from train.sft import run

Make = Callable[..., SftConfig]


def audited(config: SftConfig, capsys: pytest.CaptureFixture[str]) -> list[str]:
    config.audit = True
    assert run(config) == 0
    return capsys.readouterr().out.splitlines()


def test_every_token_stands_there_with_its_part_and_whether_it_is_supervised(
    make_config: Make, trajectories: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = make_config()
    trajectories.write_text('{"id": "one", "query": "q", "thinking": "z z", "answer": "y!"}\n')
    layout = Layout("think", load_tokenizer(config.model))
    (row,) = to_rows(prepare(trajectories, layout, 512).examples, layout.tokenizer.end_of_turn)
    lines = audited(config, capsys)
    assert lines[0] == f"one: {len(row['input_ids'])} tokens, {sum(row['completion_mask'])} of them supervised"
    shown = [line.split(maxsplit=4) for line in lines[2 : lines.index("")]]
    assert [int(words[0]) for words in shown] == list(range(len(row["input_ids"])))
    assert [int(words[1]) for words in shown] == row["input_ids"]
    assert [words[3] for words in shown] == ["yes" if supervised else "no" for supervised in row["completion_mask"]]
    parts = {
        part: "".join(ast.literal_eval(w[4]) for w in shown if w[2] == part)
        for part in ("prompt", "thinking", "answer", "end")
    }
    assert parts == {
        "prompt": "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n",
        "thinking": "<think>\nz z\n</think>\n\n",
        "answer": "y!",
        "end": "<|im_end|>",
    }


def test_of_a_long_part_the_seams_are_shown(
    make_config: Make, trajectories: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = make_config()
    row = {"id": "long", "query": "q", "thinking": "z", "answer": "word " * 60}
    trajectories.write_text(json.dumps(row) + "\n")
    layout = Layout("think", load_tokenizer(config.model))
    begin, end = spans(prepare(trajectories, layout, 512).examples[0].encoded)["answer"]
    lines = [line for line in audited(config, capsys) if line[19:].startswith("answer")]
    assert len(lines) == HEAD + 1 + TAIL
    assert lines[HEAD].split() == ["...", "...", "answer", str(end - begin - HEAD - TAIL), "more"]
    assert int(lines[HEAD - 1].split()[0]) == begin + HEAD - 1
    assert int(lines[HEAD + 1].split()[0]) == end - TAIL


def test_the_totals_are_those_of_training(
    make_config: Make, trajectories: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with trajectories.open("a") as file:
        file.write("{\n")
    config = make_config(held_out=1)
    said = "\n".join(audited(config, capsys))
    assert not (tmp_path / "run").exists()
    config = make_config(held_out=1)
    run(config)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    share = summary["supervised_tokens"] / summary["tokens"]
    assert "  3  trajectories (final); 1 held out, 0 longer than 512 tokens, 1 broken" in said
    assert f"{summary['tokens']}  tokens, {share:.1%} of them supervised" in said
    capsys.readouterr()
    assert "\n".join(audited(config, capsys)) == said  # of a finished run, too


def test_answers_alone_have_no_thinking_part(make_config: Make, capsys: pytest.CaptureFixture[str]) -> None:
    config = make_config()
    config.data.variant = "answer_only"
    lines = audited(config, capsys)
    assert not [line for line in lines if " thinking  yes" in line]
    assert "thinking              0  tokens, supervised" in lines


def test_colours_are_for_terminals(
    make_config: Make, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = audited(make_config(), capsys)
    assert "\033" not in "".join(plain)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured = audited(make_config(), capsys)
    assert [line for line in coloured if line.startswith("\033[32m") and " yes " in line and line.endswith("\033[0m")]
    assert not [line for line in coloured if "\033[32m" in line and " no  " in line]
    monkeypatch.setenv("NO_COLOR", "1")
    assert audited(make_config(), capsys) == plain


def test_an_end_that_is_not_supervised_is_told(make_config: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_config()
    config.audit = True
    monkeypatch.setattr(load_tokenizer(config.model), "end_of_turn", 0)
    monkeypatch.setattr("reer.layout.Encoded.completion_mask", lambda encoded: [0] * len(encoded.ids))
    with pytest.raises(DataError, match="the end of its turn is not supervised"):
        run(config)
