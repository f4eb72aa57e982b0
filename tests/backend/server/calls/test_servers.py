"""Several servers of one model: they share the work, and one that is down is missed by nobody."""

import asyncio
import json
import threading
import time

import pytest
from chat_server import JSON, ChatServer, asking, completion, running, says, told
from scoring_server import Server, same, score

from reer.backend.server import abilities
from reer.backend.server.calls import patience, servers
from reer.backend.server.chat import OpenAIGenerator
from reer.backend.server.scorer import ServerScorer
from reer.config import OpenAIBackendConfig
from reer.errors import BackendError, ConfigError, ModelError


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(patience, "BACK_OFF", 0.01)
    monkeypatch.setattr(servers, "REST", 0.2)
    abilities._known.cache_clear()


def by_seed(body):
    """The same reply, whichever server is asked."""
    return completion(*[says(f"seed {body.get('seed')}")] * body.get("n", 1))


@pytest.fixture
def two():
    with running() as a, running() as b:
        a.instead = b.instead = by_seed
        yield a, b


@pytest.fixture
def gone():
    """A server that does not listen; `back` starts it at its address."""

    class Gone:
        def __init__(self):
            with ChatServer() as server:
                self.port, self.url = server.server_port, server.url

        def back(self, instead=by_seed):
            self.server = ChatServer(port=self.port)
            self.server.instead = instead
            self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
            self.thread.start()
            return self.server

        def stop(self):
            if hasattr(self, "server"):
                self.server.shutdown()
                self.thread.join()
                self.server.server_close()

    one = Gone()
    yield one
    one.stop()


def generator_of(*urls, **changes):
    settings = {"max_retries": 0, "timeout": 30, "model_name": "m", "concurrency": 4} | changes
    return OpenAIGenerator(OpenAIBackendConfig(base_url=list(urls), **settings))


def draw(generator, *seeds):
    return [one.text for [one] in asyncio.run(generator.generate([asking(seed) for seed in seeds]))]


SEEDS = range(40)
WANTED = [f"seed {seed}" for seed in SEEDS]


def test_they_share_the_work(two):
    a, b = two
    assert draw(generator_of(a.url, b.url), *SEEDS) == WANTED
    assert len(a.drawn) + len(b.drawn) == 40
    assert min(len(a.drawn), len(b.drawn)) > 5


def test_one_that_is_down_from_the_start_is_told_once_and_the_other_does_its_work(two, gone, capsys):
    a, _ = two
    assert draw(generator_of(gone.url, a.url), *SEEDS) == WANTED
    assert len(a.drawn) == 40
    said = capsys.readouterr().err
    assert said.count(f"m at {gone.url} cannot be asked: APIConnectionError") == 1
    assert "the others do its work until it is back" in said


def test_one_that_comes_back_takes_part_again(two, gone, capsys):
    a, _ = two
    generator = generator_of(gone.url, a.url)
    draw(generator, *SEEDS)
    server = gone.back()
    time.sleep(0.25)
    assert draw(generator, *SEEDS) == WANTED
    assert server.drawn
    assert f"{gone.url} is back" in capsys.readouterr().err


def test_one_that_comes_back_as_another_model_is_left_out(two, gone, capsys):
    a, _ = two
    generator = generator_of(gone.url, a.url)
    draw(generator, *SEEDS)
    server = gone.back(lambda body: told(404, "The model `m` does not exist"))
    time.sleep(0.25)
    assert draw(generator, *SEEDS) == WANTED
    assert not server.drawn
    assert "The model `m` does not exist" in capsys.readouterr().err
    assert [one.barred for one in generator._connection.servers.all] == [True, False]


def test_one_that_fails_on_the_way_costs_no_request(two):
    a, b = two
    a.instead = lambda body: told(500, "out of memory") if len(a.drawn) > 5 else by_seed(body)
    assert draw(generator_of(a.url, b.url), *SEEDS) == WANTED
    assert len(a.drawn) < 30, "what fails three times in a row is left alone for a while"


def test_one_that_is_busy_is_left_alone_as_long_as_it_wants(two):
    a, b = two
    busy = (429, JSON | {"Retry-After": "300"}, json.dumps({"error": {"message": "slow down"}}))
    a.instead = lambda body: busy if body["messages"][0]["content"] == "Plan it." else by_seed(body)
    generator = generator_of(a.url, b.url)
    for _ in range(3):
        assert draw(generator, *SEEDS) == WANTED
    assert len(a.drawn) <= 4, "as many as were in flight"


def test_when_all_are_down_a_request_fails_as_with_one(two):
    a, b = two
    generator = generator_of(a.url, b.url, max_retries=1)
    draw(generator, 1)
    a.instead = b.instead = lambda body: told(500, "out of memory")
    with pytest.raises(BackendError, match="out of memory"):
        draw(generator, 2)
    assert [len(a.drawn) + len(b.drawn)] == [5], "each of them, twice"


def test_servers_that_are_asked_in_two_ways_cannot_share(two):
    a, _ = two
    refused = pytest.raises(ModelError, match=r"continues a begun turn.* continues no begun turn.*cannot share")
    with running("engine") as engine, refused:
        draw(generator_of(a.url, engine.url), 1)


def test_servers_of_two_models_under_one_name_cannot_share(two):
    a, b = two
    a.listed, b.listed = ({"data": [{"id": "m", "root": f"Qwen/Qwen3-{size}B"}]} for size in (8, 4))
    with pytest.raises(ModelError, match=r"serves Qwen/Qwen3-4B, and .*Qwen/Qwen3-8B: they cannot share the work"):
        draw(generator_of(a.url, b.url), 1)


@pytest.mark.parametrize("urls", [[], ["ftp://a/v1"], ["http://a/v1", "http://a/v1"], ["http://a/v1", None], 7])
def test_what_is_no_list_of_addresses_is_one_sentence(urls):
    with pytest.raises(ConfigError, match="base_url="):
        OpenAIGenerator(OpenAIBackendConfig(model_name="m", base_url=urls))


def test_a_run_of_failures_ends_the_run_and_a_success_between_them_does_not(two):
    a, _ = two
    generator = generator_of(a.url, max_failures=3)
    draw(generator, 0)
    bad = {1, 2, 4, 5}
    a.instead = lambda body: told(500, "out of memory") if body["seed"] in bad else by_seed(body)
    for seed in range(7):
        if seed in bad:
            with pytest.raises(BackendError):
                draw(generator, seed)
        else:
            draw(generator, seed)
    bad |= {7, 8, 9}
    for seed in (7, 8):
        with pytest.raises(BackendError):
            draw(generator, seed)
    with pytest.raises(ModelError, match=r"3 requests in a row have failed, .*out of memory; nothing is lost"):
        draw(generator, 9)


def test_odd_replies_alone_end_the_run_as_well(two):
    a, _ = two
    generator = generator_of(a.url, max_failures=2)
    draw(generator, 0)
    a.instead = lambda body: (200, {"Content-Type": "text/html"}, "<html>gateway</html>")
    asyncio.run(generator.generate([asking(1)]))
    with pytest.raises(ModelError, match=r"2 requests in a row have failed, .*no_json: <html>gateway"):
        asyncio.run(generator.generate([asking(2)]))


# that score


@pytest.fixture
def other(model):
    with Server(model) as second:
        thread = threading.Thread(target=second.serve_forever, args=(0.01,))
        thread.start()
        yield second
        second.shutdown()
        thread.join()


def both(config, *running_):
    return OpenAIBackendConfig(**{**vars(config), "base_url": [one.url for one in running_], "concurrency": 1})


def test_scores_do_not_depend_on_which_server_gave_them(server, other, config, exact, requests):
    scorer = ServerScorer(both(config, server, other))
    server.asked.clear()
    other.asked.clear()
    same(score(scorer, requests * 3), exact, requests * 3)
    assert len(server.asked) + len(other.asked) == 9
    assert min(len(server.asked), len(other.asked)) > 1


def test_a_dead_scorer_costs_nothing(server, config, exact, requests, gone, capsys):
    scorer = ServerScorer(both(config, gone, server))
    same(score(scorer, requests), exact, requests)
    assert f"the server at {gone.url} cannot score" in capsys.readouterr().err


def test_servers_whose_numbers_differ_cannot_share(server, other, config):
    forward = other.forward
    other.forward = lambda ids: (forward(ids) * 6).log_softmax(-1)  # another model, sound by itself
    with pytest.raises(ModelError, match=r"score the same text \d\.\d\d nats per token apart"):
        ServerScorer(both(config, server, other))


def test_servers_of_two_kinds_cannot_share(server, other, config):
    other.form = "sglang"
    with pytest.raises(ModelError, match=r"speaks SGLang's /generate, and .* vLLM's prompt_logprobs"):
        ServerScorer(both(config, server, other))


def test_a_score_that_only_drips_ends_in_time(server, config, requests):
    scorer = ServerScorer(OpenAIBackendConfig(**{**vars(config), "timeout": 0.5, "max_retries": 0}))
    server.drip = threading.Event()
    started = time.monotonic()
    with pytest.raises(BackendError, match=r"tiny: no whole reply in 0.5 s"):
        score(scorer, requests[:1])
    server.drip.set()
    assert time.monotonic() - started < 20  # a byte every 50 ms: no read of it takes half a second
