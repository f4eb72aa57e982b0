"""A real HTTP server that scores with the tiny model, in vLLM's form or SGLang's, and fails where it is told to."""

import asyncio
import json
import threading
import time
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

JSON = {"Content-Type": "application/json"}
HTML = (200, {"Content-Type": "text/html"}, "<html>gateway</html>")
NOT_FOUND = (404, JSON, '{"detail": "Not Found"}')
BROKEN = (500, JSON | {"retry-after-ms": "10"}, '{"error": {"message": "out of memory"}}')
TOO_LONG = (400, JSON, '{"error": {"message": "maximum context length is 8 tokens"}}')
FORMS = {"vllm": "/v1/completions", "sglang": "/generate"}


class Server(ThreadingHTTPServer):
    """Numbers come from a plain forward of the model, one request at a time; faults are put in by the tests."""

    request_queue_size = 64

    def __init__(self, model):
        self.model = model
        self.form = "vllm"
        self.spoil = lambda pairs: pairs  # (id, log-probability) of every given token
        self.edit = lambda choice: choice  # the finished reply to a request for scores
        self.instead = lambda ids: None  # a reply of another kind
        self.before = lambda: None
        self.drip = None
        self.listed = None  # the reply to GET /v1/models
        self.asked, self.keys, self.times = [], set(), []
        self.running = self.most = 0
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), Handler)

    def handle_error(self, request, client_address):
        """Whoever asked has gone."""

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"

    def answer(self, path, body):
        """Status, headers and text."""
        ids = body.get("prompt") or body.get("input_ids")
        with self.lock:
            self.asked.append(body)
            self.times.append(time.monotonic())
            if other := self.instead(tuple(ids)):
                return other
            if path != FORMS[self.form]:
                return NOT_FOUND
            reply = self.completion(ids, body) if self.form == "vllm" else self.generated(ids, body)
        return 200, JSON, json.dumps(reply)

    def completion(self, ids, body):
        """vLLM's form: token ids instead of texts only where they are asked for."""
        assert body["temperature"] == 0
        written = self.write(ids, body["max_tokens"])
        choice = {"index": 0, "text": "", "finish_reason": "length", "logprobs": None, "prompt_logprobs": None}
        if body.get("logprobs") is not None:
            plain = "{}" if body.get("return_tokens_as_token_ids") else "a{}"
            tokens = [plain.format(f"token_id:{token}") for token, _ in written]
            choice["logprobs"] = {"tokens": tokens, "token_logprobs": [logprob for _, logprob in written]}
        if body.get("prompt_logprobs") is not None:
            choice["prompt_logprobs"] = [
                logprob if logprob is None else {token: {"logprob": logprob, "rank": 1, "decoded_token": "?"}}
                for token, logprob in self.spoil(self.given(ids))
            ]
            choice = self.edit(choice)
        return {"object": "text_completion", "model": "tiny", "choices": [choice]}

    def generated(self, ids, body):
        """SGLang's form: given tokens from `logprob_start_len` on, the first of them without a number."""
        assert body["return_logprob"]
        assert body["sampling_params"]["temperature"] == 0
        written = self.write(ids, body["sampling_params"]["max_new_tokens"])
        meta = {"output_token_logprobs": [[logprob, token, None] for token, logprob in written]}
        if "logprob_start_len" not in body:
            return {"text": "", "meta_info": meta | {"input_token_logprobs": []}}
        pairs = self.spoil(self.given(ids))[body["logprob_start_len"] :]
        entries = [[None if n == 0 else logprob, token, None] for n, (token, logprob) in enumerate(pairs)]
        return {"text": "", "meta_info": self.edit(meta | {"input_token_logprobs": entries})}

    def given(self, ids):
        rows = self.forward(ids)
        return [(ids[0], None), *((token, rows[n, token].item()) for n, token in enumerate(ids[1:]))]

    def write(self, ids, n):
        written = []
        for _ in range(n):
            logprob, token = self.forward([*ids, *(token for token, _ in written)])[-1].max(0)
            written.append((token.item(), logprob.item()))
        return written

    def forward(self, ids):
        with torch.inference_mode():
            return self.model(torch.tensor([ids])).logits[0].log_softmax(-1)


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.keys.add(self.headers["Authorization"])
            server.running += 1
            server.most = max(server.most, server.running)
        server.before()
        reply = server.answer(self.path, body)
        with server.lock:  # before the reply: who has it may send the next request
            server.running -= 1
        self.reply(*reply)

    def do_GET(self):
        listed = self.server.listed
        self.reply(*(NOT_FOUND if listed is None else (200, JSON, json.dumps(listed))))

    def reply(self, status, headers, text):
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(text.encode()))}).items():
            self.send_header(name, value)
        self.end_headers()
        data, drip = text.encode(), self.server.drip
        for n in range(0, len(data), len(data) if drip is None else 1):
            self.wfile.write(data if drip is None else data[n : n + 1])
            if drip is not None:
                drip.wait(0.05)

    def log_message(self, *args):
        pass


def score(scorer, requests):
    return asyncio.run(scorer.score(requests))


def each(scorer, requests):
    """As the search has them in flight: what happens to one is its own affair."""

    async def run():
        return await asyncio.gather(*(scorer.score([request]) for request in requests), return_exceptions=True)

    return asyncio.run(run())


def same(scored, exact, requests):
    """Number by number, the parts of a span among them."""
    found, wanted = ([flat(asdict(one.score)) for one in results] for results in (scored, score(exact, requests)))
    assert found == [pytest.approx(numbers, abs=1e-4) for numbers in wanted]


def flat(numbers):
    return numbers | {"parts": None, **{f"part {n}": nats for n, nats in enumerate(numbers["parts"])}}


def sent(body):
    return tuple(body.get("prompt") or body["input_ids"])


# golden
