"""The scoring server, and exact numbers to hold it against."""

import threading

import pytest
import torch
from scoring_server import Server
from transformers import AutoModelForCausalLM

from reer.backend.hf import HFScorer
from reer.config import HFBackendConfig, ModelConfig, OpenAIBackendConfig
from reer.layout import Layout


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
