"""Queries for all passages, in two passes over them: draw and check, then weigh.

Every event is in the ledger before the next one begins: the same command goes on where it was killed, and asks nothing
twice.
"""

import functools
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from reer.backend import build_generator, build_scorer, describe, prepare, served
from reer.config import CollectConfig
from reer.errors import ConfigError
from reer.layout import build_layout
from reer.run.day import dated
from reer.run.ledger import Ledger
from reer.types import Asked, Example, Usage, Weighed

from ..keep.work import Rows, work_through
from .asking import REASONS, Asker, taken
from .weighing import Weigher, is_own, other_query
from .wording import load_wording

REFUSALS = ("unasked", *REASONS, "not_weighed", "not_its_own")
"""Names under which passages, and queries drawn for them, are set aside."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A query that is not taken (of an `unasked` passage: none), and why."""

    row: Example
    name: str
    why: dict[str, Any]


def check(config: CollectConfig) -> None:
    """Raises: ConfigError: a threshold that no verdict can have."""
    if config.ask.min_fit is not None and not 1 <= config.ask.min_fit <= 5:
        raise ConfigError(f"ask.min_fit={config.ask.min_fit}: verdicts go from 1 to 5 (null: no second call)")


def weighs(config: CollectConfig) -> bool:
    """Whether queries are compared by NLL: unless told, where the scorer runs in this process."""
    return config.scorer.kind != "openai" if config.ask.likelihood is None else config.ask.likelihood


def ask_all(config: CollectConfig, passages: Rows, ledger: Ledger) -> dict[str, Any]:
    """Draw, check and weigh; returns what the manifest says of models, prompts and layout.

    Raises:
        UserError: a model cannot be loaded, or can be asked nothing at all.
    """
    wording, concurrency = functools.partial(load_wording, config.ask.prompts), config.executor.concurrency
    hashes = {language: wording(language).sha256 for language in sorted({row.language for row in passages()})}

    def asker() -> Asker:
        generator = build_generator(config.generator)
        prepare(generator)
        return Asker(generator, wording, config.ask, config.seed)

    asked = work_through(passages, asker, ledger, concurrency, "ask")
    generator = served(config.generator) if asked else describe(config.generator)
    facts: dict[str, Any] = {"prompts": {"set": config.ask.prompts, "sha256": hashes}}
    if not weighs(config):
        return facts | {"models": {"generator": generator}}
    config = dated(config)

    def weigher() -> Weigher:
        scorer = build_scorer(config.scorer)
        return Weigher(scorer, build_layout(config.layout, scorer.tokenizer))

    work_through(lambda: _to_weigh(passages, ledger, config.seed), weigher, ledger, concurrency, "weigh")
    models = {"generator": generator, "scorer": describe(config.scorer)}
    return facts | {"models": models, "layout": config.layout.name, "date": config.layout.date}


def _to_weigh(passages: Rows, ledger: Ledger, seed: int) -> Iterator[Example]:
    """Every query that was taken, with another passage's of the same language, where there is one."""
    firsts: dict[str, dict[str, str]] = defaultdict(dict)
    for passage in passages():
        if queries := taken(_draws(ledger, passage)):
            firsts[passage.language][passage.id] = queries[0].text
    for passage in passages():
        other = other_query(passage.id, firsts[passage.language], seed)
        for n, event in enumerate(_draws(ledger, passage)):
            if event.rejected is None and other is not None:
                pair = pair_of(passage, n, event)
                yield replace(pair, extra=dict(pair.extra) | {"other": other})


def pair_of(passage: Example, number: int, event: Asked) -> Example:
    """The passage with the query of its draw of this number."""
    extra = dict(passage.extra) | {"passage": passage.id} | ({} if event.fit is None else {"fit": event.fit})
    return replace(passage, id=f"{passage.id}#{number}", query=event.text, extra=extra)


def outcomes(passage: Example, ledger: Ledger, *, weighed: bool) -> Iterator[Example | Refused]:
    """What became of a passage: its pairs, and every query that was refused.

    A query is taken unweighed only where no other passage of its language has one.
    """
    draws = _draws(ledger, passage)
    status, reason = ledger.standing(passage)
    if status in ("failed", "quarantined"):
        yield Refused(passage, "unasked", {"error": reason, "draws": len(draws)})
    for n, event in enumerate(draws):
        pair = pair_of(passage, n, event)
        if event.rejected is not None:
            yield Refused(pair, event.rejected, {"draw": n} | ({} if event.fit is None else {"fit": event.fit}))
        else:
            yield _weighed(pair, ledger) if weighed else pair


def _weighed(pair: Example, ledger: Ledger) -> Example | Refused:
    status, reason = ledger.standing(pair)
    if status == "new":  # there was no other to weigh it against
        return pair
    found = next((event for event in ledger.events(pair.id) if isinstance(event, Weighed)), None)
    if found is None:
        return Refused(pair, "not_weighed", {"error": reason})
    nlls = {"nll": found.nll, "nll_other": found.nll_other}
    if not is_own(found):
        return Refused(pair, "not_its_own", {"other": found.other} | nlls)
    return replace(pair, extra=dict(pair.extra) | nlls)


def spent(passages: Iterable[Example], ledger: Ledger) -> Usage:
    """What all events of these passages and of their pairs cost."""
    total = Usage()
    for passage in passages:
        draws = _draws(ledger, passage)
        total = sum((event.usage for event in draws), total)
        pairs = (pair_of(passage, n, event).id for n, event in enumerate(draws) if event.rejected is None)
        total = sum((event.usage for pair in pairs for event in ledger.events(pair)), total)
    return total


def _draws(ledger: Ledger, passage: Example) -> list[Asked]:
    return [event for event in ledger.events(passage.id) if isinstance(event, Asked)]
