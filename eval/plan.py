"""What an evaluation will ask of its models and what its judges will cost (`dry_run=true`).

An estimate from word counts; nothing is loaded or written. Answers that are stored, or given as a file, are counted
as they are; others are assumed.
"""

from collections.abc import Mapping
from pathlib import Path

from reer.config import BenchmarkConfig, EvaluationConfig, ModelJudgeConfig

from .answering.answers import read_answers
from .answering.lift import LIFT_FIELDS, current_lifts
from .answering.respond import ANSWER_FIELDS, current_answers, reply_parser
from .benchmarks.items import Benchmark
from .judging.ask import VERDICT_FIELDS
from .judging.cost import DRY_RUN, judging
from .store import Row, peek


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
            lines.append(_lift(references, config.benchmark))
    if "judge" in config.steps:
        stored = peek(Path(config.run_dir) / "verdicts.jsonl", VERDICT_FIELDS)
        lines += [judging(name, judge, judged, answers, stored, config) for name, judge in judges.items()]
    return "\n".join([*lines, DRY_RUN])


def _lift(references: int, benchmark: BenchmarkConfig) -> str:
    """Base and model score each answer without thinking, the model again behind each thought."""
    n = benchmark.thoughts
    each = f" of {n} thoughts" if n > 1 else ""
    return (
        f"reference lift {references if n else 0:>8,} requests{each}, "
        f"at most {references * n * benchmark.thinking_tokens:,} tokens generated; "
        f"{references * (2 + n):,} texts scored"
    )


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
