"""Scores from a server: token ids in, log-probabilities out. vLLM's `prompt_logprobs`, SGLang's own `/generate`.

Which of the two a server speaks is found out when the scorer is built, and so is whether it can be believed
(`asked.py`). Knows ids; what they mean is the layout's business.
"""

import asyncio
from collections.abc import Sequence

from reer.backend.models import load_tokenizer
from reer.backend.server import asked
from reer.backend.server.calls.servers import Server
from reer.backend.server.connection import Connection
from reer.backend.server.dialects import UNREADABLE, NoNumber
from reer.backend.server.told import told, urls_of
from reer.backend.tokens.chat import ChatTokenizer
from reer.config import ModelConfig, OpenAIBackendConfig
from reer.errors import BackendError, ModelError, Unanswered
from reer.types import Scored, ScoreRequest, Usage, score_of

MISSING = "the reply lacks log-probabilities of the given text"


class ServerScorer:
    """Scores by requests to a server, many in flight."""

    def __init__(self, config: OpenAIBackendConfig) -> None:
        """Raises: ModelError: no tokenizer, or a server that does not score as it writes; ConfigError: no key."""
        if config.tokenizer is None:
            raise ModelError("scoring on a server needs its model's tokenizer: scorer.tokenizer=HUB_ID_OR_FOLDER")
        urls_of(config)
        self.tokenizer: ChatTokenizer = load_tokenizer(ModelConfig(path=config.tokenizer))
        self.model = config.model_name
        self._config = config
        self._known, down = asked.find_out(config, self.tokenizer.encode)
        self._connection = Connection(config, check=self._check)
        for server in self._connection.servers.all:
            server.down = server.name in down

    async def _check(self, server: Server) -> None:
        await asyncio.to_thread(asked.look_again, server.config, self.tokenizer.encode, self._known)

    @property
    def max_length(self) -> int:
        """See `types.Scorer`: servers write one token after what they score."""
        return self._known.context - 1

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
        """Of `ids[start:]`, and the seconds it took. What is odd is asked for again: a server's fault may pass.

        Raises:
            BackendError: there are none.
            ModelError: it is one failure too many.
        """
        if len(ids) > self.max_length:
            raise BackendError(
                f"{len(ids)} tokens leave no room within {self._known.context} (scorer.max_length) for the one that "
                "the server writes after them"
            )
        try:
            found = await self._asked(ids, start)
        except (Unanswered, Odd) as error:
            self._connection.patience.came_back(str(error))
            raise
        self._connection.patience.came_back(None)
        return found

    async def _asked(self, ids: Sequence[int], start: int) -> tuple[list[float], float]:
        from openai import OpenAIError

        dialect, fault = self._known.dialect, ""
        for _ in range(1 + self._config.resample):
            try:
                reply, seconds = await self._connection.exactly(dialect.scoring(self.model, ids, start), dialect.url)
                return dialect.logprobs(reply, ids, start), seconds
            except Unanswered as error:
                raise Unanswered(f"{self.model}: {error}", alone=error.alone) from error
            except OpenAIError as error:
                raise BackendError(f"{self.model}: {told(error, self._config)}") from error
            except UNREADABLE as error:
                fault = f"{self.model}: {error if isinstance(error, NoNumber) else MISSING}"
        raise Odd(fault)


class Odd(BackendError):
    """A reply that holds no number for each token, again and again: it may be the text."""
