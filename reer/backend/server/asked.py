"""What a server that scores speaks, takes, and can be believed of: asked before any work, in a thread of its own.

Of several servers each is tried, and the numbers that they give one text are compared: what serves another model, or
the same one in another precision, cannot share the work. Knows ids and numbers.
"""

import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

from reer.backend.server.alike import LISTING, RETRIES
from reer.backend.server.connection import Connection
from reer.backend.server.dialects import UNREADABLE, VLLM, Dialect, NoNumber, SGLang
from reer.backend.server.told import apart, say, told
from reer.backend.server.trial import PROBE, TEXT, TOLERANCE, disagreement, try_long
from reer.config import OpenAIBackendConfig
from reer.errors import BackendError, ModelError, Unanswered

log = logging.getLogger(__name__)
T = TypeVar("T")
Encode = Callable[[str], tuple[int, ...]]

LACKS = "no log-probabilities of the given text"
ALIKE = 0.1
"""Nats per token by which servers of one model may differ on a text, on average: batches round bfloat16 differently by
a hundredth or two, another model or an eight-bit one by more."""


@dataclass(frozen=True)
class Known:
    """What was found out of a server."""

    dialect: Dialect
    context: int
    """Tokens of a text and the one written after it."""
    logprobs: list[float]
    """Of a text that is always the same; empty where the server shares its work with no other."""


def find_out(config: OpenAIBackendConfig, encode: Encode) -> tuple[Known, list[str]]:
    """What all the servers of a config are, and the addresses of those that are down.

    Raises:
        ModelError: one cannot score, or two do not score alike, or all are down.
    """
    addresses = apart(config)
    found: list[tuple[str, Known]] = []
    down: dict[str, ModelError] = {}
    for one in addresses:
        with _engine(one) as engine:
            try:
                known = tried(engine, encode, shares=len(addresses) > 1)
            except Down as error:
                down[engine.name] = error
                continue
        if found:
            refuse_other(*found[0], engine.name, known)
        found.append((engine.name, known))
    if not found:
        raise next(iter(down.values()))
    for why in down.values():
        say(f"{why}; the others do its work until it is back")
    return replace(found[0][1], context=min(known.context for _, known in found)), list(down)


def look_again(config: OpenAIBackendConfig, encode: Encode, known: Known) -> None:
    """At a server that was down: whether it is what the others are.

    Raises:
        BackendError: it does not answer.
        ModelError: it cannot score, or not like the others.
    """
    with _engine(config) as engine:
        try:
            refuse_other("the others", known, engine.name, tried(engine, encode, shares=True))
        except Down as error:
            raise BackendError(str(error)) from error


def refuse_other(name: str, known: Known, other_name: str, other: Known) -> None:
    """Raises: ModelError: the second server does not score as what is known."""
    if known.dialect.name != other.dialect.name:
        raise ModelError(f"{other_name} speaks {other.dialect.name}, and {name} {known.dialect.name}: they "
                         "cannot share the work")  # fmt: skip
    off = sum(abs(a - b) for a, b in zip(known.logprobs, other.logprobs, strict=True)) / len(known.logprobs)
    if off > ALIKE:
        raise ModelError(f"{other_name} and {name} score the same text {off:.2f} nats per token apart: they serve "
                         "different models, or one model in different precisions")  # fmt: skip


def tried(engine: "Asked", encode: Encode, *, shares: bool) -> Known:
    """The first dialect in which the server scores a text as likely as it writes it.

    Raises:
        Down: nobody answers.
        ModelError: there is none, and what is wrong with each; or what is wrong with its scores of long texts.
    """
    context = engine.context()
    dialects: tuple[Dialect, ...] = (VLLM(), SGLang())
    faults: list[str] = []
    unanswered = 0
    for dialect in dialects:
        engine = replace(engine, dialect=dialect)
        try:
            worst = disagreement(engine, encode(PROBE))
        except BackendError as error:
            unanswered += isinstance(error, Unanswered)
            faults.append(f"{dialect.name}: {error}")
            continue
        if worst > TOLERANCE:
            faults.append(f"{dialect.name}: log-probabilities are {worst:.1f} nats off those of its own writing")
            continue
        say(f"Trying whether the scores of {engine.name} can be believed (about ten requests) ...")
        try:
            try_long(engine, encode, context - 1)
        except ModelError as error:
            raise ModelError(f"the server at {engine.name} cannot score: {error}") from error
        text = list(encode(TEXT))[: context - 1]
        return Known(dialect, context, engine.score(text, 1) if shares else [])
    kind = Down if unanswered == len(dialects) else ModelError
    raise kind(f"the server at {engine.name} cannot score ({'; '.join(faults)})")


class Down(ModelError):
    """A server that nobody can reach now."""


@contextmanager
def _engine(config: OpenAIBackendConfig) -> Iterator["Asked"]:
    """A server to be tried, through a connection of its own."""
    config = replace(config, max_retries=min(config.max_retries, RETRIES))
    with start_blocking_portal() as portal:
        connection = Connection(config)
        try:
            yield Asked(VLLM(), connection, portal, config)
        finally:
            portal.call(connection.servers.close)


@dataclass(frozen=True)
class Asked:
    """A server that is tried in one dialect: see `trial.Engine`."""

    dialect: Dialect
    connection: Connection
    portal: BlockingPortal
    config: OpenAIBackendConfig

    @property
    def name(self) -> str:
        return str(self.connection.servers.all[0].client.base_url).rstrip("/")

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

        try:
            reply, _seconds = self.portal.call(self.connection.exactly, body, self.dialect.url)
            return read(reply)
        except OpenAIError as error:
            raise BackendError(told(error, self.config)) from error
        except ModelError as error:  # it knows no such address, say: it may speak the other dialect
            cause = error.__cause__
            raise BackendError(told(cause, self.config) if isinstance(cause, OpenAIError) else str(error)) from error
        except UNREADABLE as error:
            raise BackendError(f"{LACKS}: {error}" if isinstance(error, NoNumber) else LACKS) from error

    def context(self) -> int:
        """Tokens of a text and the one written after it: as configured, or fewer where the server tells that it takes
        fewer."""
        from openai import OpenAIError

        try:
            listed: Any = self.portal.call(self._listed)
            taken = next(int(one["max_model_len"]) for one in listed["data"] if one["id"] == self.config.model_name)
        except (OpenAIError, StopIteration, *UNREADABLE):  # it need not tell
            return self.config.max_length
        if taken < self.config.max_length:
            log.warning("The server takes %d tokens, fewer than scorer.max_length=%d: longer texts are not scored.",
                        taken, self.config.max_length)  # fmt: skip
        return min(taken, self.config.max_length)

    async def _listed(self) -> object:
        client = self.connection.servers.all[0].client
        return await client.with_options(timeout=min(LISTING, self.config.timeout)).get("/models", cast_to=object)
