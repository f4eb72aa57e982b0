"""Scores from a server: a real HTTP server on this machine answers from the tiny model, in vLLM's form or SGLang's."""

import asyncio
import json
import math
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from transformers import AutoModelForCausalLM

from reer import launch
from reer.backend import server_scorer
from reer.backend.hf import HFScorer
from reer.backend.openai import TOLD
from reer.backend.server_scorer import PROBE, ServerScorer
from reer.config import HFBackendConfig, ModelConfig, OpenAIBackendConfig
from reer.errors import BackendError, ModelError
from reer.layout import Layout
from reer.types import ScoreRequest

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
        self.asked, self.keys, self.times = [], set(), []
        self.running = self.most = 0
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), Handler)

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
        status, headers, text = server.answer(self.path, body)
        with server.lock:  # before the reply: who has it may send the next request
            server.running -= 1
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(text.encode()))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def model(tiny_model):
    return AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()


@pytest.fixture
def server(model):
    with Server(model) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def exact(tiny_model):
    """The numbers to be met."""
    return HFScorer(HFBackendConfig(model=ModelConfig(path=str(tiny_model), dtype="float32", max_length=4096)))


@pytest.fixture(scope="module")
def requests(exact, pairs_of_texts):
    layout = Layout("think", exact.tokenizer)
    return [layout.encode(*texts).score_request() for texts in pairs_of_texts]


@pytest.fixture(scope="module")
def pairs_of_texts():
    return [
        ("Write of rain.", "I will begin with the sound.", "The rain came at dusk. Nobody ran."),
        ("写一句话。", "先想一想。", "月亮出来了，院子里很安静。"),
        ("Describe joy.", None, "It is a small dog 🐕 that hears the key."),
    ]


@pytest.fixture
def config(server, tiny_model):
    return OpenAIBackendConfig(
        model_name="tiny", base_url=server.url, tokenizer=str(tiny_model), max_retries=0, timeout=60, max_length=400
    )


def score(scorer, requests):
    return asyncio.run(scorer.score(requests))


def each(scorer, requests):
    """As the search has them in flight: what happens to one is its own affair."""

    async def run():
        return await asyncio.gather(*(scorer.score([request]) for request in requests), return_exceptions=True)

    return asyncio.run(run())


def same(scored, exact, requests):
    wanted = [asdict(result.score) for result in score(exact, requests)]
    assert [asdict(result.score) for result in scored] == [pytest.approx(score, abs=1e-4) for score in wanted]


def sent(body):
    return tuple(body.get("prompt") or body["input_ids"])


# golden


@pytest.mark.parametrize("form", FORMS)
def test_a_server_gives_the_numbers_of_a_plain_forward_of_the_very_ids(server, config, exact, requests, form):
    server.form = form
    scorer = ServerScorer(config)
    inner = ScoreRequest(tuple(range(40, 90)), 1, 30)  # begins with no special token, and goes on after its end
    asked = [*requests, inner, replace(inner, start=7), *(replace(r, skip=3, clip=5.9) for r in requests)]
    assert exact.tokenizer.hf.bos_token_id not in inner.ids
    server.asked.clear()
    found = score(scorer, asked)
    same(found, exact, asked)
    assert [result.score.objective is None for result in found] == [True] * 5 + [False] * 3
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
    monkeypatch.setattr(server_scorer, "PROBE", "Once upon a time there was a little")
    probe = exact.tokenizer.encode(server_scorer.PROBE)
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


def test_the_probe_is_written_on_from_and_then_scored(server, config, exact):
    ServerScorer(config)
    probe = exact.tokenizer.encode(PROBE)
    assert [ids[: len(probe)] for ids in map(sent, server.asked)] == [probe, probe]
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
        (HTML, 1, "the reply lacks log-probabilities of the given text"),
        ((200, JSON, "{"), 1, "the reply lacks log-probabilities of the given text"),
        (lacking, 1, "the reply lacks log-probabilities of the given text"),
        (null, 1, "the reply lacks log-probabilities of the given text"),
        (nan, 1, "a log-probability that is no number"),
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


def test_what_is_too_long_is_not_sent(server, config, exact, requests):
    limit = requests[0].end
    scorer = ServerScorer(replace(config, max_length=limit))
    server.asked.clear()
    longer = replace(requests[0], ids=(*requests[0].ids, 81), end=limit + 1)
    fits = replace(longer, end=limit)  # what follows its end is not sent
    error, found = each(scorer, [longer, fits])
    assert isinstance(error, BackendError)
    assert str(error) == f"{limit + 1} tokens exceed max_length={limit}"
    same(found, exact, [fits])
    assert [sent(body) for body in server.asked] == [requests[0].ids]


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
    assert isinstance(error, BackendError)
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
               "scorer.max_retries=0", "data.path=pairs.jsonl", "search.max_steps=1"]  # fmt: skip
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
