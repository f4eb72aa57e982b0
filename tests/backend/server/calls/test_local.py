"""Proxies named in the environment: a server on this machine is asked directly, any other one through them."""

import asyncio
import threading
from dataclasses import replace

import pytest
from scoring_server import JSON, Server, score

from reer.backend.server.calls.local import is_local, past_proxies
from reer.backend.server.chat import OpenAIGenerator
from reer.backend.server.scorer import ServerScorer
from reer.config import OpenAIBackendConfig
from reer.errors import BackendError, ConfigError
from reer.types import GenerateRequest, Message

NAMES = ("http_proxy", "https_proxy", "all_proxy")


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in (*NAMES, "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def dead():
    """An address of this machine where nobody listens."""
    with Server(None) as server:
        return server.url.removesuffix("/v1")


def ask(url):
    config = OpenAIBackendConfig(model_name="tiny", base_url=url, max_retries=0, timeout=20)
    request = GenerateRequest(messages=(Message("user", "?"),), seeds=(1,), max_tokens=1)
    return asyncio.run(OpenAIGenerator(config).generate([request]))


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_dead_proxy_is_not_in_the_way_to_this_machine(server, config, requests, monkeypatch, dead, name, host):
    monkeypatch.setenv(name, dead)
    config = replace(config, base_url=server.url.replace("127.0.0.1", host))
    [found] = score(ServerScorer(config), requests[:1])
    assert found.score.tokens > 0
    server.answer = lambda path, body: (500, JSON, '{"error": {"message": "asked directly"}}')
    with pytest.raises(BackendError, match="asked directly"):
        ask(config.base_url)


@pytest.mark.parametrize("scheme", ["socks5", "socks"])
def test_nor_is_a_proxy_of_a_kind_that_the_client_cannot_take(server, config, requests, monkeypatch, scheme):
    monkeypatch.setenv("ALL_PROXY", f"{scheme}://127.0.0.1:9")
    score(ServerScorer(config), requests[:1])
    with pytest.raises(ConfigError, match=r"^all_proxy in the environment names a SOCKS proxy"):
        past_proxies(replace(config, base_url="http://api.example.com/v1"))


def test_any_other_server_is_asked_through_the_proxy(model, monkeypatch):
    seen = []
    with Server(model) as proxy:
        told = (500, JSON, '{"error": {"message": "asked through the proxy"}}')
        proxy.answer = lambda path, body: (seen.append(path), told)[1]
        thread = threading.Thread(target=proxy.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setenv("http_proxy", proxy.url.removesuffix("/v1"))
        with pytest.raises(BackendError, match="asked through the proxy"):
            ask("http://model.example/v1")
        proxy.shutdown()
        thread.join()
    assert seen[0] == "http://model.example/v1/chat/completions"


@pytest.mark.parametrize(
    ("host", "local"),
    [("localhost", True), ("gpu.localhost", True), ("127.8.0.1", True), ("::1", True), ("0.0.0.0", True),
     ("10.0.0.1", False), ("notlocalhost", False), ("localhost.example.com", False), ("", False)],
)  # fmt: skip
def test_what_is_this_machine(host, local):
    assert is_local(host) == local


def test_the_environments_address_counts_as_well(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://proxy.example:8080")
    config = OpenAIBackendConfig(model_name="tiny")
    assert past_proxies(config) == {}
    monkeypatch.setenv("OPENAI_BASE_URL", "http://[::1]:8000/v1")
    assert past_proxies(config) == {"trust_env": False}
    monkeypatch.delenv("http_proxy")
    assert past_proxies(config) == {}
