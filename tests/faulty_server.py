"""A server in vLLM's form that writes and scores the same on every attempt, and does to a request what it is told to:
every fault that a server or the network in front of it has. Its model is a table of bigrams, so that what it writes is
as likely as it says."""

import email.utils
import hashlib
import json
import socket
import struct
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

JSON = {"Content-Type": "application/json"}
BREAK = 0.05
"""Seconds between the bytes of a body that drips."""


def digest(*parts):
    return int.from_bytes(hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).digest()[:8], "big")


# faults of the way there and back: (handler, reply) -> None, where a reply is (status, headers, bytes)


def error(status, **headers):
    def fault(handler, reply):
        handler.send(status, JSON | headers, b'{"error": {"message": "put in by the test"}}')

    return fault


def retry_at(seconds):
    def fault(handler, reply):
        date = email.utils.formatdate(time.time() + seconds, usegmt=True)
        error(429, **{"Retry-After": date})(handler, reply)

    return fault


def repeating_the_key(handler, reply):
    said = json.dumps({"error": {"message": f"who is {handler.headers['Authorization']}?"}})
    handler.send(500, JSON, said.encode())


def reset_before(handler, reply):
    handler.reset()


def reset_inside(handler, reply):
    status, headers, data = reply
    handler.send(status, headers, data[: len(data) // 2], length=len(data))
    handler.reset()


def cut_short(handler, reply):
    """Promises more than comes."""
    status, headers, data = reply
    handler.send(status, headers, data, length=len(data) + 100)
    handler.close_connection = True


def longer(handler, reply):
    """Sends more than it promised: the JSON ends too early."""
    status, headers, data = reply
    handler.send(status, headers, data, length=len(data) - 9)
    handler.close_connection = True


def truncated(handler, reply):
    handler.send(200, JSON, reply[2][: len(reply[2]) // 2])


def slow(handler, reply):
    time.sleep(0.3)
    handler.send(*reply)


def dripping(handler, reply):
    """Slower than any deadline of a whole reply, faster than any of a read."""
    status, headers, data = reply
    handler.send(status, headers, b"", length=len(data))
    for n in range(len(data)):
        handler.wfile.write(data[n : n + 1])
        if handler.server.over.wait(BREAK):
            return


PASSING = {
    "429 with seconds": error(429, **{"Retry-After": "1"}),
    "429 with a date": retry_at(2),
    "429 alone": error(429),
    "429 above 120 s": error(429, **{"Retry-After": "121"}),
    "500": error(500),
    "500 that repeats the key": repeating_the_key,
    "502": error(502),
    "503": error(503),
    "reset before the body": reset_before,
    "reset inside the body": reset_inside,
    "cut short": cut_short,
    "slow": slow,
    "dripping": dripping,
}
"""After which the same request is answered: nothing of them may be seen in what a run writes."""


def instead(reply):
    return lambda handler, _: handler.send(200, JSON, json.dumps(reply).encode())


def edited(edit):
    """A reply with something else in it, where it is what the edit is for."""

    def fault(handler, reply):
        status, headers, data = reply
        handler.send(status, headers, json.dumps(edit(json.loads(data))).encode())

    return fault


def said(text):
    def edit(reply):
        for choice in reply["choices"]:
            choice["message"] = {"role": "assistant", "content": text}
        return reply

    return edited(edit)


def rows(change):
    """Of the log-probabilities, changed as a list."""

    def edit(reply):
        for choice in reply["choices"]:
            choice["prompt_logprobs"] = change(choice["prompt_logprobs"])
        return reply

    return edited(edit)


def number(value):
    def change(entries):
        *before, last = entries
        return [*before, {token: entry | {"logprob": value} for token, entry in last.items()}]

    return rows(change)


ODD = {
    "truncated JSON": truncated,
    "wrong length": longer,
    "200 with an error": instead({"error": {"message": "upstream timed out", "code": 524}}),
    "no choices": instead({"choices": []}),
    "HTML": lambda handler, _: handler.send(200, {"Content-Type": "text/html"}, b"<html>gateway</html>"),
}
"""Replies called a success that are none."""
OF_TEXTS = {
    "null message": edited(
        lambda reply: reply | {"choices": [{"index": 0, "finish_reason": "stop", "message": None}]}
    ),
    "empty text": said(""),
    "unclosed tags": said("<analyze>Missing.</analyze><refine>\nI want ra"),
    "10 MB of text": said("I will write of rain. " * 480_000),
}
OF_SCORES = {
    "NaN": number(float("nan")),
    "None": number(None),
    "-9999": number(-9999.0),
    "off by one": rows(lambda entries: [None, *entries[2:], entries[-1]]),
    "one short": rows(lambda entries: entries[:-1]),
    "stale rows": rows(lambda entries: [None, *({"1": {"logprob": -1.0}} for _ in entries[1:])]),
}


class FaultyServer(ThreadingHTTPServer):
    """`fault(role, key, attempt)` names what is done to a request, or nothing.

    Nothing is done before the first text is drawn. `role` is "write" or "score", `key` a number of the request
    itself, `attempt` how often it came (from 0).
    """

    request_queue_size = 256
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, vocabulary=400, port=0):
        logits = np.random.default_rng(0).normal(0, 2, (vocabulary, vocabulary))
        self.table = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        self.fault = lambda role, key, attempt: None
        self.over = threading.Event()
        self.lock = threading.Lock()
        self.attempts, self.done = Counter(), Counter()
        self.latency = 0.0
        self.began = False
        """Whether the trials at the start are over: they refuse a server that has any of these faults then."""
        super().__init__(("127.0.0.1", port), Handler)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"

    def anew(self):
        """For the next run: nothing has been asked."""
        self.attempts.clear()
        self.began = False

    def handle_error(self, request, client_address):
        """Whoever asked has gone, or was to believe so."""

    def chosen(self, role, body):
        """What is done to this request."""
        key = digest(body.get("messages") or body["prompt"], body.get("seed", 0), body.get("n", 1))
        probe = str(body.get("messages", [{"content": ""}])[0]["content"]).startswith(("Invent", "Copy this"))
        with self.lock:
            attempt, self.attempts[role, key] = self.attempts[role, key], self.attempts[role, key] + 1
        name = self.fault(role, key, attempt) if self.began and not probe else None
        with self.lock:
            self.began = self.began or (role == "write" and not probe)
            self.done[name] += 1
        return name

    def written(self, body):
        """A chat completion: what is said hangs on the request alone."""
        shown = body["messages"][-1]["content"]
        choices = [
            {"index": n, "finish_reason": "stop", "message": {"role": "assistant", "content": plan(shown, word)}}
            for n in range(body.get("n", 1))
            for word in [WORDS[digest(body["messages"], body.get("seed", 0), n) % len(WORDS)]]
        ]
        return {"object": "chat.completion", "model": "m", "choices": choices,
                "usage": {"prompt_tokens": 10, "completion_tokens": 12}}  # fmt: skip

    def scored(self, body):
        """A completion with the log-probabilities of the prompt."""
        ids, written = body["prompt"], []
        for _ in range(body["max_tokens"]):
            token = int(self.table[([*ids, *written])[-1]].argmax())
            written.append(token)
        chain = self.table[[*ids, *written][:-1], [*ids, *written][1:]].tolist()
        choice = {"index": 0, "text": "", "finish_reason": "length", "logprobs": None, "prompt_logprobs": None}
        if body.get("logprobs") is not None:
            tokens = [f"token_id:{token}" for token in written]
            choice["logprobs"] = {"tokens": tokens, "token_logprobs": chain[len(ids) - 1 :]}
        if body.get("prompt_logprobs") is not None:
            pairs = zip(ids[1:], chain, strict=False)
            choice["prompt_logprobs"] = [None, *({str(token): {"logprob": value}} for token, value in pairs)]
        return {"object": "text_completion", "model": "m", "choices": [choice]}


WORDS = [f"{first}{last}" for first in ("rain", "wind", "sand", "salt", "corn", "moss") for last in "aeioubdklmnprst"]


def plan(shown, word):
    if "<refine>" in shown:
        rewritten = f"I want {word} here, and as much of {word} as the page will take before it is full."
        return f"<think>\nA rewrite.\n</think>\n\n<analyze>No.</analyze>\n<refine>\n{rewritten}\n</refine>\n"
    parts = [f"In part {n} I turn to {word}, slowly, and then I leave {word} for good." for n in range(5)]
    return "<think>\n" + "\n\n".join(parts) + "\n</think>\n\nRain fell."


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        role = "write" if self.path.endswith("/chat/completions") else "score"
        name = self.server.chosen(role, body)
        if self.server.latency:
            time.sleep(self.server.latency)
        made = self.server.written(body) if role == "write" else self.server.scored(body)
        fault = {**PASSING, **ODD, **OF_TEXTS, **OF_SCORES}.get(name, lambda handler, reply: handler.send(*reply))
        fault(self, (200, JSON, json.dumps(made).encode()))

    def do_GET(self):
        self.send(404, JSON, b'{"detail": "Not Found"}')

    def send(self, status, headers, data, length=None):
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(data) if length is None else length)}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def reset(self):
        """End the connection as a crash does, not as a goodbye."""
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def finish(self):
        with suppress(OSError, ValueError):
            super().finish()

    def log_message(self, *args):
        pass


@contextmanager
def running(port=0, **settings):
    with FaultyServer(port=port) as server:
        for name, value in settings.items():
            setattr(server, name, value)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()
            thread.join()


def first_attempts(names, share=1.0):
    """A share of the requests, chosen by their content, goes wrong at the first attempt, in all these ways."""
    names = list(names)

    def fault(role, key, attempt):
        if attempt or key % 1000 >= 1000 * share:
            return None
        return names[key // 1000 % len(names)]

    return fault
