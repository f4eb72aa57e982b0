"""A generator names categories over HTTP; what it says that is no name is counted, and guessed at by nobody."""

import json
import sys

import pytest
from chat_server import completion, running, says

from collect.run import main
from collect.tag.model import named_in

REPLIES = {
    "rain": "artistic/poetry",
    "bank": "**Finance & Business**, since it is about money.",
    "court": "Category: Law.",
    "goal": "Sports",
    "soup": "another kind of writing",
}


@pytest.mark.parametrize(
    ("reply", "name"),
    [
        ("artistic/poetry", "artistic/poetry"),
        ("artistic/poetry: poems, ballads, prose poems", "artistic/poetry"),
        ("**Finance_Business**, not law", "finance_business"),
        ("Category: Science & Engineering.\nIt explains gas.", "science_engineering"),
        ("类别：politics。", "politics"),
        ("Other", "other"),
        ("another kind", ""),
        ("other kinds of text", ""),
        ("lawn care", ""),
        ("Perhaps law, perhaps politics", ""),
        ("geopolitics", ""),
        ("I do not know.", ""),
        ("", ""),
    ],
)
def test_a_reply_counts_only_where_it_is_a_name(reply, name):
    assert named_in(reply) == name


def collect(monkeypatch, server, tmp_path, *overrides):
    arguments = [
        f"source.path={tmp_path}/pairs.jsonl", f"run_dir={tmp_path}/run", "sample.held_out=0", "tag.by=generator",
        "backend@generator=openai", f"generator.base_url={server.url}", "generator.model_name=m", *overrides,
    ]  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["reer-collect", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    return stop.value.code


def named(body):
    shown = body["messages"][-1]["content"]
    return completion(says(next((said for word, said in REPLIES.items() if f"of {word} " in shown), "?")))


def test_domains_of_a_server_are_written_and_what_names_none_is_counted(monkeypatch, tmp_path, capsys):
    rows = [
        {"id": word, "query": f"Write of {word} for me.", "answer": " ".join(f"{word}{n}" for n in range(60))}
        for word in REPLIES
    ]
    rows[3]["domain"] = "football"
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with running() as server:
        server.instead = named
        assert collect(monkeypatch, server, tmp_path) == 0
        asked = len(server.drawn)
        assert collect(monkeypatch, server, tmp_path) == 0  # every reply is in the ledger
        assert len(server.drawn) == asked
    found = {row["id"]: row for row in map(json.loads, (tmp_path / "run" / "pairs.jsonl").read_text().splitlines())}
    assert {name: row["domain"] for name, row in found.items()} == {
        "rain": "artistic/poetry", "bank": "finance_business", "court": "law", "goal": "football", "soup": "",
    }  # fmt: skip
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["untagged"] == 2
    assert summary["unknown_categories"] == {"Sports": 1, "another kind of writing": 1}
    assert "rows keep the domain they brought" in capsys.readouterr().out
