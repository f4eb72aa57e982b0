"""A real chat server on this machine that answers as many real ones do, each kind by its name, and keeps what it was
asked. Texts are made up from the request and the number of the reply, so that no two are the same."""

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from reer.backend.server.chat import OpenAIGenerator
from reer.config import OpenAIBackendConfig
from reer.types import GenerateRequest, Message

JSON = {"Content-Type": "application/json"}
PROTOCOL = {"model", "messages", "max_tokens", "temperature", "top_p", "seed", "stop", "n", "response_format"}
"""What a plain chat API knows."""


def told(status, message, **more):
    """An error in OpenAI's form."""
    return status, JSON, json.dumps({"error": {"message": message, **more}})


def completion(*messages, finish="stop", usage=(10, 12)):
    choices = [{"index": n, "message": m, "finish_reason": finish} for n, m in enumerate(messages)]
    used = {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}
    head = {"id": "c", "object": "chat.completion", "created": 0, "model": "m-2026"}
    return 200, JSON, json.dumps(head | {"choices": choices, "usage": used})


def says(content, **more):
    return {"role": "assistant", "content": content, **more}


ODD = {
    "null message": completion(None),
    "content null": completion(says(None)),
    "no choices": (200, JSON, '{"choices": []}'),
    "choices null": (200, JSON, '{"choices": null, "usage": null}'),
    "a choice that is none": (200, JSON, '{"choices": ["?"]}'),
    "error with 200": (200, JSON, '{"error": {"message": "upstream timed out", "code": 524}}'),
    "broken JSON": (200, JSON, '{"choices": [{"mess'),
    "a list": (200, JSON, "[]"),
    "a number": (200, JSON, "7"),
    "HTML": (200, {"Content-Type": "text/html"}, "<html>gateway</html>"),
    "filter": completion(says(""), finish="content_filter"),
    "filter in capitals": completion(None, finish="PROHIBITED_CONTENT"),
    "refusal": completion(says(None, refusal="I will not")),
    "filter as an error": told(400, "The prompt triggered the content management policy", code="content_filter"),
    "abort": completion(says("Rain fell on"), finish="abort"),
    "error": completion(says(""), finish="error"),
    "tool call": completion(says(None, tool_calls=[{"id": "t"}]), finish="tool_calls"),
}
"""Replies without a text."""
USABLE_OR_EMPTY = {
    "parts": completion(says([{"type": "text", "text": "<think>\nI plan the rain.\n</think>"}])),
    "empty": completion(says("")),
    "unclosed": completion(says("<analyze>Missing.</analyze><refine>\nI want ra")),
}


class ChatServer(ThreadingHTTPServer):
    """`instead(body)` may give another reply; `kind` says what else the server does."""

    request_queue_size = 64
    daemon_threads = True

    def __init__(self, kind="plain", port=0):
        self.kind, self.asked, self.times = kind, [], []
        self.instead = lambda body: None
        self.drip = None
        self.lock = threading.Lock()
        self.listed = None  # the reply to GET /v1/models
        super().__init__(("127.0.0.1", port), Handler)

    def handle_error(self, request, client_address):
        """Whoever asked has gone."""

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"

    @property
    def drawn(self):
        """The requests that are no probes."""
        return [body for body in self.asked if not body["messages"][0]["content"].startswith(("Invent", "Copy this"))]

    def answer(self, body):
        with self.lock:
            self.asked.append(body)
            self.times.append(time.monotonic())
            number = len(self.asked)
        return self.instead(body) or getattr(self, self.kind)(body, number)

    def plain(self, body, number):
        """Starts a turn of its own whatever the last one is, with thinking of its own."""
        return completion(*(says(plan(body, f"{number}.{n}")) for n in range(body.get("n", 1))))

    def strict(self, body, number):
        """Knows the protocol and nothing else."""
        if unknown := sorted(body.keys() - PROTOCOL):
            return told(400, f"Unrecognized request arguments supplied: {', '.join(unknown)}")
        return self.plain(body, number)

    def vague(self, body, number):
        """Does not say what it refuses."""
        return told(400, "Bad request") if body.keys() - (PROTOCOL - {"seed"}) else self.plain(body, number)

    def one_by_one(self, body, number):
        """Takes `n`, and replies once."""
        return self.plain(body | {"n": 1}, number)

    def engine(self, body, number):
        """Continues a begun turn, as vLLM does."""
        if body.get("continue_final_message") and body.get("add_generation_prompt"):
            return told(400, "Cannot set both `continue_final_message` and `add_generation_prompt` to True.")
        if not body.get("continue_final_message"):
            return self.plain(body, number)
        [*_, last] = body["messages"]
        if last["content"] == "alpha bravo charlie":
            return completion(says(" delta echo foxtrot"))
        return completion(*(says(f" the rain {number}.{n}.\n") for n in range(body.get("n", 1))))

    def beside(self, body, number):
        """Puts thinking beside the text, as behind a parser of thinking."""
        return completion(says("\n\nRain fell.", reasoning_content=f"I plan the rain {number}."))


def plan(body, number):
    """What a model without any manners makes of a prompt of the search."""
    shown = body["messages"][-1]["content"]
    if "<refine>" in shown:
        return f"<think>\nA rewrite.\n</think>\n\n<analyze>No.</analyze>\n<refine>\nI want rain {number}.\n</refine>\n"
    return f"<think>\nI begin with rain {number}.\n\nThen I want wind {number}.\n</think>\n\nRain fell."


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        status, headers, text = self.server.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        data = text.encode()
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(data))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.server.drip is None:
            self.wfile.write(data)
        else:
            self._drip(data)

    def do_GET(self):
        if self.server.listed is None:
            self.send_error(404)
            return
        data = json.dumps(self.server.listed).encode()
        self.send_response(200)
        for name, value in (JSON | {"Content-Length": str(len(data))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _drip(self, data):
        for n in range(len(data)):
            self.wfile.write(data[n : n + 1])
            self.server.drip.wait(0.05)

    def log_message(self, *args):
        pass


@contextmanager
def running(kind="plain"):
    with ChatServer(kind) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def config_of(server, **changes):
    settings = {"max_retries": 0, "timeout": 30, "model_name": f"m{server.server_port}"} | changes
    return OpenAIBackendConfig(base_url=server.url, **settings)


def generator_of(server, **changes):
    return OpenAIGenerator(config_of(server, **changes))


def asking(*seeds, content="Plan it.", **changes):
    return GenerateRequest(
        messages=(Message("user", content),), seeds=seeds or (1,), max_tokens=50, **{"temperature": 0.8} | changes
    )
