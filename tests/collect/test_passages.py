"""reer-collect from works to pairs: everything is written or set aside by name, and a kill repeats no call."""

import json
import sys

import pytest

from collect.ask import asking
from collect.ask.works import REFUSALS
from collect.run import main
from reer.backend.fake import FakeGenerator
from reer.files.pairs import read_pairs

ENGINES = ("backend@generator=fake", "backend@scorer=fake", "source=texts", "source.min_words=30")


def collect(monkeypatch, tmp_path, run, *overrides):
    arguments = [f"source.path={tmp_path}/works", f"run_dir={tmp_path}/{run}", *ENGINES, *overrides]
    monkeypatch.setattr(sys, "argv", ["reer-collect", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    return stop.value.code


@pytest.fixture
def works(tmp_path):
    (tmp_path / "works").mkdir()
    for book in range(3):
        chapters = (
            f"Chapter {n}\n\n" + " ".join(f"The b{book}c{n} lamp{n}x{i} went out by port{book}x{i}." for i in range(9))
            for n in range(1, 7)
        )
        (tmp_path / "works" / f"b{book}.txt").write_text("\n\n".join(chapters) + "\n\nChapter 7\n\nToo short.\n")
    return tmp_path


def files(tmp_path, run):
    return {name: (tmp_path / run / f"{name}.jsonl").read_bytes() for name in ("pairs", "held_out", "rejected")}


def test_passages_become_pairs_and_every_refused_query_is_kept_with_its_text(works, monkeypatch, capsys):
    assert collect(monkeypatch, works, "a", "sample.held_out=0") == 0
    summary = json.loads((works / "a" / "summary.json").read_text())
    rejected = [json.loads(line) for line in (works / "a" / "rejected.jsonl").read_text().splitlines()]
    assert summary["rejected"]["short_passage"] == 3
    refused = [row for row in rejected if row["reason"] in REFUSALS]
    assert refused
    assert all(row["row"]["query"] and row["row"]["answer"] for row in refused)
    queries = summary["queries"]
    assert queries["drawn"] == len(refused) + summary["pairs"]["written"]
    assert (queries["passages"], queries["answered"]) == (18, summary["pairs"]["written"])
    assert summary["usage"]["scored_tokens"] > 0
    assert len(read_pairs(works / "a" / "pairs.jsonl").examples) == summary["pairs"]["written"]
    assert f"{queries['answered']} of them got a query" in capsys.readouterr().out


def test_a_query_under_which_the_passage_is_not_likelier_is_set_aside_with_the_other(works, monkeypatch):
    monkeypatch.setattr("collect.ask.works.is_own", lambda weighed: False)
    assert collect(monkeypatch, works, "a") == 1
    rows = [json.loads(line) for line in (works / "a" / "rejected.jsonl").read_text().splitlines()]
    weighed = [row["why"] for row in rows if row["reason"] == "not_its_own"]
    assert weighed
    assert all(why["other"] and why["nll"] > 0 and why["nll_other"] > 0 for why in weighed)


def test_after_a_kill_the_same_bytes_come_out_and_no_recorded_call_is_repeated(works, monkeypatch):
    calls = []
    generate = FakeGenerator.generate

    async def counted(self, requests):
        if len(calls) == 21:
            raise KeyboardInterrupt
        calls.append(requests)
        return await generate(self, requests)

    assert collect(monkeypatch, works, "whole") == 0
    monkeypatch.setattr(FakeGenerator, "generate", counted)
    monkeypatch.setattr("os._exit", sys.exit)
    assert collect(monkeypatch, works, "killed", "executor.concurrency=1") == 130
    assert not (works / "killed" / "pairs.jsonl").exists()
    before = len(calls)
    calls.append("past the kill")
    assert collect(monkeypatch, works, "killed", "executor.concurrency=1") == 0
    assert files(works, "killed") == files(works, "whole")
    total = json.loads((works / "killed" / "summary.json").read_text())["usage"]
    whole = json.loads((works / "whole" / "summary.json").read_text())["usage"]
    assert total == whole
    generated = whole["calls"] - 2 * len(_taken(works))
    assert len(calls) - 1 - generated in (0, 1)  # the draw whose judge was not heard is made again
    assert before < generated


def _taken(tmp_path):
    rows = [json.loads(line) for line in (tmp_path / "whole" / "rejected.jsonl").read_text().splitlines()]
    kept = (tmp_path / "whole" / "pairs.jsonl").read_text() + (tmp_path / "whole" / "held_out.jsonl").read_text()
    return kept.splitlines() + [row for row in rows if row["reason"] == "not_its_own"]


def test_a_dry_run_counts_and_asks_nothing(works, monkeypatch, capsys):
    monkeypatch.setattr(asking.Asker, "__init__", lambda *_: pytest.fail("was asked"))
    assert collect(monkeypatch, works, "dry", "dry_run=true") == 0
    assert "18 passages of 21 have a right length" in capsys.readouterr().out
    assert not (works / "dry").exists()


def test_rules_give_domains_and_a_mixture_takes_its_shares(works, monkeypatch):
    options = ["tag.by=rules", "sample.held_out=0", "sample.size=5", "ask.min_fit=null", "ask.likelihood=false"]
    assert collect(monkeypatch, works, "mixed", *options) == 0
    summary = json.loads((works / "mixed" / "summary.json").read_text())
    assert summary["pairs"]["written"] == 5
    assert summary["rejected"]["sampled_out"] == 13


def test_a_mixture_of_what_is_not_there_is_one_sentence(works, monkeypatch, capsys):
    options = ["sample=paper", "tag.by=rules", "ask.min_fit=null", "ask.likelihood=false", "sample.held_out=0"]
    assert collect(monkeypatch, works, "paper", *options) == 1
    assert "and none passed" in capsys.readouterr().err
