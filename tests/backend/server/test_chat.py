"""How each kind of chat server is asked, and what becomes of what it says: real HTTP on this machine."""

import asyncio
import json

import pytest
from chat_server import ODD, asking, completion, generator_of, running, says, told

from reer.backend.server.chat import BEGIN, Refusal, sound
from reer.errors import BackendError, ModelError
from reer.types import Failed, Response, Usage

THINK = {"prefill": "<think>\nAlright, let me see.", "stop": ("</think>",)}


def draw(generator, *requests):
    return asyncio.run(generator.generate(requests))


@pytest.fixture
def plain():
    with running() as server:
        yield server


# what the server can


def test_a_plain_server_is_asked_by_instruction_and_its_own_think_block_is_the_thinking(plain, capsys):
    [[one, two]] = draw(generator_of(plain), asking(5, 6, **THINK))
    assert one.text.strip().startswith("I begin with rain")
    assert one.text != two.text
    assert {(d.whole, d.finish_reason, "<" in d.text, "Rain fell" in d.text) for d in (one, two)} == {
        (True, "stop", False, False)
    }
    [body] = plain.drawn
    assert body["messages"] == [
        {"role": "user", "content": "Plan it.\n\n" + BEGIN["en"].format(opener=THINK["prefill"])}
    ]
    assert (body["n"], body["seed"]) == (2, 5)
    assert "stop" not in body, "the server's own thinking might hold it"
    assert "continues no begun turn, asked by instruction, several samples in one request" in capsys.readouterr().err


def test_the_instruction_is_in_the_language_of_the_request(plain):
    draw(generator_of(plain), asking(1, content="写下思考，说清楚要写什么。", **THINK))
    assert plain.drawn[0]["messages"][0]["content"].endswith(BEGIN["zh"].format(opener=THINK["prefill"]))


def test_an_engine_is_asked_to_continue():
    with running("engine") as server:
        [[one, two]] = draw(generator_of(server), asking(5, 6, **THINK))
    [body] = server.drawn
    assert body["messages"][-1] == {"role": "assistant", "content": THINK["prefill"]}
    assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)
    assert (body["n"], body["seed"], body["stop"]) == (2, 5, ["</think>"])
    assert (one.whole, one.text[:10], one.text != two.text) == (False, " the rain ", True)


def test_an_engine_is_known_even_if_its_model_cannot_copy_a_line():
    with running("engine") as server:
        server.instead = lambda body: completion(says("What?")) if body.get("add_generation_prompt") is False else None
        generator = generator_of(server)
        asyncio.run(generator.prepare())
        assert generator._abilities.continues


@pytest.mark.parametrize("kind", ["strict", "vague"])
def test_what_a_server_refuses_is_left_out_and_said_once(kind, capsys):
    with running(kind) as server:
        generator = generator_of(server)
        draws = draw(generator, *(asking(n, **THINK) for n in range(6)))
    assert all(isinstance(one, Response) for [one] in draws)
    gone = {"top_k", "min_p", "repetition_penalty"} | ({"seed"} if kind == "vague" else set())
    assert len(server.drawn) == 6
    assert not any(body.keys() & gone for body in server.drawn)
    facts = generator._abilities.facts
    assert gone <= facts["left_out"].keys()
    assert not gone & set(facts["sent"])
    assert {"temperature", "top_p", "max_tokens"} <= set(facts["sent"])
    told_of = capsys.readouterr().err
    words = {"strict": "Unrecognized request arguments supplied", "vague": "Bad request"}[kind]
    assert told_of.count("refuses top_k") == 1
    assert words in told_of


def test_where_n_brings_one_sample_each_seed_has_its_request():
    with running("one_by_one") as server:
        [draws] = draw(generator_of(server), asking(5, 6, 7, **THINK))
    assert len({d.text for d in draws}) == 3
    assert sorted((body["seed"], "n" in body) for body in server.drawn) == [(5, False), (6, False), (7, False)]


def test_where_one_seed_makes_all_samples_of_a_request_the_same_each_seed_has_its_request(plain):
    def by_seed(body):
        return completion(*[says(f"seed {body['seed']}")] * body.get("n", 1)) if "seed" in body else None

    plain.instead = by_seed
    [draws] = draw(generator_of(plain), asking(5, 6, prefill="I"))
    assert {d.text for d in draws} == {"seed 5", "seed 6"}


def test_samples_that_do_not_come_are_drawn_again(plain):
    def first_alone(body):
        return completion(says("one")) if body.get("n") == 3 else None

    plain.instead = first_alone
    [draws] = draw(generator_of(plain), asking(5, 6, 7, prefill="I"))
    assert [len(d.faults) for d in draws] == [0, 1, 1]
    assert draws[1].faults == ("no_message: 1 of 3 samples came",)
    assert [body.get("n") for body in plain.drawn] == [3, 2]


@pytest.mark.parametrize("fault", [told(400, "Too short"), ODD["HTML"]], ids=["refused", "odd"])
def test_where_nothing_is_found_out_a_server_is_asked_like_the_plainest(plain, fault):
    plain.instead = lambda body: fault if body["messages"][0]["content"].startswith(("Invent", "Copy")) else None
    [draws] = draw(generator_of(plain), asking(5, 6, **THINK))
    assert [type(d) for d in draws] == [Response, Response]
    assert len(plain.drawn) == 2


@pytest.mark.parametrize("status", [401, 402, 403, 404, 503])
def test_a_server_that_cannot_be_asked_is_told_before_any_work(plain, status):
    plain.instead = lambda body: told(status, "no such thing")
    with pytest.raises(ModelError, match=r"cannot be asked: .*no such thing"):
        asyncio.run(generator_of(plain).prepare())
    assert len(plain.asked) == 1


# what it refuses on the way


def refusing(*names, status=400, message="Unsupported parameter: '{}' is not supported with this model."):
    def instead(body):
        name = next((name for name in names if name in body), None)
        return told(status, message.format(name)) if name else None

    return instead


@pytest.mark.parametrize("name", ["temperature", "top_p", "seed", "top_k"])
def test_a_refused_parameter_is_left_out_from_then_on(plain, name, capsys):
    plain.instead = refusing(name)
    generator = generator_of(plain)
    for _ in range(2):
        [[one]] = draw(generator, asking(3))
        assert isinstance(one, Response)
    assert [name in body for body in plain.asked] == [True, False, False]
    assert capsys.readouterr().err.count(f"'{name}' is not supported") == 1
    assert generator._abilities.left_out[name]


def test_mistrals_complaint_has_another_form(plain):
    detail = [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]
    refusal = (422, {"Content-Type": "application/json"}, json.dumps({"detail": detail}))
    plain.instead = lambda body: refusal if "seed" in body else None
    generator = generator_of(plain)
    draw(generator, asking(3))
    assert generator._abilities.left_out.keys() == {"seed"}
    assert "Extra inputs are not permitted" in generator._abilities.left_out["seed"]


def test_of_temperature_and_top_p_together_the_temperature_stays(plain):
    message = "`temperature` and `top_p` cannot both be specified for this model."
    plain.instead = lambda body: told(400, message) if {"temperature", "top_p"} <= body.keys() else None
    generator = generator_of(plain)
    draw(generator, asking(3))
    assert generator._abilities.left_out.keys() == {"top_p"}


def test_the_limit_goes_by_its_newer_name(plain):
    message = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens'."
    plain.instead = lambda body: told(400, message) if "max_tokens" in body else None
    draw(generator_of(plain), asking(3))
    assert [body.get("max_completion_tokens") for body in plain.asked] == [None, 50]


@pytest.mark.parametrize(
    "message",
    ["This model's maximum context length is 8 tokens, reduce max_tokens or the temperature of your prompt", "No."],
)
def test_a_request_refused_for_another_reason_leaves_nothing_out(plain, message):
    plain.instead = lambda body: told(400, message) if "too long" in body["messages"][-1]["content"] else None
    generator = generator_of(plain)
    with pytest.raises(BackendError, match=message[:20]):
        draw(generator, asking(3, content="too long"))
    draw(generator, asking(3))
    assert generator._abilities.left_out == {}
    assert {"seed", "top_p", "top_k"} <= plain.asked[-1].keys()


def test_all_that_decides_how_a_token_is_drawn_is_sent(plain):
    draw(generator_of(plain), asking(2**40 + 3, temperature=0.0))
    sent = {key: value for key, value in plain.asked[0].items() if key not in ("model", "messages")}
    assert sent == {"max_tokens": 50, "temperature": 0, "top_p": 1, "seed": 3, "top_k": -1, "min_p": 0,
                    "repetition_penalty": 1}  # fmt: skip


# odd replies

KINDS = {
    "null message": "no_message", "content null": "no_text", "no choices": "no_message", "choices null": "no_message",
    "a choice that is none": "no_message", "error with 200": "error_reply", "broken JSON": "no_json",
    "a list": "no_json", "a number": "no_json", "HTML": "no_json", "filter": "refused",
    "filter in capitals": "refused", "refusal": "refused", "filter as an error": "refused", "abort": "broken_off",
    "error": "broken_off", "tool call": "broken_off",
}  # fmt: skip


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_reply_is_a_failed_draw_of_its_kind(plain, odd):
    plain.instead = lambda body: ODD[odd]
    [[one]] = draw(generator_of(plain), asking(3))
    assert isinstance(one, Failed)
    assert one.kind == KINDS[odd]
    assert len(plain.asked) == len(one.faults) == (1 if one.kind == "refused" else 3)
    first, *again = [body["seed"] for body in plain.asked]
    assert [seed == first for seed in again] == ([] if one.kind == "refused" else [True, False])
    with pytest.raises(Refusal if one.kind == "refused" else BackendError):
        sound(one)


@pytest.mark.parametrize("odd", [name for name, kind in KINDS.items() if kind != "refused"])
def test_the_next_draw_takes_its_place_and_the_fault_is_kept(plain, odd):
    replies = iter([ODD[odd]])
    plain.instead = lambda body: next(replies, None)
    [[one]] = draw(generator_of(plain), asking(3))
    assert isinstance(one, Response)
    assert [fault.partition(":")[0] for fault in one.faults] == [KINDS[odd]]
    assert one.usage.calls == 2, "what failed was asked for as well"


def test_the_reason_is_in_the_servers_words_and_cut(plain):
    plain.instead = lambda body: (200, {"Content-Type": "text/html"}, "<html>\nthe gateway\n" + "x" * 1000)
    [[one]] = draw(generator_of(plain, resample=0), asking(3))
    assert one.reason.startswith("no_json: <html> the gateway xxx")
    assert len(one.reason) < 320


# thinking beside the text


def test_thinking_beside_the_text_is_put_back(plain):
    message = says("\n\nRain fell.", reasoning="I plan the rain.")
    plain.instead = lambda body: completion(message, usage=(700, 90))
    [[one]] = draw(generator_of(plain), asking(3))
    assert one.text == "<think>\nI plan the rain.\n</think>\n\nRain fell."
    assert (one.usage.prefilled_tokens, one.usage.generated_tokens, one.served_model) == (700, 90, "m-2026")
    [[judged]] = draw(generator_of(plain), asking(3, schema={"type": "object"}))
    assert judged.text == "\n\nRain fell.", "what is to follow a schema is the text alone"


def test_thinking_beside_the_text_is_the_thinking_that_was_asked_for():
    with running("beside") as server:
        [[one]] = draw(generator_of(server), asking(3, **THINK))
        assert one.text.startswith("I plan the rain")
        [[rewrite]] = draw(generator_of(server), asking(3, stop=("</refine>",)))
        assert rewrite.text == "Rain fell."


def test_a_parser_that_takes_a_continued_think_block_for_thinking_loses_nothing():
    with running("engine") as server:
        parsed = completion(says(None, reasoning_content=" go on.\n"))
        server.instead = lambda body: parsed if body["messages"][0]["content"] == "Plan it." else None
        [[one]] = draw(generator_of(server), asking(3, **THINK))
    assert (one.text, one.whole) == (" go on.\n", False)


def test_what_several_samples_used_is_counted_once(plain):
    [draws] = draw(generator_of(plain), asking(5, 6, 7, **THINK))
    total = sum((d.usage for d in draws), Usage())
    assert (total.calls, total.prefilled_tokens, total.generated_tokens) == (1, 10, 12)
