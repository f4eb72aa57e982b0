"""What a judge's missing verdicts will cost (`dry_run=true`): estimated from word counts, with nothing loaded."""

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

from reer.config import EvaluationConfig, ModelJudgeConfig
from reer.method.cost import TEMPLATE, tokens
from reer.types import Usage

from ..benchmarks.items import Item
from ..benchmarks.rubric import ask_all, material
from ..store import Row, peek
from ..types import Rubric
from .anchors import anchor_items
from .ask import VERDICT_FIELDS, calls_of, settled
from .budget import dollars

ANSWER = 1200
"""Tokens of an answer that is not there yet, unless a length is required or fewer are allowed. A guess."""
REASON = 70
"""Tokens that a judge writes for one criterion: reason, score and the JSON around them. A guess."""
DRY_RUN = "(dry run: an estimate from word counts; nothing was run or written)"


def judging(
    name: str,
    judge: ModelJudgeConfig,
    items: Sequence[Item],
    answers: Mapping[str, Row],
    verdicts: Sequence[Row],
    config: EvaluationConfig,
) -> str:
    """One judge's line: calls, tokens, and dollars where the prices are known."""
    allowed = config.benchmark.max_tokens
    used, extra = _usage(name, items, answers, verdicts, judge.repeats, allowed), ""
    if judge.anchors:
        frozen, texts, _ = anchor_items()
        anchors = _usage(name, frozen, texts, peek(Path(config.run_dir) / "anchors.jsonl", VERDICT_FIELDS), 1, allowed)
        used, extra = used + anchors, f" ({anchors.calls} of them on anchors)" if anchors.calls else ""
    if judge.kind == "likelihood":
        return f"verdicts       {used.calls:>8,} by {name}, {_criteria(items)} each{extra}, no text written"
    cost, price = dollars(used, judge.price), judge.price
    shown = "no price given: judge.price.input=... and judge.price.output=... in $ per 1M tokens"
    if cost is not None:
        dated = f" of {price.as_of}" if price.as_of else ", undated"
        shown = f"about ${cost:,.2f} at ${price.input:g} in and ${price.output:g} out per 1M tokens (prices{dated})"
    return (
        f"verdicts       {used.calls:>8,} calls to {name}, {_criteria(items)} each{extra}: about "
        f"{used.prefilled_tokens:,} tokens read, {used.generated_tokens:,} written; {shown}"
    )


def _usage(
    name: str,
    items: Sequence[Item],
    answers: Mapping[str, Row],
    verdicts: Sequence[Row],
    repeats: int,
    allowed: int,
) -> Usage:
    """What one judge's missing verdicts take; `allowed`: tokens of an answer that is not there yet, at most."""
    done = settled(verdicts, answers)
    ok = {cell for cell, row in done.items() if row["status"] == "ok"}
    used = Usage()
    for item, repeat in product(items, range(repeats)):
        written = _answer_tokens(item, answers.get(item.id), allowed)
        for call in calls_of(item.rubric) if written else ():
            if (name, item.id, repeat, call.name if call else None) not in ok:
                criteria = (call,) if call else item.rubric.criteria
                around = tokens(material(item.prompt, "") + ask_all(criteria, item.rubric.guidance))
                read, said = TEMPLATE + around + written, REASON * len(criteria)
                used += Usage(calls=1, prefilled_tokens=read, generated_tokens=said)
    return used


def _criteria(items: Sequence[Item]) -> str:
    found = [_per_call(item.rubric) for item in items]
    fewest, most = min(found, default=0), max(found, default=0)
    if fewest == most:
        return "one criterion" if most == 1 else f"{most} criteria"
    return f"{fewest} to {most} criteria"


def _per_call(rubric: Rubric) -> int:
    return len(rubric.criteria) if rubric.one_call else 1


def _answer_tokens(item: Item, answer: Row | None, allowed: int) -> int:
    if answer is not None:
        return tokens(answer["answer"])
    return min(allowed, item.required_words * 4 // 3 if item.required_words else ANSWER)
