"""The search on chat servers of every kind, as a user runs it: what the command says, keeps, and goes on with."""

import itertools
import json
import signal
import sys

import pytest
from chat_server import ODD, USABLE_OR_EMPTY, running, told

from reer.run import launch
from reer.synthesize import main

FAULTY = list({**ODD, **USABLE_OR_EMPTY}.values())


@pytest.fixture
def synthesize(tmp_path, monkeypatch, capsys):
    """Run the command on a server; gives the exit code, the summary, the manifest's generator, and what was said."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # the command sets it: undone after the test
    before, folder = signal.getsignal(signal.SIGTERM), tmp_path / "run"

    def call(server, *overrides):
        arguments = ["experiment=fake", "run_dir=run", "backend@generator=openai", "generator.model_name=m",
                     f"generator.base_url={server.url}", "generator.max_retries=0", "search.max_steps=3",
                     "search.candidates=2", *overrides]  # fmt: skip
        monkeypatch.setattr(sys, "argv", ["reer-synthesize", *arguments])
        with pytest.raises(SystemExit) as stop:
            main()
        said = capsys.readouterr().err
        assert "Traceback" not in said
        summary = read(folder / "summary.json")
        return stop.value.code, summary, read(folder / "manifest.json"), said

    yield call
    signal.signal(signal.SIGTERM, before)


def read(path):
    return json.loads(path.read_text()) if path.exists() else None


@pytest.mark.parametrize("kind", ["plain", "strict", "vague", "engine", "one_by_one", "beside"])
def test_every_kind_of_server_searches_every_pair(synthesize, kind):
    with running(kind) as server:
        code, summary, manifest, said = synthesize(server, "data.limit=2")
    assert (code, summary["examples"]["done"]) == (launch.DONE, 2)
    assert summary["rejected"].keys() <= {"no_tag", "identical"}
    begun = "continues a begun turn" if kind == "engine" else "continues no begun turn, asked by instruction"
    assert said.count(begun) == 1
    generator = manifest["models"]["generator"]
    assert generator["continues"] == (kind == "engine")
    assert {"temperature", "top_p", "max_tokens"} <= set(generator["sent"])
    assert ("top_k" in generator["left_out"]) == (kind in ("strict", "vague"))


def test_a_fifth_of_odd_replies_of_every_kind_costs_no_pair(synthesize):
    numbers = itertools.count()
    with running("one_by_one") as server:
        server.instead = lambda body: None if (n := next(numbers)) % 5 else FAULTY[n // 5 % len(FAULTY)]
        code, summary, _, _ = synthesize(server, "data.limit=10", "search.candidates=4")
    assert (code, summary["examples"]["done"]) == (launch.DONE, 10)
    kinds = {"no_json", "no_message", "no_text", "error_reply", "broken_off", "refused"}
    assert kinds <= summary["rejected"].keys()
    assert sum(summary["rejected"][kind] for kind in kinds) > len(server.asked) / 10


def test_a_pair_whose_every_draw_failed_is_tried_again_by_the_next_run(synthesize, tmp_path):
    with running() as server:
        server.instead = lambda body: ODD["HTML"]
        code, summary, _, _ = synthesize(server, "data.limit=2")
        assert (code, summary["examples"]["failed"], summary["examples"]["quarantined"]) == (launch.PARTIAL, 2, 0)
        rows = [json.loads(line) for line in (tmp_path / "run" / "quarantine.jsonl").read_text().splitlines()]
        assert {row["reason"] for row in rows} == {
            "no usable first trajectory in 9 draws (no_json: <html>gateway</html>)"
        }
        server.instead = lambda body: None
        code, summary, _, _ = synthesize(server, "data.limit=2")
    assert (code, summary["examples"]["done"]) == (launch.DONE, 2)


def test_an_exhausted_account_ends_the_run_with_one_sentence_and_the_next_goes_on(synthesize):
    with running() as server:
        server.instead = lambda body: (
            told(429, "You have no credit left", code="insufficient_quota") if len(server.asked) > 8 else None
        )
        code, _, _, said = synthesize(server, "data.limit=4")
        assert code == launch.MISTAKE
        [sentence] = [line for line in said.splitlines() if line.startswith("reer-synthesize:")]
        assert "no credit left" in sentence
        assert sentence.endswith("the same command goes on from here")
        before = len(server.asked)
        server.instead = lambda body: None
        code, summary, _, _ = synthesize(server, "data.limit=4")
        assert (code, summary["examples"]["done"]) == (launch.DONE, 4)
        again = len(server.asked) - before
        server.asked.clear()
        synthesize(server, "data.limit=4", "run_dir=fresh")
    assert again < len(server.drawn)


def test_what_a_server_refuses_on_the_way_stands_in_the_manifest(synthesize):
    message = "Unsupported value: 'temperature' does not support 0.8 with this model."
    with running() as server:
        server.instead = lambda body: told(400, message) if body.get("temperature") == 0.8 else None
        code, _, manifest, said = synthesize(server, "data.limit=1")
    assert code == launch.DONE
    generator = manifest["models"]["generator"]
    assert message in generator["left_out"]["temperature"]
    assert "temperature" not in generator["sent"]
    assert said.count(message) == 1
