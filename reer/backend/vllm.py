"""vLLM in this process: samples and exact scores from one engine, which batches whatever is in flight.

For scoring, vLLM 0.32 and later can return the log-probabilities of given tokens alone, from a given position on,
and read what stands before it from its prefix cache; it needs vLLM's V2 model runner and so a GPU. Elsewhere the plain
`prompt_logprobs` are asked for, which run the whole sequence. Which way is taken is found out, tried and said when
the first scorer takes the engine. Knows ids and vLLM; what the ids mean is the layout's business.
"""

import asyncio
import atexit
import functools
import itertools
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from omegaconf import OmegaConf

from reer.backend.models import load_tokenizer, locate, prompt_ids, resolve_dtype
from reer.backend.server.dialects import UNREADABLE, NoNumber, numbers
from reer.backend.server.trial import PROBE, TOLERANCE, disagreement, try_long
from reer.config import ModelConfig, VLLMBackendConfig
from reer.errors import BackendError, ModelError
from reer.types import FinishReason, GenerateRequest, Response, Scored, ScoreRequest, Usage, score_of

log = logging.getLogger(__name__)
T = TypeVar("T")
TOLD = 300
"""Characters of vLLM's own words that are passed on."""


class Engine:
    """vLLM's asynchronous engine on a thread of its own, so that every event loop of the program can use it."""

    def __init__(
        self, path: str, revision: str | None, dtype: str, max_length: int, arguments: dict[str, Any]
    ) -> None:
        """Raises: ModelError: vLLM is not installed, or cannot serve the model."""
        try:
            import torch

            if torch.cuda.is_available():
                os.environ.setdefault("VLLM_USE_V2_MODEL_RUNNER", "1")
            from vllm.engine.arg_utils import AsyncEngineArgs
            from vllm.v1.engine.async_llm import AsyncLLM
        except ImportError as error:
            raise ModelError(f"backend=vllm needs vLLM in this environment (docs/your-own.md): {error}") from error
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="vllm", daemon=True).start()
        self._numbers = itertools.count()

        async def start() -> Any:
            settings = {"model": path, "revision": revision, "dtype": dtype, "max_model_len": max_length} | arguments
            return AsyncLLM.from_engine_args(AsyncEngineArgs(**settings))

        try:
            self._llm = self._submit(start()).result()
        except (RuntimeError, ValueError, TypeError, OSError) as error:
            raise ModelError(f"vLLM cannot serve {path}: {_why(error)}") from error
        atexit.register(self.close)
        self.scores_alone = bool(getattr(self._llm.vllm_config, "use_v2_model_runner", False))
        """Whether the log-probabilities of given tokens can be had without those before them."""
        self.path, self.max_length = path, max_length
        self._believed = False

    def close(self) -> None:
        """Stop vLLM's processes; otherwise that happens when the program ends."""
        atexit.unregister(self.close)
        self._llm.shutdown()

    async def run(self, ids: Sequence[int], **settings: Any) -> Any:
        """vLLM's output for a prompt of token ids.

        Raises:
            BackendError: the engine refused the request.
            ModelError: it has died, and answers nothing more in this process.
        """
        return await asyncio.wrap_future(self._submit(self._run(ids, settings)))

    async def _run(self, ids: Sequence[int], settings: dict[str, Any]) -> Any:
        from vllm import SamplingParams
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        output = None
        try:
            stream = self._llm.generate({"prompt_token_ids": list(ids)}, SamplingParams(**settings),
                                        str(next(self._numbers)))  # fmt: skip
            async for latest in stream:
                output = latest
        except EngineDeadError as error:
            raise ModelError(f"vLLM's engine of {self.path} has died: {error}; the same command goes on") from error
        except (RuntimeError, ValueError, TypeError, EngineGenerateError) as error:
            raise BackendError(f"vLLM: {type(error).__name__}: {error}") from error
        if output is None:
            raise BackendError("vLLM gave no output")
        return output

    def _submit(self, work: Coroutine[Any, Any, T]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """What the work brings; for callers without an event loop."""
        return self._submit(work).result()  # type: ignore[no-any-return]

    async def logprobs(self, ids: Sequence[int], start: int) -> list[float]:
        """Of `ids[start:]`, each given what stands before it.

        Raises:
            BackendError: vLLM gave none, or something that is no number.
        """
        try:
            found = numbers(
                await (self._alone(ids, start) if self.scores_alone else self._with_the_prompts(ids, start))
            )
        except NoNumber as error:
            raise BackendError(f"vLLM gave {error}") from error
        except UNREADABLE as error:
            raise BackendError("vLLM gave no log-probabilities of the given text") from error
        if len(found) != len(ids) - start:
            raise BackendError("vLLM gave no log-probability for every token")
        return found

    async def _alone(self, ids: Sequence[int], start: int) -> list[float]:
        wanted: dict[str, Any] = {
            "prompt_logprob_start": start - 1,
            "prompt_logprob_token_ids": [[token] for token in ids[start:]],
        }
        for fresh in (False, True):  # what the prefix cache already holds of the span itself has no numbers
            output = await self.run(ids, **ONE_TOKEN, **wanted, skip_reading_prefix_cache=fresh)
            if (rows := output.prompt_token_id_logprobs) is not None:
                return [float(row[0]) for row in rows]
        return []

    async def _with_the_prompts(self, ids: Sequence[int], start: int) -> list[float]:
        output = await self.run(ids, **ONE_TOKEN, prompt_logprobs=0)
        entries = (output.prompt_logprobs or [])[start:]
        return [float(entry[token].logprob) for entry, token in zip(entries, ids[start:], strict=False) if entry]

    async def continued(self, ids: Sequence[int], n: int) -> tuple[list[int], list[float]]:
        """The likeliest continuation, and its log-probabilities. Raises: BackendError."""
        written = (await self.run(ids, **ONE_TOKEN | {"max_tokens": n, "logprobs": 0})).outputs[0]
        tokens = list(written.token_ids)
        return tokens, [float(entry[token].logprob) for entry, token in zip(written.logprobs, tokens, strict=True)]

    def try_scoring(self) -> None:
        """Once: whether its scores can be believed, in one of the ways they can be asked for.

        Raises:
            ModelError: they cannot.
        """
        if self._believed:
            return None
        encode = load_tokenizer(ModelConfig(path=self.path)).encode
        try:
            worst = self._try(encode)
        except ModelError as error:
            if not self.scores_alone:
                raise ModelError(f"vLLM cannot score with {self.path}: {error}") from error
            log.info("vLLM scores %s with the whole prompt: alone, %s", self.path, error)
            self.scores_alone = False
            return self.try_scoring()
        way = "from the answer on" if self.scores_alone else "with the whole prompt (no V2 model runner)"
        log.info("vLLM scores %s %s: %.1g nats off its own writing", self.path, way, worst)
        self._believed = True
        return None

    def _try(self, encode: Callable[[str], tuple[int, ...]]) -> float:
        """How far the scores of a short text are from its writing. Raises: ModelError."""
        try:
            worst = disagreement(Tried(self), encode(PROBE))
        except BackendError as error:
            raise ModelError(str(error)) from error
        if worst > TOLERANCE:
            raise ModelError(f"log-probabilities are {worst:.2g} nats off those of its own writing")
        try_long(Tried(self), encode, self.max_length - 1)
        return worst


@dataclass(frozen=True)
class Tried:
    """An engine that is tried: see `trial.Engine`."""

    engine: Engine
    no_cache: str = "engine_args.enable_prefix_caching=false"
    no_parts: str = "engine_args.enable_chunked_prefill=false"

    @property
    def whole(self) -> bool:
        return not self.engine.scores_alone

    def write(self, ids: Sequence[int], n: int) -> tuple[list[int], list[float]]:
        return self.engine.wait(self.engine.continued(ids, n))

    def score(self, ids: Sequence[int], start: int) -> list[float]:
        return self.engine.wait(self.engine.logprobs(ids, start))


ONE_TOKEN: dict[str, Any] = {"max_tokens": 1, "temperature": 0.0, "detokenize": False}


def _why(error: Exception) -> str:
    """In one line, and what to change where the memory does not suffice. The cause may stand in vLLM's own log."""
    line = " ".join(str(error).split())[:TOLD] or type(error).__name__
    if _engine.cache_info().currsize and any(word in line.lower() for word in ("memory", "engine core")):
        line += (
            "; another model is loaded: give each role that vLLM runs a share of the GPU, for two of them "
            "generator.engine_args.gpu_memory_utilization=0.45 scorer.engine_args.gpu_memory_utilization=0.45"
        )
    return line


@functools.cache
def _engine(path: str, revision: str | None, dtype: str, max_length: int, arguments: str) -> Engine:
    return Engine(path, revision, dtype, max_length, json.loads(arguments))


def load_engine(config: VLLMBackendConfig) -> Engine:
    """The engine of a model; roles that name the same one, with equal arguments, share it.

    Raises:
        ModelError: vLLM is not installed, or cannot serve the model.
    """
    model, arguments = config.model, OmegaConf.to_container(OmegaConf.create(config.engine_args), resolve=True)
    plain = json.dumps(arguments, sort_keys=True)
    return _engine(locate(model), model.revision, resolve_dtype(model), model.max_length, plain)


class VLLMGenerator:
    """Draws samples, each with a seed of its own."""

    def __init__(self, config: VLLMBackendConfig) -> None:
        self.tokenizer = load_tokenizer(config.model)
        self.max_length = config.model.max_length
        self._engine = load_engine(config)

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[list[Response]]:
        """See `types.Generator`."""
        return await asyncio.gather(*(self._samples(request) for request in requests))

    async def _samples(self, request: GenerateRequest) -> list[Response]:
        ids = prompt_ids(self.tokenizer, request)
        if len(ids) + request.max_tokens > self.max_length:
            raise BackendError(f"prompt of {len(ids)} tokens leaves no room to generate")
        return await asyncio.gather(*(self._sample(request, ids, seed) for seed in request.seeds))

    async def _sample(self, request: GenerateRequest, ids: Sequence[int], seed: int) -> Response:
        started = time.perf_counter()
        output = await self._engine.run(
            ids,
            temperature=request.temperature,
            top_p=request.top_p,
            max_tokens=request.max_tokens,
            seed=seed % 2**63,
            stop=list(request.stop) or None,
            stop_token_ids=[self.tokenizer.end_of_turn],
        )
        sample, reused = output.outputs[0], output.num_cached_tokens or 0
        finish: FinishReason = "length" if sample.finish_reason == "length" else "stop"
        usage = Usage(
            calls=1,
            generated_tokens=len(sample.token_ids),
            prefilled_tokens=len(ids) - reused,
            reused_tokens=reused,
            seconds=time.perf_counter() - started,
        )
        return Response(text=sample.text, finish_reason=finish, usage=usage)


class VLLMScorer:
    """Scores given ids."""

    def __init__(self, config: VLLMBackendConfig) -> None:
        self.tokenizer = load_tokenizer(config.model)
        self.max_length = config.model.max_length - 1
        """vLLM always writes one token more."""
        self._engine = load_engine(config)
        self._engine.try_scoring()

    async def score(self, requests: Sequence[ScoreRequest]) -> list[Scored]:
        """See `types.Scorer`."""
        return await asyncio.gather(*(self._score(request) for request in requests))

    async def next_token(self, prompts: Sequence[tuple[int, ...]], options: Sequence[int]) -> list[tuple[float, ...]]:
        """See `types.Scorer`: every option is scored as the token that follows."""

        async def choose(prompt: tuple[int, ...]) -> tuple[float, ...]:
            found = (self._engine.logprobs((*prompt, option), len(prompt)) for option in options)
            return tuple(logprobs[0] for logprobs in await asyncio.gather(*found))

        return await asyncio.gather(*(choose(prompt) for prompt in prompts))

    async def _score(self, request: ScoreRequest) -> Scored:
        if request.end > self.max_length:
            raise BackendError(f"{request.end} tokens exceed model.max_length={self.max_length + 1} less one")
        started = time.perf_counter()
        logprobs = await self._engine.logprobs(request.ids[: request.end], request.start)
        usage = Usage(calls=1, scored_tokens=request.end, seconds=time.perf_counter() - started)
        return Scored(score_of([-logprob for logprob in logprobs], request), usage)
