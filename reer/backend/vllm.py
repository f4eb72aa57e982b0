"""vLLM in this process: samples and exact scores from one engine, which batches whatever is in flight.

For scoring, vLLM 0.32 and later can return the log-probabilities of given tokens alone, from a given position on,
and read what stands before it from its prefix cache; it needs vLLM's V2 model runner and so a GPU. Elsewhere the plain
`prompt_logprobs` are asked for, which run the whole sequence. Which way is taken is found out, tested and said when
the engine starts. Knows ids and vLLM; what the ids mean is the layout's business.
"""

import asyncio
import atexit
import functools
import itertools
import logging
import math
import os
import threading
import time
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from reer.backend.models import load_tokenizer, locate, prompt_ids, resolve_dtype
from reer.backend.server.scorer import CONTINUED, PROBE, TOLERANCE
from reer.config import ModelConfig, VLLMBackendConfig
from reer.errors import BackendError, ModelError
from reer.types import FinishReason, GenerateRequest, Response, Scored, ScoreRequest, Usage, score_of

log = logging.getLogger(__name__)
T = TypeVar("T")


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
            raise ModelError(f"vLLM cannot serve {path}: {next(iter(str(error).splitlines()), error)}") from error
        atexit.register(self.close)
        self.scores_alone = bool(getattr(self._llm.vllm_config, "use_v2_model_runner", False))
        """Whether the log-probabilities of given tokens can be had without those before them."""
        self._check(path)

    def close(self) -> None:
        """Stop vLLM's processes; otherwise that happens when the program ends."""
        atexit.unregister(self.close)
        self._llm.shutdown()

    async def run(self, ids: Sequence[int], **settings: Any) -> Any:
        """vLLM's output for a prompt of token ids.

        Raises:
            BackendError: the engine refused the request or has died.
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
        except (RuntimeError, ValueError, TypeError, EngineDeadError, EngineGenerateError) as error:
            raise BackendError(f"vLLM: {type(error).__name__}: {error}") from error
        if output is None:
            raise BackendError("vLLM gave no output")
        return output

    def _submit(self, work: Coroutine[Any, Any, T]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def logprobs(self, ids: Sequence[int], start: int) -> list[float]:
        """Of `ids[start:]`, each given what stands before it.

        Raises:
            BackendError: vLLM gave none, or something that is no number.
        """
        found = await (self._alone(ids, start) if self.scores_alone else self._with_the_prompts(ids, start))
        if len(found) != len(ids) - start or not all(map(math.isfinite, found)):
            raise BackendError("vLLM gave no finite log-probability for every token")
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
        entries = output.prompt_logprobs or []
        return [float(entry[token].logprob) for entry, token in zip(entries[start:], ids[start:], strict=True)]

    def _check(self, path: str) -> None:
        """Score a text that the engine has just written: the same tokens have to be as likely.

        Raises:
            ModelError: they are not, whichever way they are asked for.
        """
        prompt = load_tokenizer(ModelConfig(path=path)).encode(PROBE)
        for _ in range(1 + self.scores_alone):
            worst = self._submit(self._disagreement(prompt)).result()
            if worst <= TOLERANCE:
                way = "from the answer on" if self.scores_alone else "with the whole prompt (no V2 model runner)"
                log.info("vLLM scores %s: %.1g nats off its own writing", way, worst)
                return
            self.scores_alone = False
        raise ModelError(f"vLLM's scores of {path} are {worst:.2g} nats off those of its own writing")

    async def _disagreement(self, prompt: Sequence[int]) -> float:
        written = (await self._run(prompt, ONE_TOKEN | {"max_tokens": CONTINUED, "logprobs": 0})).outputs[0]
        ids = [*prompt, *written.token_ids]
        try:
            scored = await self.logprobs(ids, len(prompt))
        except BackendError:
            return math.inf
        own = [entry[token].logprob for entry, token in zip(written.logprobs, written.token_ids, strict=True)]
        return max(abs(float(a) - b) for a, b in zip(own, scored, strict=True))


ONE_TOKEN: dict[str, Any] = {"max_tokens": 1, "temperature": 0.0, "detokenize": False}


@functools.cache
def _engine(
    path: str, revision: str | None, dtype: str, max_length: int, arguments: tuple[tuple[str, Any], ...]
) -> Engine:
    return Engine(path, revision, dtype, max_length, dict(arguments))


def load_engine(config: VLLMBackendConfig) -> Engine:
    """The engine of a model; roles that name the same one share it."""
    model, arguments = config.model, tuple(sorted(config.engine_args.items()))
    return _engine(locate(model), model.revision, resolve_dtype(model), model.max_length, arguments)


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
        self.max_length = config.model.max_length
        self._engine = load_engine(config)

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
        if request.end >= self.max_length:  # vLLM always writes one token more
            raise BackendError(f"{request.end} tokens exceed model.max_length={self.max_length} less one")
        started = time.perf_counter()
        logprobs = await self._engine.logprobs(request.ids[: request.end], request.start)
        usage = Usage(calls=1, scored_tokens=request.end, seconds=time.perf_counter() - started)
        return Scored(score_of([-logprob for logprob in logprobs], request), usage)
