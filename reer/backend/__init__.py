"""Engines behind the protocols of `reer.types`, built from config. Each is imported only when it is chosen."""

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from reer.backend.batching import WORKER
from reer.config import BackendConfig, FakeBackendConfig, HFBackendConfig, OpenAIBackendConfig, VLLMBackendConfig
from reer.errors import ConfigError, ModelError
from reer.types import Generator, Scorer

log = logging.getLogger(__name__)


def build_generator(config: BackendConfig) -> Generator:
    """The engine that writes texts."""
    if isinstance(config, HFBackendConfig):
        return _hf_generator(config)
    if isinstance(config, OpenAIBackendConfig):
        from reer.backend.server.chat import OpenAIGenerator

        return OpenAIGenerator(config)
    if isinstance(config, VLLMBackendConfig):
        from reer.backend.vllm import VLLMGenerator

        return VLLMGenerator(config)
    if isinstance(config, FakeBackendConfig):
        from reer.backend.fake import FakeGenerator

        return FakeGenerator(config)
    raise ConfigError(f"backend.kind={config.kind} is unknown")


def build_scorer(config: BackendConfig, worker: ThreadPoolExecutor = WORKER) -> Scorer:
    """The engine that scores given token ids; where its model runs in this process, in the worker's thread.

    Raises:
        ConfigError: this engine cannot score.
    """
    if isinstance(config, HFBackendConfig):
        return _remembering(_hf_scorer(config, worker), config)
    if isinstance(config, VLLMBackendConfig):
        from reer.backend.vllm import VLLMScorer

        return VLLMScorer(config)
    if isinstance(config, FakeBackendConfig):
        from reer.backend.fake import FakeScorer

        return FakeScorer(config)
    if isinstance(config, OpenAIBackendConfig):
        from reer.backend.server.scorer import ServerScorer

        return ServerScorer(config)
    raise ConfigError(f"the {config.kind} backend writes texts but does not score them: choose backend@scorer=hf")


def build_draft(config: BackendConfig, others: Sequence[BackendConfig]) -> Scorer:
    """The scorer that ranks candidates for another one, in a thread of its own unless it is a model of `others`.

    It takes no more tokens than its model has positions: a longer text is not ranked by guessing.

    Raises:
        ConfigError, ModelError: this engine, or its server, cannot score.
    """
    worker = WORKER
    if isinstance(config, HFBackendConfig):
        from reer.backend.models import load_model

        model = load_model(config.model)
        positions = getattr(model.config, "max_position_embeddings", None) or config.model.max_length
        config = replace(config, model=replace(config.model, max_length=min(config.model.max_length, positions)))
        used = [load_model(other.model) for other in others if isinstance(other, HFBackendConfig)]
        if not any(other is model for other in used):  # two threads may not run one model at once
            worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="draft")
    try:
        return build_scorer(config, worker)
    except (ConfigError, ModelError) as error:
        said = str(error).replace("scorer.", "draft.").replace("@scorer", "@draft")
        raise type(error)(f"the draft cannot rank: {said}") from error


def parameters(config: BackendConfig) -> int | None:
    """Parameters that a token is multiplied with, of a model that runs in this process; None where nobody tells.

    They are all but an embedding that stands apart from the head: a token looks up one row of it.
    """
    if not isinstance(config, HFBackendConfig):
        return None
    from reer.backend.models import load_model

    model = load_model(config.model)
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    looked_up = int(embedding.weight.numel()) if head is None or head.weight is not embedding.weight else 0
    return sum(int(weights.numel()) for weights in model.parameters()) - looked_up


def _hf_generator(config: HFBackendConfig) -> Generator:
    """A running batch, or transformers' own generation for a model whose attention does not allow it."""
    from reer.backend.hf import HFGenerator
    from reer.backend.packed.attention import DoesNotFit
    from reer.backend.packed.generator import ContinuousGenerator

    try:
        return ContinuousGenerator.load(config)
    except DoesNotFit as error:
        log.warning("%s: samples are drawn in batches that end together", error)
        return HFGenerator.load(config)


def _hf_scorer(config: HFBackendConfig, worker: ThreadPoolExecutor) -> Scorer:
    """Packed forwards, or plain ones for a model whose attention does not allow it."""
    from reer.backend.hf import HFScorer
    from reer.backend.packed.attention import DoesNotFit
    from reer.backend.packed.scorer import PackedScorer

    try:
        return PackedScorer.load(config, worker)
    except DoesNotFit as error:
        log.warning("%s: every request is scored by a forward of its own", error)
        return HFScorer(config, worker)


def _remembering(scorer: Scorer, config: HFBackendConfig) -> Scorer:
    """The scorer with the score cache in front of it, where the config wants it and the weights have a name."""
    from reer.backend.cache import CachedScorer
    from reer.backend.models import cache_dir, identity, load_model

    name = identity(config.model, load_model(config.model)) if config.score_cache else None
    return CachedScorer(scorer, name, cache_dir() / "cache.db") if name else scorer


def prepare(generator: Generator) -> None:
    """Find out what the server behind a generator can do, before any work; engines in this process need none of it.

    Raises:
        ModelError: the server cannot be asked.
    """
    from reer.backend.server.chat import OpenAIGenerator

    if isinstance(generator, OpenAIGenerator):
        asyncio.run(generator.prepare())


def served(config: BackendConfig) -> dict[str, Any]:
    """`describe`, and of a server what it was sent, what it refused, and how it is asked."""
    from reer.backend.server.abilities import abilities_of

    return describe(config) | (abilities_of(config).facts if isinstance(config, OpenAIBackendConfig) else {})


def known_weights(config: BackendConfig) -> str | None:
    """What tells the weights of an engine in this process from others, where they lie in a folder; else None."""
    from reer.backend.models import weights_at_hand

    return weights_at_hand(config.model) if isinstance(config, HFBackendConfig | VLLMBackendConfig) else None


def describe(config: BackendConfig) -> dict[str, str | None]:
    """How a result names the engine behind a role: model, revision, dtype."""
    if isinstance(config, HFBackendConfig | VLLMBackendConfig):
        return {"model": config.model.path, "revision": config.model.revision, "dtype": config.model.dtype}
    name = config.model_name if isinstance(config, OpenAIBackendConfig) else config.kind
    return {"model": name, "revision": None, "dtype": None}
