"""Whether servers that are to share the work serve the same model in the same way: found out of each by itself.

A result may not depend on which server gave it, so one that is asked otherwise, or serves another model under the
name, is refused. Of servers that score, `asked.py` compares the numbers themselves.
"""

from dataclasses import replace

from reer.backend.server.abilities import Abilities, abilities_of
from reer.backend.server.connection import Connection
from reer.backend.server.dialects import UNREADABLE
from reer.backend.server.told import address_of, apart, name_of, say
from reer.config import OpenAIBackendConfig
from reer.errors import ModelError, Unanswered

RETRIES = 3
"""Of a first request that fails: an address may be mistyped, and nobody wants to wait for that."""
LISTING = 10.0
"""Seconds for the list of a server's models."""


async def find_out(config: OpenAIBackendConfig) -> list[str]:
    """What the servers of a config can do, said in one line; the addresses of those that are down.

    Raises:
        ModelError: none can be asked, or two are not alike.
    """
    known, down = abilities_of(config), {}
    there: list[Abilities] = []
    addresses = apart(config)
    for one in addresses:
        try:
            there.append(await _looked_at(one, shares=len(addresses) > 1))
        except Unanswered as error:
            down[address_of(one)] = ModelError(f"{name_of(one)} cannot be asked: {error}")
    if not there:
        raise next(iter(down.values()))
    for other in there[1:]:
        refuse_other(there[0], other)
    for why in down.values():
        say(f"{why}; the others do its work until it is back")
    for other in there:
        known.take(other)
    say(known.sentence)
    return list(down)


async def look_again(config: OpenAIBackendConfig, known: Abilities) -> None:
    """At a server that was down: whether it is what the others are.

    Raises:
        BackendError: it does not answer.
        ModelError: it is another, or cannot be asked.
    """
    refuse_other(known, await _looked_at(config, shares=True))


def refuse_other(known: Abilities, other: Abilities) -> None:
    """Raises: ModelError: it serves another model than what is known, or is asked otherwise."""
    if known.root and other.root and known.root != other.root:
        raise ModelError(
            f"{other.name} serves {other.root}, and {known.name} {known.root}: they cannot share the work"
        )
    if (known.continues, known.several) != (other.continues, other.several):
        raise ModelError(f"{other.name} {other.manner}, and {known.name} {known.manner}: they cannot share the work")


async def _looked_at(config: OpenAIBackendConfig, *, shares: bool) -> Abilities:
    """What one server can do. Raises: BackendError: it does not answer; ModelError: it cannot be asked."""
    config = replace(config, max_retries=min(config.max_retries, RETRIES))
    async with Connection(config, Abilities(name_of(config))) as connection:  # of its own, for this event loop
        await connection.find_out()
        connection.abilities.root = await _root(connection, config) if shares else None
        return connection.abilities


async def _root(connection: Connection, config: OpenAIBackendConfig) -> str | None:
    """What is served under the model's name, as vLLM and SGLang tell."""
    from openai import OpenAIError

    try:
        client = connection.servers.all[0].client
        listed = await client.with_options(timeout=LISTING).get("/models", cast_to=object)
        return next(str(one["root"]) for one in listed["data"] if one["id"] == config.model_name)  # type: ignore[index]
    except (OpenAIError, StopIteration, *UNREADABLE):  # it need not tell
        return None
