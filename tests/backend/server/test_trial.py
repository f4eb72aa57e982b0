"""Scores of long texts that cannot be believed: such a server is refused in a sentence that says what to change."""

import itertools
import operator
import random
import re
import threading
from collections import Counter

import pytest
from scoring_server import FORMS, JSON, sent

from reer.backend.server import trial
from reer.backend.server.scorer import ServerScorer
from reer.errors import ModelError

BLOCK = 16
"""Tokens that prefix caches keep together."""
NO_CACHE = {"vllm": "--no-enable-prefix-caching", "sglang": "--disable-radix-cache"}
NO_PARTS = {"vllm": "--no-enable-chunked-prefill", "sglang": "--chunked-prefill-size -1"}


SEAM = 256


@pytest.fixture
def seam(monkeypatch):
    monkeypatch.setattr(trial, "SEAMS", (SEAM, 4096))
    monkeypatch.setattr(trial, "BEYOND", 0)


class StaleCache:
    """A server whose cached tokens have no numbers of their own: what it fills in instead is up to `left`."""

    def __init__(self, server, left, hits=lambda ids, known: True):
        self.known, self.rows, self.left, self.hits = [], [], left, hits
        server.spoil = self

    def __call__(self, pairs):
        ids = [token for token, _ in pairs]
        cached = max((shared(ids, known) for known in self.known if self.hits(ids, known)), default=0) // BLOCK * BLOCK
        filled = [(token, self.left(n, self.rows)) for n, (token, _) in enumerate(pairs[:cached])]
        self.known.append(ids)
        self.rows = [logprob for _, logprob in pairs]
        return pairs[:1] + filled[1:] + pairs[max(cached, 1) :]


def shared(ids, known):
    return next((n for n, (a, b) in enumerate(itertools.zip_longest(ids, known)) if a != b), len(ids))


def of_the_last(n, rows):
    return rows[n] if 0 < n < len(rows) else 0.0


def refused(server, config):
    with pytest.raises(ModelError, match=rf"^the server at {re.escape(server.url)} cannot score: ") as it:
        ServerScorer(config)
    assert "\n" not in str(it.value)
    return str(it.value).partition("cannot score: ")[2]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("left", [of_the_last, lambda n, rows: 0.0], ids=["of the last request", "zeros"])
@pytest.mark.parametrize("hits", [lambda ids, known: True, operator.eq], ids=["prefix", "same text"])
def test_numbers_of_an_earlier_request_are_seen(server, config, form, left, hits):
    server.form = form
    StaleCache(server, left, hits)
    assert NO_CACHE[form] in refused(server, config)


@pytest.mark.parametrize("nth", [1, 2], ids=["second", "third"])
def test_two_texts_of_one_beginning_are_scored_in_both_orders(server, config, nth):
    """The fault comes with the second text of a beginning, or only when the first one follows it again."""
    seen = Counter()

    def hits(ids, known):
        return shared(ids, known) > BLOCK and seen[tuple(ids[:BLOCK])] == nth

    stale = StaleCache(server, lambda n, rows: 0.0, hits)

    def spoil(pairs):
        found = stale(pairs)
        seen[tuple(token for token, _ in pairs[:BLOCK])] += len(pairs) > 100
        return found

    server.spoil = spoil
    kind = ("a text that begins like one before it", "the same text scored twice|a text beside another one")[nth - 1]
    assert re.match(kind, refused(server, config))


@pytest.mark.parametrize("form", FORMS)
def test_numbers_that_a_cached_text_lacks_are_laid_to_the_cache(server, config, form):
    server.form = form
    StaleCache(server, lambda n, rows: None)
    assert re.search(rf"no log-probabilities of the given text; .*{NO_CACHE[form]}", refused(server, config))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("number", [-9999.0, None, float("-inf"), 3.5], ids=str)
def test_a_row_without_a_number_where_a_long_prompt_is_cut_is_seen(server, config, form, number):
    server.form = form
    server.spoil = lambda pairs: [(t, number if n == SEAM else p) for n, (t, p) in enumerate(pairs)]
    words = refused(server, config)
    assert words.startswith("a text of 399 tokens: no log-probabilities of the given text")
    assert NO_PARTS[form] in words


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("begin", [SEAM, SEAM + 1])
@pytest.mark.parametrize("rows", [1, 3, 999], ids=["one row", "some rows", "all that follow"])
def test_wrong_numbers_where_a_long_prompt_is_cut_are_seen(server, config, seam, form, begin, rows):
    server.form = form
    server.spoil = lambda pairs: [(t, p - 3 if begin <= n < begin + rows else p) for n, (t, p) in enumerate(pairs)]
    words = refused(server, config)
    assert words.startswith("in a text of 399 tokens, log-probabilities are 3.0 nats off those of its own writing")
    assert NO_PARTS[form] in words


@pytest.mark.parametrize("form", FORMS)
def test_a_text_cut_elsewhere_beside_another_is_seen(server, config, form):
    server.form = form
    numbers, both = itertools.count(1 if form == "vllm" else 0), threading.Barrier(2, timeout=60)

    def before():
        if next(numbers) in (7, 8):  # the last two of a trial
            both.wait()

    def spoil(pairs):
        cut = 333 if server.running > 1 else None
        return [(token, logprob - 3 if n == cut else logprob) for n, (token, logprob) in enumerate(pairs)]

    server.before, server.spoil = before, spoil
    words = refused(server, config)
    assert words.startswith("a text beside another one is scored up to 3.0 nats otherwise")
    assert NO_PARTS[form] in words


def test_the_rounding_of_other_batches_is_no_fault(server, config):
    rng = random.Random(0)

    def spoil(pairs):
        noise = [rng.gauss(0, 0.1) + (rng.random() < 0.002) * 0.9 for _ in pairs]
        return [(t, p and min(p + off, 0)) for (t, p), off in zip(pairs, noise, strict=True)]

    server.spoil = lambda pairs: spoil(pairs) if len(pairs) > 100 else pairs
    ServerScorer(config)


def test_what_one_trial_costs(server, config, monkeypatch):
    monkeypatch.setattr(trial, "SEAMS", (128, 256))
    ServerScorer(config)
    lengths = sorted(len(sent(body)) for body in server.asked)
    assert lengths[2:] == [125, 253, *[320] * 5]  # 320: as far as servers cut and a little on, not all of 399


def test_no_text_of_one_trial_is_known_from_another(server, config):
    ServerScorer(config)
    before = {sent(body) for body in server.asked if len(sent(body)) > 100}
    server.asked.clear()
    ServerScorer(config)
    assert not {ids[:BLOCK] for ids in map(sent, server.asked) if len(ids) > 100} & {ids[:BLOCK] for ids in before}


# how long


def test_a_server_that_takes_less_than_configured_is_given_no_more(server, config, caplog):
    server.listed = {"data": [{"id": "other", "max_model_len": 9}, {"id": "tiny", "max_model_len": 300}]}
    scorer = ServerScorer(config)
    assert scorer.max_length == 299
    assert "The server takes 300 tokens, fewer than scorer.max_length=400" in caplog.text
    assert max(len(sent(body)) for body in server.asked) == 299


@pytest.mark.parametrize(
    "listed", [None, {"data": []}, {"data": None}, [], "?", {"data": [{"id": "tiny"}]},
               {"data": [{"id": "tiny", "max_model_len": None}]}, {"data": [{"id": "tiny", "max_model_len": 9000}]}],
)  # fmt: skip
def test_a_server_that_does_not_tell_what_it_takes_is_taken_at_the_configs_word(server, config, listed):
    server.listed = listed
    assert ServerScorer(config).max_length == 399


def test_a_server_that_takes_no_text_so_long_is_told_what_to_change(server, config):
    too_long = (400, JSON, '{"error": {"message": "maximum context length is 200 tokens"}}')
    server.instead = lambda ids: too_long if len(ids) > 199 else None
    words = refused(server, config)
    assert words.startswith("a text of 399 tokens: BadRequestError: ")
    assert "maximum context length is 200 tokens" in words
    assert words.endswith("or, if it takes no text so long, set max_length to what it takes")
