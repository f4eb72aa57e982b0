"""How long a server is waited for, and when it is not: real HTTP on this machine, and waits that are only noted."""

import asyncio
import email.utils
import json
import threading
import time

import numpy as np
import pytest
from chat_server import JSON, asking, config_of, generator_of, running, told

from reer.backend.server.calls import patience
from reer.backend.server.calls.complaints import has_no_money
from reer.backend.server.chat import OpenAIGenerator
from reer.backend.server.told import TOLD, scrubbed
from reer.config import OpenAIBackendConfig
from reer.errors import BackendError, ModelError, Unanswered


@pytest.fixture
def server():
    with running() as plain:
        yield plain


@pytest.fixture
def waits(monkeypatch):
    """Seconds that were to be waited."""
    noted, sleep = [], asyncio.sleep

    async def note(seconds):
        noted.append(seconds)
        await sleep(0)

    monkeypatch.setattr(patience.asyncio, "sleep", note)
    return noted


def busy(server, *replies):
    left = iter(replies)
    server.instead = lambda body: next(left, None)


def draw(generator, *seeds):
    return asyncio.run(generator.generate([asking(seed) for seed in seeds]))


def limited(value, header="Retry-After", status=429):
    return status, JSON | {header: value}, json.dumps({"error": {"message": "slow down"}})


@pytest.mark.parametrize(("value", "seconds"), [("121", 121), ("300", 300), ("1.5", 1.5), ("3000", 3000)])
def test_the_time_that_a_server_names_is_waited_out_however_long(server, waits, value, seconds, capsys):
    busy(server, limited(value), limited(value))
    config = {"max_wait": 6000}
    assert draw(generator_of(server, **config), 1)
    assert waits == [seconds, seconds]
    assert ("waiting" in capsys.readouterr().err) == (seconds > 10)


def test_the_time_may_be_a_date_or_in_milliseconds(server, waits):
    date = email.utils.formatdate(time.time() + 500, usegmt=True)
    busy(server, limited(date), limited("2500", "retry-after-ms"))
    draw(generator_of(server), 1)
    assert waits == [pytest.approx(500, abs=3), 2.5]


@pytest.mark.parametrize("value", ["nonsense", "-5", "0", "inf", "nan", email.utils.formatdate(1e9, usegmt=True)])
def test_a_time_that_is_none_is_a_failure_like_any_other(server, waits, value):
    busy(server, limited(value))
    draw(generator_of(server, max_retries=1), 1)
    assert [0 <= seconds <= 0.5 for seconds in waits] == [True]


def test_a_wait_that_many_requests_meet_is_said_once(server, waits, capsys):
    busy(server, *[limited("300")] * 8)
    draw(generator_of(server), *range(8))
    said = capsys.readouterr().err
    assert len(waits) == 8
    assert said.count("waiting 300 s, until") == 1
    assert "slow down" in said


def test_more_than_max_wait_ends_the_run_with_one_sentence(server, waits):
    busy(server, *[limited("40")] * 9)
    with pytest.raises(ModelError, match=r"left alone for 120 s, .* max_wait=100 .*slow down.* same command goes on"):
        draw(generator_of(server, max_wait=100), 1)
    assert waits == [40, 40]


def test_failures_are_retried_so_often_with_growing_pauses(server, waits):
    busy(server, *[told(503, "overloaded")] * 9)
    with pytest.raises(BackendError, match="InternalServerError.*overloaded"):
        draw(generator_of(server, max_retries=4), 1)
    assert len(server.asked) == 5
    assert [0 <= wait <= most for wait, most in zip(waits, (0.5, 1, 2, 4), strict=True)] == [True] * 4


def test_pauses_are_spread_over_all_the_time_up_to_their_bound():
    waits = [patience._back_off(5) for _ in range(2000)]
    assert np.quantile(waits, (0.1, 0.5, 0.9)) == pytest.approx((0.8, 4, 7.2), abs=0.5)
    assert max(patience._back_off(99) for _ in range(2000)) <= patience.LONGEST_BACK_OFF


def test_a_request_that_fails_while_others_are_answered_is_told_from_one_that_nobody_answers(server, waits):
    async def both(generator):
        one = asyncio.gather(generator.generate([asking(1)]), return_exceptions=True)
        while not one.done():  # between any two of its failures another one ends
            await asyncio.gather(generator.generate([asking(2)]), return_exceptions=True)
        return await one

    for bad, alone in (({1}, True), ({1, 2}, False)):
        server.instead = lambda body, bad=bad: told(500, "out of memory") if body["seed"] in bad else None
        [error] = asyncio.run(both(generator_of(server, max_retries=9, max_failures=99)))
        assert isinstance(error, Unanswered)
        assert error.alone is alone


def test_a_reply_that_is_late_is_asked_for_twice_more(server, waits):
    server.drip = threading.Event()
    with pytest.raises(BackendError, match=r"no whole reply in 0.1 s"):
        draw(generator_of(server, timeout=0.1, max_retries=10), 1)
    server.drip.set()
    assert len(server.asked) == patience.SLOW


def test_a_failure_that_names_its_time_is_a_failure(server, waits):
    busy(server, *[limited("30", status=503)] * 9)
    with pytest.raises(BackendError):
        draw(generator_of(server, max_retries=2), 1)
    assert waits == [30, 30]


@pytest.mark.parametrize(("wish", "attempts"), [("false", 1), ("true", 2)])
def test_the_server_may_say_whether_to_retry(server, waits, wish, attempts):
    status = {"false": 503, "true": 425}[wish]
    busy(server, *[(status, JSON | {"x-should-retry": wish}, "{}")] * 9)
    with pytest.raises(BackendError):
        draw(generator_of(server, max_retries=1), 1)
    assert len(server.asked) == attempts


NO_MONEY = [
    (429, {"message": "You exceeded your current quota, please check your plan", "code": "insufficient_quota"}),
    (429, {"message": "You have no credit left", "type": "insufficient_quota"}),
    (400, {"message": "Budget has been exceeded! Current cost: 10.1, Max budget: 10.0"}),
    (400, {"message": "Your credit balance is too low to access the API"}),
    (400, {"message": "Access denied, your account is in good standing", "code": "Arrearage"}),
    (429, {"message": "余额不足或无可用资源包,请充值。", "code": "1113"}),
    (402, {"message": "Insufficient Balance"}),
    (401, {"message": "Incorrect API key provided"}),
    (403, {"message": "Your account is not active"}),
    (200, {"message": "insufficient_quota"}),
]  # fmt: skip


@pytest.mark.parametrize(("status", "error"), NO_MONEY, ids=lambda value: str(value)[:40])
def test_without_money_or_key_the_run_ends_at_once(server, waits, status, error):
    reply = (status, JSON, json.dumps({"error": error}))
    server.instead = lambda body: reply
    with pytest.raises(ModelError, match=r"cannot be asked: .*nothing is lost, and the same command goes on"):
        draw(generator_of(server, max_retries=5), 1)
    assert (len(server.asked), waits) == (1, [])


@pytest.mark.parametrize(
    "message",
    [
        "Rate limit reached for gpt-4o. Please try again in 20s. Add a payment method at openai.com/account/billing",
        "You exceeded your current quota, please check your plan and billing details. Please retry in 34.07s.",
        "Too many requests",
    ],
)
def test_a_limit_of_the_minute_is_not_an_exhausted_account(message):
    assert not has_no_money({"error": {"message": message, "code": 429}})


def test_a_prompt_that_a_gateway_objects_to_does_not_end_the_run(server):
    server.instead = lambda body: told(403, "Your input was flagged by moderation")
    [[one]] = draw(generator_of(server), 1)
    assert one.kind == "refused"


def test_a_reply_that_only_drips_ends_in_time(server):
    server.drip = threading.Event()
    started = time.monotonic()
    with pytest.raises(BackendError, match=r"no whole reply in 0.3 s"):
        draw(generator_of(server, timeout=0.3), 1)
    server.drip.set()
    assert time.monotonic() - started < 20  # a byte every 50 ms: no read of it takes 0.3 s


def test_no_server_at_all_is_a_failed_request(waits):
    with running() as gone:
        config = config_of(gone, max_retries=2)
    with pytest.raises(BackendError, match="APIConnectionError"):
        draw(OpenAIGenerator(config), 1)
    assert len(waits) == 2


@pytest.mark.parametrize(
    ("key", "text", "shown"),
    [
        ("x", "Expecting value: x", "Expecting value: $KEY"),
        ("none", "none of nonesuch", "$KEY of nonesuch"),
        ("sk-0123456789", "in sk-0123456789abc", "in $KEYabc"),
        ("sk-0123456789", "a" * (TOLD - 5) + " sk-0123456789", "a" * (TOLD - 5) + " $KEY"),
        ("", "nothing to hide", "nothing to hide"),
    ],
)
def test_a_key_is_hidden_and_words_that_hold_its_letters_are_not(monkeypatch, key, text, shown):
    monkeypatch.setenv("KEY", key)
    assert scrubbed(text, OpenAIBackendConfig(model_name="m", api_key_env="KEY")) == shown
