"""The category of a row by the generator: it is shown the list, and names one.

A reply is taken only if it is a name of the list; another is kept as it stands and counted, never guessed at.
"""

import re
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from pathlib import Path

from reer.backend import build_generator, prepare
from reer.config import CollectConfig
from reer.layout.instruction import read_text
from reer.method.prompts import Prompt, parse
from reer.run.ledger import Ledger
from reer.text import seed_of
from reer.types import Event, Example, Failed, GenerateRequest, Generator, Message, Tagged

from ..keep.work import Rows, work_through
from .categories import CATEGORIES

SHOWS = {"query", "answer", "categories"}
_HERE = Path(__file__).parent / "prompts"
_SHOWN = 3000
"""Characters of the answer that are shown: enough to tell what it is."""
_KEPT = 200
"""Characters of a reply that names none."""
_LISTED = "\n".join(f"{name}: {what}" for name, what in CATEGORIES.items())
_BEFORE = re.compile(
    r"(?:[\s\d.*#_`\"'“‘「<>()\[\]-]|(?:the )?(?:category|kind|name|answer|类别|种类|名称)(?: is)?\s*[:：])*"
)
_AFTER = re.compile(r"[\s*_`\"'”’」<>()\[\]]*(?:$|[.,;:!—–\n。，；：]|\s[-(])")
_NAMES = {re.compile(re.escape(name).replace("_", r"[_ &-]+").replace("/", r"\s*/\s*")): name for name in CATEGORIES}


class Tagger:
    def __init__(self, generator: Generator, seed: int) -> None:
        self.generator = generator
        self.seed = seed

    async def run(self, example: Example, recorded: Sequence[Event] = ()) -> AsyncGenerator[Event]:
        """One `Tagged`, unless it is recorded.

        Raises:
            BackendError: the generator failed for good.
        """
        if recorded:
            return
        prompt = prompt_in(example.language)
        shown = prompt.render(query=example.query, answer=example.answer[:_SHOWN], categories=_LISTED)
        request = GenerateRequest(
            messages=(Message("user", shown),),
            seeds=(seed_of(self.seed, example.id, "domain"),),
            max_tokens=24,
            temperature=0.0,
        )
        [[draw]] = await self.generator.generate([request])
        if isinstance(draw, Failed):
            yield Tagged(domain="", reply=draw.reason, usage=draw.usage)
        else:
            domain = named_in(draw.text)
            yield Tagged(domain=domain, reply="" if domain else draw.text[:_KEPT].strip(), usage=draw.usage)


def tag_all(config: CollectConfig, rows: Rows, ledger: Ledger) -> None:
    """Ask for the category of every row that has none in the ledger.

    Raises:
        UserError: the generator cannot be loaded, or can be asked nothing at all.
    """

    def tagger() -> Tagger:
        generator = build_generator(config.generator)
        prepare(generator)
        return Tagger(generator, config.seed)

    work_through(lambda: map(_named, rows()), tagger, ledger, config.executor.concurrency, "tag")


def tagged(row: Example, ledger: Ledger) -> Tagged | None:
    """What the ledger holds of a row's category; None where the generator failed."""
    return next((event for event in ledger.events(_named(row).id) if isinstance(event, Tagged)), None)


def _named(row: Example) -> Example:
    """Under an id of its own: what was weighed of the row has another."""
    return replace(row, id=f"{row.id} domain")


def prompt_in(language: str) -> Prompt:
    path = _HERE / f"{language if language == 'zh' else 'en'}.md"
    return parse(read_text(path), "domain", path, SHOWS)


def named_in(reply: str) -> str:
    """The category that a reply begins with and that stands there alone; empty where there is none."""
    plain = reply.lower()
    start = _BEFORE.match(plain)
    at = start.end() if start else 0
    for pattern, name in _NAMES.items():
        if (found := pattern.match(plain, at)) and _AFTER.match(plain, found.end()):
            return name
    return ""
