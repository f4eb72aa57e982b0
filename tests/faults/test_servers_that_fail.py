"""Whole searches on a server that does everything that servers do wrong: every pair ends, no error becomes a score,
and what passes leaves no trace in what is written."""

import asyncio
import json
import re
import signal
import sys
import threading
import time

import pytest
from faulty_server import ODD, OF_SCORES, OF_TEXTS, PASSING, FaultyServer, first_attempts, running
from transformers import AutoTokenizer

from reer.backend.server.calls import patience
from reer.run import launch
from reer.synthesize import main

PAIRS = [
    {"id": f"p{n}", "query": f"Write of {what}.", "answer": f"The {what} came at dusk, and nobody spoke of the {n}th."}
    for n, what in enumerate(("rain", "snow", "a dog", "the sea", "a ferry", "salt", "corn", "moss", "wind", "a lamp"))
]
FILE = "trajectories.jsonl"


@pytest.fixture
def synthesize(tmp_path, monkeypatch, capsys, tiny_model):
    """Runs the command with both roles on a server; gives the exit code, the counts, and what was said."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # the command sets it: undone after the test
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in PAIRS))
    before = signal.getsignal(signal.SIGTERM)

    def call(server, run_dir="run", *overrides):
        roles = [f"{role}.{key}" for role in ("generator", "scorer")
                 for key in ("model_name=m", f"base_url={server.url}", "timeout=2")]  # fmt: skip
        arguments = ["experiment=fake", "backend@generator=openai", "backend@scorer=openai", *roles,
                     f"scorer.tokenizer={tiny_model}", "scorer.max_length=600", "data=files", "data.path=pairs.jsonl",
                     "search.max_steps=4", "search.candidates=2", f"run_dir={run_dir}", *overrides]  # fmt: skip
        monkeypatch.setattr(sys, "argv", ["reer-synthesize", *arguments])
        with pytest.raises(SystemExit) as stop:
            main()
        said = capsys.readouterr().err
        assert "Traceback" not in said
        print(said[-3000:])
        for f in tmp_path.glob("*/quarantine.jsonl"):
            print(f, f.read_text()[:2000])
        summary = tmp_path / run_dir / "summary.json"
        return stop.value.code, json.loads(summary.read_text()) if summary.exists() else None, said

    yield call
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def patient(monkeypatch):
    """Short pauses; what servers name is waited for as a tenth of a second."""
    monkeypatch.setattr(patience, "BACK_OFF", 0.02)
    sleep = asyncio.sleep
    monkeypatch.setattr(patience.asyncio, "sleep", lambda seconds: sleep(min(seconds, 0.1)))


def rows(folder):
    return [json.loads(line) for line in (folder / FILE).read_text(encoding="utf-8").splitlines()]


def kept(folder):
    """What came of each pair, without what it cost and what was thrown away on the way."""
    return [(row["id"], row["thinking"], row["first"]["thinking"], row["nll"]) for row in rows(folder)]


def all_end(summary, n=10):
    counts = summary["examples"]
    assert counts["input"] == n
    assert counts["done"] + counts["failed"] + counts["quarantined"] == n
    return counts


def sound(folder):
    """No number that a fault could have made."""
    for row in rows(folder):
        numbers = [row["nll"][kind] for kind in ("none", "first", "final")]
        numbers += [one["nll"] for step in row["steps"] for one in step["candidates"] if one["nll"] is not None]
        assert all(0 < number < 100 for number in numbers)


def test_faults_that_pass_leave_no_trace(synthesize, patient, tmp_path):
    """A third of all requests, in every way."""
    with running() as server:
        synthesize(server, "clean")
        server.anew()
        passing = first_attempts({**PASSING, **ODD}.keys() - {"dripping"}, 0.33)
        scores = only("score", first_attempts(OF_SCORES, 0.4))
        server.fault = lambda *request: passing(*request) or scores(*request)
        code, summary, _ = synthesize(server, "run")
    assert (code, all_end(summary)["done"]) == (launch.DONE, 10)
    assert sum(n for name, n in server.done.items() if name) > 25
    assert kept(tmp_path / "run") == kept(tmp_path / "clean")
    sound(tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("name", PASSING)
def test_each_fault_that_passes_leaves_the_same_bytes(synthesize, patient, tmp_path, name):
    """Each first attempt of half the requests, or of one in five where each takes its deadline."""
    with running() as server:
        synthesize(server, "clean", "data.limit=4")
        server.anew()
        server.fault = first_attempts([name], 0.2 if name == "dripping" else 0.5)
        code, summary, said = synthesize(server, "run", "data.limit=4")
    assert (code, all_end(summary, 4)["done"]) == (launch.DONE, 4)
    assert server.done[name] >= 3
    assert (tmp_path / "run" / FILE).read_bytes() == (tmp_path / "clean" / FILE).read_bytes()
    assert ("waiting 121 s" in said) == (name == "429 above 120 s")


@pytest.mark.slow
@pytest.mark.parametrize("name", [*ODD, *OF_SCORES])
def test_each_odd_reply_is_asked_for_again_and_gives_the_same_result(synthesize, patient, tmp_path, name):
    with running() as server:
        synthesize(server, "clean", "data.limit=4")
        server.anew()
        server.fault = first_attempts([name], 0.5) if name in ODD else only("score", first_attempts([name], 0.5))
        code, summary, _ = synthesize(server, "run", "data.limit=4")
    assert (code, all_end(summary, 4)["done"]) == (launch.DONE, 4)
    assert server.done[name] >= 3
    assert kept(tmp_path / "run") == kept(tmp_path / "clean")


def only(role, fault):
    return lambda asked, key, attempt: fault(asked, key, attempt) if asked == role else None


@pytest.mark.slow
@pytest.mark.parametrize("name", OF_TEXTS)
def test_texts_that_are_none_cost_a_draw_and_no_pair(synthesize, patient, tmp_path, name):
    with running() as server:
        server.fault = only("write", first_attempts([name], 0.2))
        code, summary, _ = synthesize(server, "run")
    assert server.done[name] >= 3
    assert (code, all_end(summary)["done"]) == (launch.DONE, 10)
    sound(tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("name", [*ODD, *OF_TEXTS.keys() - {"unclosed tags"}, *OF_SCORES])
def test_a_fault_that_never_passes_costs_its_pair_with_a_reason_and_no_other(
    synthesize, patient, tmp_path, tiny_model, name
):
    """Every request of one pair goes wrong. When that is over, the same command searches it, unless its texts alone
    were at fault."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    wanted = "score" if name in OF_SCORES else "write"

    def of_the_ferry(role, body):
        return "ferry" in (json.dumps(body["messages"]) if role == "write" else tokenizer.decode(body["prompt"]))

    with running() as server:
        chosen = server.chosen
        server.chosen = lambda role, body: (chosen(role, body), name)[
            server.began and role == wanted and of_the_ferry(role, body)
        ]
        code, summary, _ = synthesize(server)
        counts = all_end(summary)
        assert (code, counts["done"], counts["failed"] + counts["quarantined"]) == (launch.PARTIAL, 9, 1)
        [row] = [json.loads(line) for line in (tmp_path / "run" / "quarantine.jsonl").read_text().splitlines()]
        assert (row["id"], bool(row["reason"])) == ("p4", True)
        server.chosen = chosen
        code, summary, _ = synthesize(server)
    again = row["status"] == "failed"
    assert (code, all_end(summary)["done"]) == ((launch.DONE, 10) if again else (launch.PARTIAL, 9))


@pytest.mark.slow
def test_a_server_that_is_away_for_five_seconds_is_waited_for(synthesize, tmp_path):
    """With the pauses of a real run."""
    with running() as first:
        synthesize(first, "clean")
        port = first.server_port
    state = {}

    def serve(seconds):
        time.sleep(seconds)
        state["server"] = server = FaultyServer(port=port)
        server.serve_forever(0.01)

    with running(port) as server:
        server.latency = 0.05

        def away():
            while not server.began:
                time.sleep(0.01)
            server.shutdown()
            server.socket.close()
            serve(5)

        again = threading.Thread(target=away)
        again.start()
        code, summary, _ = synthesize(server, "run")
        while "server" not in state:
            time.sleep(0.05)
        state["server"].shutdown()
        again.join()
        state["server"].server_close()
    assert (code, all_end(summary)["done"]) == (launch.DONE, 10)
    assert sum(state["server"].done.values()) > 10
    assert (tmp_path / "run" / FILE).read_bytes() == (tmp_path / "clean" / FILE).read_bytes()


def test_when_everything_fails_the_run_ends_with_one_sentence_and_the_next_loses_nothing(
    synthesize, patient, tmp_path
):
    unhurried = ("generator.timeout=30", "scorer.timeout=30")  # a busy machine is no fault here
    with running() as server:
        synthesize(server, "clean", *unhurried)
        server.anew()
        budget, failed = iter(range(40)), []

        def down(role, key, attempt):
            if next(budget, None) is not None:
                return None
            failed.append(time.monotonic())
            time.sleep(max(0.0, failed[0] + 1 - time.monotonic()))  # an answer under way would say that it is up
            return "500"

        server.fault = down
        quick = ("generator.max_retries=5", "scorer.max_retries=5", "generator.max_failures=3",
                 "scorer.max_failures=3", "executor.concurrency=2")  # fmt: skip
        code, _, said = synthesize(server, "run", *unhurried, *quick)
        assert code == launch.MISTAKE
        [sentence] = [line for line in said.splitlines() if line.startswith("reer-synthesize:")]
        # two workers may come back with theirs at once
        assert re.search("[34] requests in a row have failed, the last one for: m: InternalServerError", sentence)
        assert sentence.endswith("nothing is lost, and the same command goes on from here")
        server.fault = lambda role, key, attempt: None
        code, summary, _ = synthesize(server, "run", *unhurried)
    assert (code, all_end(summary)["done"]) == (launch.DONE, 10)
    assert (tmp_path / "run" / FILE).read_bytes() == (tmp_path / "clean" / FILE).read_bytes()


def test_two_servers_of_which_one_dies_on_the_way_give_the_same_bytes(synthesize, tmp_path):
    with running() as one, running() as other:
        synthesize(one, "clean")
        one.anew()
        both = [f"{role}.base_url=[{one.url},{other.url}]" for role in ("generator", "scorer")]
        left = iter(range(30))
        other.fault = lambda role, key, attempt: None if next(left, None) is not None else "reset before the body"
        code, summary, said = synthesize(one, "run", *both)
    assert (code, all_end(summary)["done"]) == (launch.DONE, 10)
    assert f"{other.url} is down (APIConnectionError: Connection error.)" in said
    assert (tmp_path / "run" / FILE).read_bytes() == (tmp_path / "clean" / FILE).read_bytes()
