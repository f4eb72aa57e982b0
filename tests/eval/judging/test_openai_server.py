"""The openai judge and the client under it, against a real HTTP server on this machine."""

import asyncio
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from eval.benchmarks.reasoning import CRITERIA, RUBRIC
from eval.judging.judge import build_judge
from eval.types import JudgeRequest, Verdict
from reer.config import OpenAIBackendConfig, OpenAIJudgeConfig
from reer.errors import ModelError

REQUEST = JudgeRequest(id="a", query="", answer="A fox.", rubric=RUBRIC, criteria=RUBRIC.criteria, seed=2**40 + 5)
VERDICT = json.dumps({criterion.name: {"reason": "it says so", "score": 4} for criterion in CRITERIA})


class Server(ThreadingHTTPServer):
    """Answers every request with the same status and body, and keeps what it was asked."""

    status = 200
    body = ""
    kind = "application/json"
    refuses: dict[str, str] = {}
    """A key of the request -> the body of the error that it gets."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(asked)
        complaint = next((body for key, body in self.server.refuses.items() if key in asked), None)
        body = (complaint or self.server.body).encode()
        self.send_response(400 if complaint else self.server.status)
        self.send_header("Content-Type", self.server.kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the method overridden
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def completion(content: str | None, finish: str = "stop", refusal: str | None = None) -> str:
    message = {"role": "assistant", "content": content, "refusal": refusal}
    choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
    usage = {"prompt_tokens": 700, "completion_tokens": 90, "total_tokens": 790}
    head = {"id": "c", "object": "chat.completion", "created": 0, "model": "judge-2026-01-01"}
    return json.dumps(head | {"choices": [choice], "usage": usage})


def verdict_of(server: Server, *, cache: bool = False, query: str = "Tell me a fable.") -> Verdict:
    backend = OpenAIBackendConfig(
        model_name="judge", base_url=f"http://127.0.0.1:{server.server_port}/v1", max_retries=0, timeout=20
    )

    async def ask() -> Verdict:
        config = OpenAIJudgeConfig(backend=backend, max_tokens=300, temperature=0.5, cache=cache)
        return await build_judge(config, "openai:judge").judge(replace(REQUEST, query=query))

    return asyncio.run(ask())


def test_the_schema_is_sent_and_the_score_field_read(server: Server) -> None:
    server.body = completion(VERDICT)
    verdict = verdict_of(server)
    assert verdict.status == "ok"
    assert set(verdict.scores.values()) == {4.0}
    assert (verdict.usage.prefilled_tokens, verdict.usage.generated_tokens) == (700, 90)
    assert verdict.served_model == "judge-2026-01-01"
    [asked] = server.asked
    assert (asked["model"], asked["max_tokens"], asked["temperature"], asked["seed"]) == ("judge", 300, 0.5, 5)
    engine = {"top_k": -1, "min_p": 0, "repetition_penalty": 1}
    assert {"top_p": 1, **engine}.items() <= asked.items(), "a server's own settings would decide otherwise"
    form = asked["response_format"]
    assert form["type"] == "json_schema"
    assert form["json_schema"]["strict"] is True
    assert set(form["json_schema"]["schema"]["required"]) == {criterion.name for criterion in CRITERIA}
    assert [message["role"] for message in asked["messages"]] == ["user"]


@pytest.mark.parametrize(
    ("status", "body", "kind", "expected"),
    [
        (200, completion(None, refusal="I will not"), "application/json", "refused"),
        (200, completion("", finish="content_filter"), "application/json", "refused"),
        (200, completion(VERDICT, finish="length"), "application/json", "truncated"),
        (200, completion("Four out of five, I think."), "application/json", "parse_failed"),
        (200, completion(None), "application/json", "parse_failed"),
        (400, '{"error": {"message": "the prompt is too long"}}', "application/json", "api_error"),
        (500, "out of memory", "text/plain", "api_error"),
        (200, "<html>gateway</html>", "text/html", "api_error"),
        (200, "{not json", "application/json", "api_error"),
        (200, '{"choices": []}', "application/json", "api_error"),
    ],
)
def test_every_failure_has_its_status(server: Server, status: int, body: str, kind: str, expected: str) -> None:
    server.status, server.body, server.kind = status, body, kind
    verdict = verdict_of(server)
    assert (verdict.status, verdict.scores) == (expected, {})
    assert verdict.detail
    paid = expected != "api_error"
    assert verdict.usage.prefilled_tokens == (700 if paid else 0), "a refused reply is paid for too"


@pytest.mark.parametrize("status", [401, 404])
def test_a_key_or_model_that_the_server_does_not_know_ends_the_run(server: Server, status: int) -> None:
    server.status, server.body = status, json.dumps({"error": {"message": "no such thing"}})
    with pytest.raises(ModelError, match=r"judge cannot be asked: .*no such thing"):
        verdict_of(server)


def test_the_limit_goes_by_the_name_that_the_server_knows(server: Server) -> None:
    """Newer models of OpenAI refuse max_tokens."""
    complaint = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens'."
    server.refuses = {"max_tokens": json.dumps({"error": {"message": complaint}})}
    server.body = completion(VERDICT)
    assert verdict_of(server).status == "ok"
    assert [asked.get("max_completion_tokens") for asked in server.asked] == [None, 300]


@pytest.mark.parametrize("usage", [None, {"prompt_tokens": 700, "completion_tokens": None, "total_tokens": None}])
def test_usage_that_a_server_leaves_out_is_none(server: Server, usage: dict[str, Any] | None) -> None:
    server.body = json.dumps(json.loads(completion(VERDICT)) | {"usage": usage})
    verdict = verdict_of(server)
    assert (verdict.status, verdict.usage.calls, verdict.usage.generated_tokens) == ("ok", 1, 0)


def test_half_a_surrogate_pair_in_a_reply_is_replaced(server: Server) -> None:
    server.body = completion(None, refusal="x").replace('"refusal": "x"', '"refusal": "no \\ud83d"')
    assert verdict_of(server).detail == "no ?"


def test_no_server_at_all_is_an_api_error(server: Server) -> None:
    port = server.server_port
    backend = OpenAIBackendConfig(model_name="judge", base_url=f"http://127.0.0.1:{port + 1}/nothing", max_retries=0)

    async def ask() -> Verdict:
        return await build_judge(OpenAIJudgeConfig(backend=backend, cache=False), "openai:judge").judge(REQUEST)

    assert asyncio.run(ask()).status == "api_error"


@pytest.mark.parametrize(
    "complaint",
    ["'response_format' of type 'json_schema' is not supported", "guided decoding is not available on this server"],
)
def test_a_server_without_json_mode_is_one_sentence(server: Server, complaint: str) -> None:
    server.status, server.body = 400, json.dumps({"error": {"message": complaint}})
    with pytest.raises(ModelError, match=r"openai:judge cannot judge: its server has no JSON mode \(judge: Bad"):
        verdict_of(server)


def test_a_reply_is_remembered_and_its_second_use_makes_no_call(server: Server) -> None:
    server.body = completion(VERDICT)
    first, again = (verdict_of(server, cache=True, query="once only") for _ in range(2))
    assert len(server.asked) == 1
    assert (first.cached, again.cached) == (False, True)
    assert again.usage.calls == 0
    assert (again.status, again.scores, again.reasons) == ("ok", first.scores, first.reasons)
    verdict_of(server, cache=True, query="once more")
    assert len(server.asked) == 2, "another query is another question"


def test_an_unusable_reply_is_not_remembered(server: Server) -> None:
    server.body = completion("Four out of five.")
    for _ in range(2):
        assert verdict_of(server, cache=True, query="unusable").status == "parse_failed"
    assert len(server.asked) == 2


def test_tokens_that_the_server_had_in_its_cache_are_counted_apart(server: Server) -> None:
    body = json.loads(completion(VERDICT))
    body["usage"]["prompt_tokens_details"] = {"cached_tokens": 512}
    server.body = json.dumps(body)
    usage = verdict_of(server).usage
    assert (usage.prefilled_tokens, usage.reused_tokens, usage.generated_tokens) == (188, 512, 90)
