"""Scores from a server: token ids in, log-probabilities out. vLLM's `prompt_logprobs`, SGLang's own `/generate`.

Which of the two a server speaks is found out when the scorer is built, and so is whether it can be believed
(`trial.py`). Retries, back-off and Retry-After are the client library's. Knows ids; what they mean is the layout's
business.
"""

import asyncio
import functools
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from reer.backend.models import load_tokenizer
from reer.backend.server.dialects import UNREADABLE, VLLM, Dialect, NoNumber, SGLang
from reer.backend.server.local import past_proxies
from reer.backend.server.patience import say
from reer.backend.server.told import client_arguments, told
from reer.backend.server.trial import PROBE, TOLERANCE, disagreement, try_long
from reer.backend.tokens.chat import ChatTokenizer
from reer.config import ModelConfig, OpenAIBackendConfig
from reer.errors import BackendError, ModelError
from reer.types import Scored, ScoreRequest, Usage, score_of

if TYPE_CHECKING:
    from openai import OpenAI

log = logging.getLogger(__name__)
T = TypeVar("T")
LACKS = "no log-probabilities of the given text"
MISSING = "the reply lacks log-probabilities of the given text"


class ServerScorer:
    """Scores by requests to a server, many in flight."""

    def __init__(self, config: OpenAIBackendConfig) -> None:
        """Raises: ModelError: no tokenizer, or a server that does not score as it writes; ConfigError: no key."""
        from openai import AsyncOpenAI, DefaultAsyncHttpxClient, DefaultHttpxClient, OpenAI

        if config.tokenizer is None:
            raise ModelError("scoring on a server needs its model's tokenizer: scorer.tokenizer=HUB_ID_OR_FOLDER")
        self.tokenizer: ChatTokenizer = load_tokenizer(ModelConfig(path=config.tokenizer))
        self.model = config.model_name
        self._config = config
        arguments, proxies = client_arguments(config), past_proxies(config)
        with OpenAI(**arguments, http_client=DefaultHttpxClient(**proxies)) as client:
            self._context = context_of(client, config)
            self._dialect = find_dialect(client, config, self.tokenizer.encode, self.max_length)
        self._client = AsyncOpenAI(**arguments, http_client=DefaultAsyncHttpxClient(**proxies))
        self._url = self._dialect.url(str(self._client.base_url).rstrip("/"))
        self._slots = asyncio.Semaphore(config.concurrency)

    @property
    def max_length(self) -> int:
        """See `types.Scorer`: servers write one token after what they score."""
        return self._context - 1

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
            raise BackendError(
                f"{len(ids)} tokens leave no room within {self._context} (scorer.max_length) for the one that the "
                "server writes after them"
            )
        async with self._slots:
            started = time.perf_counter()
            try:
                body = self._dialect.scoring(self.model, ids, start)
                reply = await self._client.post(self._url, body=body, cast_to=object)
                logprobs = self._dialect.logprobs(reply, ids, start)
            except OpenAIError as error:
                raise BackendError(f"{self.model}: {told(error, self._config)}") from error
            except UNREADABLE as error:
                raise BackendError(f"{self.model}: {error if isinstance(error, NoNumber) else MISSING}") from error
            seconds = time.perf_counter() - started
        return logprobs, seconds


def context_of(client: "OpenAI", config: OpenAIBackendConfig) -> int:
    """Tokens of a text and the one written after it: as configured, or fewer where the server tells that it takes
    fewer."""
    from openai import OpenAIError

    try:
        listed: Any = client.with_options(max_retries=0, timeout=min(10, config.timeout)).get(
            "/models", cast_to=object
        )
        taken = next(int(one["max_model_len"]) for one in listed["data"] if one["id"] == config.model_name)
    except (OpenAIError, StopIteration, *UNREADABLE):  # it need not tell
        return config.max_length
    if taken < config.max_length:
        log.warning("The server takes %d tokens, fewer than scorer.max_length=%d: longer texts are not scored.",
                    taken, config.max_length)  # fmt: skip
    return min(taken, config.max_length)


def find_dialect(
    client: "OpenAI", config: OpenAIBackendConfig, encode: Callable[[str], tuple[int, ...]], longest: int
) -> Dialect:
    """The first dialect in which the server scores a text as likely as it writes it.

    Raises:
        ModelError: there is none, and what is wrong with each; or what is wrong with its scores of long texts.
    """
    base, faults = str(client.base_url).rstrip("/"), []
    dialects: tuple[Dialect, ...] = (VLLM(), SGLang())
    for dialect in dialects:
        engine = Asked(dialect, client, config)
        try:
            worst = disagreement(engine, encode(PROBE))
        except BackendError as error:
            faults.append(f"{dialect.name}: {error}")
            continue
        if worst > TOLERANCE:
            faults.append(f"{dialect.name}: log-probabilities are {worst:.1f} nats off those of its own writing")
            continue
        say(f"Trying whether the scores of {base} can be believed (about ten requests) ...")
        try:
            try_long(engine, encode, longest)
        except ModelError as error:
            raise ModelError(f"the server at {base} cannot score: {error}") from error
        return dialect
    raise ModelError(f"the server at {base} cannot score ({'; '.join(faults)})")


@dataclass(frozen=True)
class Asked:
    """A server that is tried in one dialect: see `trial.Engine`."""

    dialect: Dialect
    client: "OpenAI"
    config: OpenAIBackendConfig

    @property
    def whole(self) -> bool:
        return self.dialect.whole

    @property
    def no_cache(self) -> str:
        return self.dialect.no_cache

    @property
    def no_parts(self) -> str:
        return self.dialect.no_parts

    def write(self, ids: Sequence[int], n: int) -> tuple[list[int], list[float]]:
        def read(reply: Any) -> tuple[list[int], list[float]]:
            tokens, logprobs = self.dialect.continuation(reply)
            if not tokens or len(tokens) != len(logprobs):
                raise ValueError("nothing was written")
            return tokens, logprobs

        return self._ask(self.dialect.continuing(self.config.model_name, ids, n), read)

    def score(self, ids: Sequence[int], start: int) -> list[float]:
        read = functools.partial(self.dialect.logprobs, ids=ids, start=start)
        return self._ask(self.dialect.scoring(self.config.model_name, ids, start), read)

    def _ask(self, body: dict[str, Any], read: Callable[[Any], T]) -> T:
        from openai import OpenAIError

        url = self.dialect.url(str(self.client.base_url).rstrip("/"))
        try:
            return read(self.client.post(url, body=body, cast_to=object))
        except OpenAIError as error:
            raise BackendError(told(error, self.config)) from error
        except UNREADABLE as error:
            raise BackendError(f"{LACKS}: {error}" if isinstance(error, NoNumber) else LACKS) from error
