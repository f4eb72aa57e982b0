"""What an evaluation will ask of its models and what its judges will cost (`dry_run=true`).

An estimate from word counts; nothing is loaded or written. Answers that are stored, or given as a file, are counted
as they are; others are assumed.
"""

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

from reer.config import EvaluationConfig, ModelJudgeConfig
from reer.cost import TEMPLATE, tokens
from reer.types import Rubric, Usage

from .anchors import anchor_items
from .answers import read_answers
from .ask import VERDICT_FIELDS, calls_of, settled
from .budget import dollars
from .items import Benchmark, Item
from .lift import LIFT_FIELDS, current_lifts
from .respond import ANSWER_FIELDS, current_answers, reply_parser
from .rubric import ask_all, material
from .store import Row, peek

ANSWER = 1200
"""Tokens of an answer that is not there yet, unless a length is required or fewer are allowed. A guess."""
REASON = 70
"""Tokens that a judge writes for one criterion: reason, score and the JSON around them. A guess."""
DRY_RUN = "(dry run: an estimate from word counts; nothing was run or written)"


def planned(benchmark: Benchmark, judges: Mapping[str, ModelJudgeConfig], config: EvaluationConfig) -> str:
    """The plan as text for the terminal."""
    answers, broken = _answers(benchmark, config)
    missing = [item for item in benchmark.items if item.id not in answers]
    judged = [item for item in benchmark.items if item.id in answers] if config.answers else benchmark.items
    lines = [f"{len(benchmark.items)} prompts of {benchmark.name} ({len(benchmark.quarantined)} quarantined)"]
    if broken:
        lines.append(f"quarantined    {broken:>8,} rows of {config.answers}")
    if config.answers:
        lines.append(f"answers        {len(judged):>8,} given, {len(missing):,} prompts without one")
    elif "respond" in config.steps:
        allowed = len(missing) * config.benchmark.max_tokens
        lines.append(f"answers        {len(missing):>8,} requests, at most {allowed:,} tokens generated")
        if references := _lifts_missing(benchmark, config):
            thought = references * config.benchmark.thinking_tokens
            lines.append(
                f"reference lift {references:>8,} requests, at most {thought:,} tokens generated; "
                f"{3 * references:,} texts scored"
            )
    if "judge" in config.steps:
        stored = peek(Path(config.run_dir) / "verdicts.jsonl", VERDICT_FIELDS)
        lines += [judging(name, judge, judged, answers, stored, config) for name, judge in judges.items()]
    return "\n".join([*lines, DRY_RUN])


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
                around = tokens(material(item.query, "") + ask_all(criteria, item.rubric.guidance))
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


def _lifts_missing(benchmark: Benchmark, config: EvaluationConfig) -> int:
    references = [item.reference for item in benchmark.items if item.reference]
    stored = peek(Path(config.run_dir) / "lift.jsonl", LIFT_FIELDS)
    return len(references) - len(current_lifts(stored, references))


def _answers(benchmark: Benchmark, config: EvaluationConfig) -> tuple[dict[str, Row], int]:
    """The answers that are there, by id, and how many rows of a given file are broken."""
    if not config.answers:
        stored = peek(Path(config.run_dir) / "answers.jsonl", ANSWER_FIELDS)
        return current_answers(stored, benchmark.items), 0
    given = read_answers(Path(config.answers), benchmark, reply_parser(config.layout), config.evaluate.label)
    return {row["id"]: row for row in given.answers}, len(given.quarantined)
