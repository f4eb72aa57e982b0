"""Scores from a server: token ids in, log-probabilities out. vLLM's `prompt_logprobs`, SGLang's own `/generate`.

Which of the two a server speaks is found out when the scorer is built, and so is whether it can be believed: it
continues a text and tells how likely each of its tokens was; scored as given text, the same tokens have to be as
likely. A server whose list is shifted by one, or lacks numbers, is refused. Retries, back-off and Retry-After are the
client library's. Knows ids and JSON; what the ids mean is the layout's business.
"""

import asyncio
import functools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from reer.backend.models import load_tokenizer
from reer.backend.server.told import client_arguments, told
from reer.backend.tokens.chat import ChatTokenizer
from reer.config import ModelConfig, OpenAIBackendConfig
from reer.errors import BackendError, ModelError
from reer.types import Scored, ScoreRequest, Usage, score_of

PROBE = "Once upon a time there was a little Thursday"
"""It ends with a surprise, and comes again after what is written: with less likely tokens on both sides of that, a
list shifted by one cannot look right."""
CONTINUED = 6
"""Tokens of the probe's continuation."""
TOLERANCE = 0.25
"""Nats by which a token may differ between writing and scoring: batches round bfloat16 differently."""


class Dialect(Protocol):
    """How a kind of server is asked, and how its reply is read."""

    @property
    def name(self) -> str: ...

    def url(self, base: str) -> str: ...

    def scoring(self, model: str, ids: Sequence[int], start: int) -> dict[str, Any]:
        """The body that asks for the log-probabilities of `ids[start:]`."""

    def logprobs(self, reply: Any, ids: Sequence[int], start: int) -> list[float]:
        """Of `ids[start:]`. Raises: LookupError, TypeError, ValueError: they are not there, or another token's."""

    def continuing(self, model: str, ids: Sequence[int], n: int) -> dict[str, Any]:
        """The body that asks for the likeliest continuation."""

    def continuation(self, reply: Any) -> tuple[list[int], list[float]]:
        """Its ids and their log-probabilities. Raises: as above, or AttributeError."""


@dataclass(frozen=True)
class VLLM:
    """`/v1/completions` with `prompt_logprobs`: for each position a dict by token id, null for the first."""

    name: str = "vLLM's prompt_logprobs"

    def url(self, base: str) -> str:
        return f"{base}/completions"

    def scoring(self, model: str, ids: Sequence[int], start: int) -> dict[str, Any]:
        return {"model": model, "prompt": list(ids), "max_tokens": 1, "temperature": 0, "prompt_logprobs": 0}

    def logprobs(self, reply: Any, ids: Sequence[int], start: int) -> list[float]:
        entries = reply["choices"][0]["prompt_logprobs"]
        if len(entries) != len(ids):
            raise ValueError(f"{len(entries)} entries for {len(ids)} tokens")
        return [float(entries[n][str(ids[n])]["logprob"]) for n in range(start, len(ids))]

    def continuing(self, model: str, ids: Sequence[int], n: int) -> dict[str, Any]:
        return {"model": model, "prompt": list(ids), "max_tokens": n, "temperature": 0, "logprobs": 1,
                "return_tokens_as_token_ids": True}  # fmt: skip

    def continuation(self, reply: Any) -> tuple[list[int], list[float]]:
        found = reply["choices"][0]["logprobs"]
        return [int(token.removeprefix("token_id:")) for token in found["tokens"]], found["token_logprobs"]


@dataclass(frozen=True)
class SGLang:
    """`/generate` with `logprob_start_len`: what stands before it is read from the server's prefix cache."""

    name: str = "SGLang's /generate"

    def url(self, base: str) -> str:
        return f"{base.removesuffix('/v1')}/generate"

    def scoring(self, model: str, ids: Sequence[int], start: int) -> dict[str, Any]:
        sampling = {"max_new_tokens": 1, "temperature": 0}
        # the entry at logprob_start_len itself is null
        return {"input_ids": list(ids), "sampling_params": sampling, "return_logprob": True,
                "logprob_start_len": start - 1}  # fmt: skip

    def logprobs(self, reply: Any, ids: Sequence[int], start: int) -> list[float]:
        entries = reply["meta_info"]["input_token_logprobs"][start - len(ids) :]
        if [entry[1] for entry in entries] != list(ids[start:]):
            raise ValueError("log-probabilities of other tokens")
        return [float(entry[0]) for entry in entries]

    def continuing(self, model: str, ids: Sequence[int], n: int) -> dict[str, Any]:
        return {"input_ids": list(ids), "sampling_params": {"max_new_tokens": n, "temperature": 0},
                "return_logprob": True}  # fmt: skip

    def continuation(self, reply: Any) -> tuple[list[int], list[float]]:
        entries = reply["meta_info"]["output_token_logprobs"]
        return [entry[1] for entry in entries], [entry[0] for entry in entries]


UNREADABLE = (LookupError, TypeError, ValueError, AttributeError)
"""What a reply that lacks something raises when it is read."""


class ServerScorer:
    """Scores by requests to a server, many in flight."""

    def __init__(self, config: OpenAIBackendConfig) -> None:
        """Raises: ModelError: no tokenizer, or a server that does not score as it writes; ConfigError: no key."""
        from openai import AsyncOpenAI

        if config.tokenizer is None:
            raise ModelError("scoring on a server needs its model's tokenizer: scorer.tokenizer=HUB_ID_OR_FOLDER")
        self.tokenizer: ChatTokenizer = load_tokenizer(ModelConfig(path=config.tokenizer))
        self.max_length = config.max_length
        self.model = config.model_name
        self._config = config
        self._dialect = find_dialect(config, self.tokenizer)
        self._client = AsyncOpenAI(**client_arguments(config))
        self._url = self._dialect.url(str(self._client.base_url).rstrip("/"))
        self._slots = asyncio.Semaphore(config.concurrency)

    async def score(self, requests: Sequence[ScoreRequest]) -> list[Scored]:
        """See `types.Scorer`."""
        return await asyncio.gather(*(self._score(request) for request in requests))

    async def next_token(self, prompts: Sequence[tuple[int, ...]], options: Sequence[int]) -> list[tuple[float, ...]]:
        """See `types.Scorer`: every option is scored as the token that follows."""
        return await asyncio.gather(*(self._choose(prompt, options) for prompt in prompts))

    async def _choose(self, prompt: tuple[int, ...], options: Sequence[int]) -> tuple[float, ...]:
        found = await asyncio.gather(*(self._logprobs((*prompt, option), len(prompt)) for option in options))
        return tuple(logprobs[0] for logprobs, _ in found)

    async def _score(self, request: ScoreRequest) -> Scored:
        ids = request.ids[: request.end]
        logprobs, seconds = await self._logprobs(ids, request.start)
        usage = Usage(calls=1, scored_tokens=len(ids), seconds=seconds)
        return Scored(score_of([-logprob for logprob in logprobs], request), usage)

    async def _logprobs(self, ids: Sequence[int], start: int) -> tuple[list[float], float]:
        """Of `ids[start:]`, and the seconds it took."""
        from openai import OpenAIError

        if len(ids) > self.max_length:
            raise BackendError(f"{len(ids)} tokens exceed max_length={self.max_length}")
        async with self._slots:
            started = time.perf_counter()
            try:
                body = self._dialect.scoring(self.model, ids, start)
                reply = await self._client.post(self._url, body=body, cast_to=object)
                logprobs = self._dialect.logprobs(reply, ids, start)
            except OpenAIError as error:
                raise BackendError(f"{self.model}: {told(error, self._config)}") from error
            except UNREADABLE as error:
                raise BackendError(f"{self.model}: the reply lacks log-probabilities of the given text") from error
            seconds = time.perf_counter() - started
        if not all(map(math.isfinite, logprobs)):
            raise BackendError(f"{self.model}: a log-probability that is no number")
        return logprobs, seconds


def find_dialect(config: OpenAIBackendConfig, tokenizer: ChatTokenizer) -> Dialect:
    """The first dialect in which the server scores a text as likely as it writes it.

    Raises:
        ModelError: there is none; says what is wrong with each.
    """
    from openai import OpenAI, OpenAIError

    client = OpenAI(**client_arguments(config))
    base, faults = str(client.base_url).rstrip("/"), []
    dialects: tuple[Dialect, ...] = (VLLM(), SGLang())
    for dialect in dialects:
        post = functools.partial(client.post, dialect.url(base), cast_to=object)
        try:
            worst = disagreement(dialect, config.model_name, tokenizer.encode(PROBE), post)
        except OpenAIError as error:
            faults.append(f"{dialect.name}: {told(error, config)}")
        except UNREADABLE:
            faults.append(f"{dialect.name}: no log-probabilities of the given text")
        else:
            if worst <= TOLERANCE:
                return dialect
            faults.append(f"{dialect.name}: log-probabilities are {worst:.1f} nats off those of its own writing")
    raise ModelError(f"the server at {base} cannot score ({'; '.join(faults)})")


def disagreement(dialect: Dialect, model: str, prompt: Sequence[int], post: Any) -> float:
    """Largest difference, in nats, between a token's log-probability when written and when scored."""
    ids, written = dialect.continuation(post(body=dialect.continuing(model, prompt, CONTINUED)))
    if not ids:
        raise ValueError("nothing was written")
    whole = [*prompt, *ids, *prompt]
    scored = dialect.logprobs(post(body=dialect.scoring(model, whole, len(prompt))), whole, len(prompt))
    differences = [abs(a - b) for a, b in zip(written, scored[: len(ids)], strict=True)]
    if not all(map(math.isfinite, differences)):
        raise ValueError("a log-probability that is no number")
    return max(differences)
