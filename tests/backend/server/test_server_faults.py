"""Replies of a scoring server that fail one request, and no other."""

import asyncio
import json
import math
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace

import pytest
from scoring_server import BROKEN, FORMS, HTML, JSON, TOO_LONG, each, same, score, sent

from reer.backend.server.chat import TOLD
from reer.backend.server.scorer import ServerScorer
from reer.backend.server.trial import PROBE
from reer.errors import BackendError, ModelError
from reer.layout import Layout
from reer.run import launch
from reer.types import ScoreRequest


def test_the_probe_is_written_on_from_and_then_scored(server, config, exact):
    ServerScorer(config)
    probe = exact.tokenizer.encode(PROBE)
    assert [ids[: len(probe)] for ids in map(sent, server.asked[:2])] == [probe, probe]
    written = [token for token, _ in server.write(list(probe), 6)]
    assert sent(server.asked[1])[len(probe) :] == (*written, *probe)


# on the way


def lacking(pairs):
    return pairs[:-5] + pairs[-4:]


def null(pairs):
    return [*pairs[:-5], (pairs[-5][0], None), *pairs[-4:]]


def nan(pairs):
    return [*pairs[:-5], (pairs[-5][0], math.nan), *pairs[-4:]]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("fault", "attempts", "words"),
    [
        (BROKEN, 2, "InternalServerError.*out of memory"),
        (TOO_LONG, 1, "BadRequestError.*maximum context length is 8 tokens"),
        (HTML, 3, "the reply lacks log-probabilities of the given text"),
        ((200, JSON, "{"), 3, "the reply lacks log-probabilities of the given text"),
        (lacking, 3, "the reply lacks log-probabilities of the given text"),
        (null, 3, "the reply lacks log-probabilities of the given text"),
        (nan, 3, "a log-probability that is no number"),
    ],
    ids=["500", "400", "HTML", "broken", "lacking", "null", "NaN"],
)
def test_a_fault_is_that_requests_alone(server, config, exact, requests, form, fault, attempts, words):
    server.form = form
    scorer = ServerScorer(replace(config, max_retries=1))
    server.asked.clear()
    bad = requests[1].ids
    if callable(fault):
        server.spoil = lambda pairs: fault(pairs) if tuple(token for token, _ in pairs) == bad else pairs
    else:
        server.instead = lambda ids: fault if ids == bad else None
    first, error, last = each(scorer, requests)
    same([first[0], last[0]], exact, [requests[0], requests[2]])
    assert isinstance(error, BackendError)
    with pytest.raises(BackendError, match=f"^tiny: {words}"):
        raise error
    assert [sent(body) for body in server.asked].count(bad) == attempts


def test_a_server_that_is_busy_is_asked_again_when_it_says(server, config, exact, requests):
    scorer = ServerScorer(replace(config, max_retries=1))
    replies = iter([(429, JSON | {"Retry-After": "0.8"}, "{}")])
    server.instead = lambda ids: next(replies, None)
    server.times.clear()
    same(score(scorer, requests[:1]), exact, requests[:1])
    [first, second] = server.times
    assert second - first >= 0.8  # the client's own first wait is half a second


def test_what_leaves_no_room_for_a_token_to_write_is_not_sent(server, config, exact, requests):
    limit = 300
    scorer = ServerScorer(replace(config, max_length=limit))
    server.asked.clear()
    ids = (*requests[0].ids, *([81] * limit))[:limit]
    longest = ScoreRequest(ids, 5, limit - 1)  # what follows its end is not sent
    error, found = each(scorer, [replace(longest, end=limit), longest])
    assert isinstance(error, BackendError)
    assert str(error).startswith(f"{limit} tokens leave no room within {limit} (scorer.max_length)")
    same(found, exact, [longest])
    assert [sent(body) for body in server.asked] == [ids[:-1]]
    assert scorer.max_length == limit - 1
    with pytest.raises(BackendError, match="leave no room"):
        asyncio.run(scorer.next_token([ids[:-1]], [81]))


@pytest.mark.parametrize("number", [-9999.0, -1000, 1e-1, -math.inf], ids=str)
def test_what_stands_in_for_a_number_fails_that_request(server, config, requests, number):
    scorer = ServerScorer(config)
    server.spoil = lambda pairs: [*pairs[:-5], (pairs[-5][0], number), *pairs[-4:]]
    [error] = each(scorer, requests[:1])
    assert str(error) == f"tiny: a log-probability that is no number ({number:g})"
    server.spoil = lambda pairs: [*pairs[:-5], (pairs[-5][0], -999.0), *pairs[-4:]]
    [[found]] = each(scorer, requests[:1])
    assert found.score.nll > 20


def test_no_more_requests_are_in_flight_than_allowed(server, config, requests):
    scorer = ServerScorer(replace(config, concurrency=3))
    three = threading.Barrier(3, timeout=60)

    def before():
        three.wait()  # so many at least
        time.sleep(0.05)  # a fourth would come by now

    server.before = before
    each(scorer, [*requests, *requests, *requests])
    assert server.most == 3


@pytest.mark.parametrize("before", [0, TOLD - 60], ids=["whole", "where the text is cut"])
def test_the_key_is_told_to_nobody_even_if_the_server_repeats_it(server, config, requests, monkeypatch, before):
    key = "sk-of-the-tests-0123456789"
    monkeypatch.setenv("KEY_OF_THE_TESTS", key)
    config = replace(config, api_key_env="KEY_OF_THE_TESTS")
    scorer = ServerScorer(config)
    assert server.keys == {f"Bearer {key}"}
    server.instead = lambda ids: (401, JSON, json.dumps({"error": {"message": "x" * before + key}}))
    [error] = each(scorer, requests[:1])
    assert isinstance(error, ModelError), "every other request would be refused as well"
    with pytest.raises(ModelError) as at_start:
        ServerScorer(config)
    for text in (str(error), str(at_start.value)):
        assert "AuthenticationError" in text
        assert key[:8] not in text


# the whole stage


def test_the_search_runs_on_a_server_and_its_numbers_are_those_of_the_model(
    server, tiny_model, exact, pairs, tmp_path
):
    keys = ("id", "query", "answer", "language", "source", "licence")
    rows = [{key: value for key, value in asdict(pair).items() if key in keys} for pair in pairs[:3]]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = [sys.executable, "-m", "reer.synthesize", "experiment=fake", "backend@scorer=openai",
               "scorer.model_name=tiny", f"scorer.base_url={server.url}", f"scorer.tokenizer={tiny_model}",
               "scorer.max_retries=0", "scorer.max_length=1000", "data.path=pairs.jsonl",
               "search.max_steps=1"]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == launch.DONE, done.stderr
    folder = tmp_path / "runs" / "fake" / "synthesize"
    found = [json.loads(line) for line in (folder / "trajectories.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["id"] for row in found] == [pair.id for pair in pairs[:3]]
    layout = Layout("think", exact.tokenizer)
    for kind, thinking in (("none", lambda row: None), ("final", lambda row: row["thinking"])):
        texts = [layout.encode(row["query"], thinking(row), row["answer"]) for row in found]
        wanted = [result.score for result in score(exact, [text.score_request() for text in texts])]
        assert [row["nll"][kind] for row in found] == pytest.approx([one.nll for one in wanted], abs=1e-4)
        assert [row["answer_tokens"] for row in found] == [one.tokens for one in wanted]
    assert json.loads((folder / "manifest.json").read_text())["models"]["scorer"]["model"] == "tiny"
