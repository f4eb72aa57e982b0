"""Scores from a server: a real HTTP server on this machine answers from the tiny model, in vLLM's form or SGLang's."""

import asyncio
import json
import math
from dataclasses import replace

import pytest
from scoring_server import FORMS, HTML, JSON, Server, same, score, sent

from reer.backend.server import asked
from reer.backend.server.scorer import ServerScorer
from reer.errors import ModelError
from reer.types import ScoreRequest


@pytest.mark.parametrize("form", FORMS)
def test_a_server_gives_the_numbers_of_a_plain_forward_of_the_very_ids(server, config, exact, requests, form):
    server.form = form
    scorer = ServerScorer(config)
    inner = ScoreRequest(tuple(range(40, 90)), 1, 30)  # begins with no special token, and goes on after its end
    asked = [*requests, inner, replace(inner, start=7), *(replace(r, skip=3, clip=5.9) for r in requests)]
    asked.append(replace(requests[0], kind="mean_prob", cuts=(2, 5)))
    assert exact.tokenizer.hf.bos_token_id not in inner.ids
    server.asked.clear()
    found = score(scorer, asked)
    same(found, exact, asked)
    assert [result.score.objective is None for result in found] == [True] * 5 + [False] * 4
    assert sorted(map(sent, server.asked)) == sorted(request.ids[: request.end] for request in asked)
    assert [(r.usage.calls, r.usage.scored_tokens) for r in found] == [(1, request.end) for request in asked]


@pytest.mark.parametrize("form", FORMS)
def test_options_of_a_next_token_are_as_likely_as_after_a_plain_forward(server, config, exact, requests, form):
    server.form = form
    prompts, options = [request.ids[: request.start] for request in requests], [35, 36, 260]
    [found, wanted] = [asyncio.run(s.next_token(prompts, options)) for s in (ServerScorer(config), exact)]
    assert found == [pytest.approx(row, abs=1e-4) for row in wanted]
    assert len({number for row in found for number in row}) == 9


def test_sglang_is_asked_for_the_span_alone_so_that_it_may_reuse_what_stands_before(server, config, requests):
    server.form = "sglang"
    scorer = ServerScorer(config)
    server.asked.clear()
    score(scorer, requests[:1])
    assert [body["logprob_start_len"] for body in server.asked] == [requests[0].start - 1]


# refused at the start


def moved(pairs, by):
    """The right ids with the log-probabilities of their neighbours."""
    return [(pairs[n][0], pairs[min(max(n + by, 0), len(pairs) - 1)][1]) for n in range(len(pairs))]


def keyed(pairs, by):
    """The right log-probabilities under the ids of their neighbours."""
    return [(pairs[min(max(n + by, 0), len(pairs) - 1)][0], pairs[n][1]) for n in range(len(pairs))]


def without(key):
    return lambda choice: {name: value for name, value in choice.items() if name not in key}


OFF = r"log-probabilities are \d+\.\d nats off those of its own writing"
LACKS = "no log-probabilities of the given text"
KEYS = ["prompt_logprobs", "input_token_logprobs"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"spoil": lambda pairs: moved(pairs, 1)}, OFF),
        ({"spoil": lambda pairs: moved(pairs, -1)}, f"{OFF}|{LACKS}"),
        ({"spoil": lambda pairs: keyed(pairs, 1)}, LACKS),
        ({"spoil": lambda pairs: keyed(pairs, -1)}, LACKS),
        ({"spoil": lambda pairs: pairs[:-1]}, LACKS),
        ({"spoil": lambda pairs: pairs[1:]}, LACKS),
        ({"spoil": lambda pairs: [*pairs, pairs[-1]]}, LACKS),
        ({"spoil": lambda pairs: [(token, math.nan) for token, _ in pairs]}, LACKS),
        ({"edit": without(KEYS)}, LACKS),
        ({"edit": lambda choice: choice | dict.fromkeys(KEYS)}, LACKS),
        ({"edit": lambda choice: choice | dict.fromkeys(KEYS, "?")}, LACKS),
        ({"instead": lambda ids: HTML}, LACKS),
        ({"instead": lambda ids: (200, JSON, "{not json")}, LACKS),
        ({"instead": lambda ids: (200, JSON, "null")}, LACKS),
        ({"instead": lambda ids: (503, JSON, '{"error": {"message": "the model is\\nloading"}}')}, "InternalServerE"),
    ],
    ids=["next one's", "last one's", "next id", "last id", "last missing", "first missing", "one more", "NaN",
         "omitted", "null", "text", "HTML", "broken", "nothing", "loading"],
)  # fmt: skip
def test_a_server_that_cannot_be_believed_is_refused_before_any_work(server, config, form, fault, reason):
    server.form = form
    for name, value in fault.items():
        setattr(server, name, value)
    dialect = {"vllm": "vLLM's prompt_logprobs", "sglang": "SGLang's /generate"}[form]
    with pytest.raises(ModelError, match=rf"^the server at {server.url} cannot score \(.*{dialect}: ({reason})") as it:
        ServerScorer(config)
    assert "\n" not in str(it.value)


@pytest.mark.parametrize("by", [1, -1])
@pytest.mark.parametrize("fault", [moved, keyed])
def test_a_shift_is_seen_even_where_the_server_repeats_one_token(server, config, exact, monkeypatch, fault, by):
    monkeypatch.setattr(asked, "PROBE", "Once upon a time there was a little")
    probe = exact.tokenizer.encode(asked.PROBE)
    assert {token for token, _ in server.write(list(probe), 6)} == {probe[-1]}
    server.spoil = lambda pairs: fault(pairs, by)
    with pytest.raises(ModelError, match=f"{OFF}|{LACKS}"):
        ServerScorer(config)


@pytest.mark.parametrize("place", range(6))
def test_no_number_for_a_written_token_is_no_agreement(server, config, place, monkeypatch):
    write = server.write

    def faulty(ids, n):
        return [(token, math.nan if at == place else logprob) for at, (token, logprob) in enumerate(write(ids, n))]

    monkeypatch.setattr(server, "write", faulty)
    with pytest.raises(ModelError, match=LACKS):
        ServerScorer(config)


@pytest.mark.parametrize(
    "written",
    [{"tokens": [81, 82], "token_logprobs": [-1, -1]}, {"tokens": [" a"], "token_logprobs": [-1]},
     {"tokens": [], "token_logprobs": []}, {"tokens": None}, None],
    ids=["numbers", "texts", "none", "null", "nothing"],
)  # fmt: skip
def test_a_server_that_does_not_tell_what_it_wrote_is_refused(server, config, written):
    reply = json.dumps({"choices": [{"logprobs": written}]})
    server.instead = lambda ids: (200, JSON, reply)
    with pytest.raises(ModelError, match=f"vLLM's prompt_logprobs: {LACKS}"):
        ServerScorer(config)


def test_an_unknown_model_is_told_in_the_servers_own_words(server, config):
    server.instead = lambda ids: (404, JSON, '{"error": {"message": "The model `tiny` does not exist."}}')
    with pytest.raises(ModelError, match="NotFoundError: .*The model `tiny` does not exist"):
        ServerScorer(config)


def test_a_server_that_is_down_is_named(server, config):
    with Server(None) as other:
        down = replace(config, base_url=other.url)
    with pytest.raises(ModelError, match=rf"^the server at {other.url} cannot score \(.*APIConnectionError"):
        ServerScorer(down)


def test_without_a_tokenizer_nothing_is_asked(server, config):
    with pytest.raises(ModelError, match=r"its model's tokenizer: scorer.tokenizer="):
        ServerScorer(replace(config, tokenizer=None))
    assert server.asked == []
