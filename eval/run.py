"""The stage reer-evaluate: prompts of a benchmark in, results out. Start reading here.

benchmark ─▶ respond ─▶ answers.jsonl ─▶ judge ─▶ verdicts.jsonl ─▶ summarise ─▶ results.json, scores.jsonl, page
    └──────▶ reference lift ─▶ lift.jsonl ─────────────────────────────┘
Each step does only what its file lacks, so a step can be run again by deleting its file, or alone (`steps=[judge]`);
a model is loaded only when something is missing.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from reer.backend import describe, served
from reer.config import STEPS, EvaluationConfig, ModelJudgeConfig
from reer.errors import ConfigError, DataError
from reer.files.pairs import Quarantined
from reer.run.day import dated
from reer.run.executor.cluster import check_executor
from reer.run.launch import DONE, PARTIAL, command, open_run_dir
from reer.run.manifest import write_card, write_json, write_jsonl, write_manifest
from reer.run.tracking import record

from .answering.answers import read_answers, take_answers
from .answering.engines import Engines, refuse_other_weights, replaced
from .answering.lift import LIFT_FIELDS, changed_pairs, measure_lift
from .answering.outputs import training_texts
from .answering.respond import ANSWER_FIELDS, changed_prompts, current_answers, reply_parser, respond
from .answering.thoughts import check
from .answering.workers import Workers
from .benchmarks import load
from .benchmarks.items import Benchmark, Item
from .benchmarks.rubric import WORDING
from .judging.anchors import anchor_items, drift
from .judging.ask import VERDICT_FIELDS, judge_answers, refuse_unlike, settled
from .judging.judge import build_judge, judges_of, refuse_missing_keys
from .judging.lineage import lineage_of
from .plan import planned
from .scoring.summarise import Stored, summarise
from .scoring.table import table
from .store import Row, Rows
from .types import Judge
from .validation.validate import known_agreement, validate

FILES = {"answers": ANSWER_FIELDS, "lift": LIFT_FIELDS, "verdicts": VERDICT_FIELDS, "anchors": VERDICT_FIELDS}
"""What the steps store, as run_dir/NAME.jsonl, and what each row of it has at least."""
UNITS = {"scores": "of the benchmark's scale", "reference_lift": "nats per answer token", "cost": "dollars"}
"""Of the numbers that a tracker is told."""
ANCHOR_SEED = 0
"""Of every run, so that the anchors are always asked in the same way."""
Judges = Mapping[str, ModelJudgeConfig]
Files = Mapping[str, Rows]


def run(config: EvaluationConfig) -> int:
    """Answer, measure, judge and summarise whatever is missing; returns an exit code."""
    config = dated(config, config.evaluate.model_path, config.evaluate.training_data)
    if config.validate.data:
        return validate(config)
    if unknown := [step for step in config.steps if step not in STEPS]:
        raise ConfigError(f"steps={unknown[0]} is unknown (known: {', '.join(STEPS)})")
    check(config.benchmark)
    check_executor(config.executor)
    benchmark, judges = load(config.benchmark), judges_of(config.judge)
    for line in benchmark.told:
        print(line)
    if config.dry_run:
        print(planned(benchmark, judges, config))
        return DONE
    answering = "respond" in config.steps and not config.answers
    engines = Engines(config) if answering else None
    stored = [Path(config.run_dir) / f"{name}.jsonl" for name in FILES]
    begun = any(path.exists() and path.stat().st_size for path in stored)
    run_dir = open_run_dir(config, begun=begun, free=("judge",))  # every verdict says itself how it was asked for
    if engines:
        refuse_other_weights(run_dir, engines.under_test)
    write_jsonl(run_dir / "items.jsonl", map(_described, benchmark.items))
    with ExitStack() as stack:
        files = {name: stack.enter_context(Rows(run_dir / f"{name}.jsonl", FILES[name])) for name in FILES}
        before = {name: len(rows.rows) for name, rows in files.items()}
        broken = [*benchmark.quarantined, *_take(files["answers"], benchmark, config)]
        _refuse_early(files["answers"], benchmark, judges, config)
        failed = asyncio.run(_fill(files, benchmark, judges, config, engines))
    quarantine = [{"status": "quarantined", **asdict(row)} for row in broken]
    quarantine += failed
    if config.steps != ["respond"]:
        quarantine += _unusable(files, benchmark, judges)
    write_jsonl(run_dir / "quarantine.jsonl", quarantine)
    worked = any(len(rows.rows) > before[name] for name, rows in files.items())
    if worked or not (run_dir / "manifest.json").exists():
        _write_manifest(run_dir, benchmark, judges, config, engines)
    if "summarise" not in config.steps:
        return PARTIAL if quarantine else DONE
    lift = engines.can_score if engines else bool(files["lift"].rows)
    results = _summarise(run_dir, files, benchmark, judges, config, lift=lift)
    _close(config, run_dir, results)
    return PARTIAL if quarantine or results["benchmarks"][benchmark.name]["failures"] else DONE


def _take(answers: Rows, benchmark: Benchmark, config: EvaluationConfig) -> list[Quarantined]:
    """Store the answers of a given file. Returns its broken rows."""
    if not config.answers:
        return []
    given = read_answers(Path(config.answers), benchmark, reply_parser(config.layout), config.evaluate.label)
    take_answers(given, answers)
    if given.quarantined:
        first = given.quarantined[0]
        print(f"{len(given.quarantined)} rows of {given.path} are broken (row {first.row}: {first.reason})")
    return given.quarantined


def _refuse_early(answers: Rows, benchmark: Benchmark, judges: Judges, config: EvaluationConfig) -> None:
    """Raises: DataError, ConfigError: what a step would only notice after those before it, hours later perhaps."""
    missing = len(benchmark.items) - len(current_answers(answers.rows, benchmark.items))
    if config.answers or "respond" not in config.steps:
        if missing == len(benchmark.items):
            where = f"answers={config.answers}" if config.answers else f"{answers.path.parent}"
            raise DataError(
                f"{where} holds no answer to any of the {missing} prompts that are asked: take steps=[respond] first, "
                "give another answers=FILE, or raise benchmark.limit"
            )
    elif missing and "judge" in config.steps:
        refuse_missing_keys(judges)


async def _fill(
    files: Files, benchmark: Benchmark, judges: Judges, config: EvaluationConfig, engines: Engines | None
) -> list[Row]:
    """The steps that need models. Returns what failed, as rows for the quarantine."""
    failed: dict[str, dict[str, str]] = {}
    if engines:
        failed |= await _answer(files, benchmark, config, engines)
    if "judge" in config.steps:
        answers = current_answers(files["answers"].rows, benchmark.items)
        for name, judge in judges.items():
            failed[f"judge {name}"] = await _judge(files, benchmark, answers, name, judge, config)
    for reason in sorted({reason for reasons in failed.values() for reason in reasons.values()}):
        print(f"not done: {reason}; the same command tries again")
    return [
        {"status": "failed", "step": step, "id": id_, "reason": reason}
        for step, reasons in failed.items()
        for id_, reason in reasons.items()
    ]


def _unusable(files: Files, benchmark: Benchmark, judges: Judges) -> list[Row]:
    """Verdicts that ended without a score, as rows for the quarantine; says the commonest reason of each kind."""
    answers = current_answers(files["answers"].rows, benchmark.items)
    rows = [row for row in settled(files["verdicts"].rows, answers).values() if row["status"] != "ok"]
    failed = [row for row in rows if row["judge"] in judges and row["repeat"] < judges[row["judge"]].repeats]
    for judge, status in sorted({(row["judge"], row["status"]) for row in failed}):
        reasons = Counter(row["detail"] for row in failed if (row["judge"], row["status"]) == (judge, status))
        [(reason, _)] = reasons.most_common(1)
        print(f"no verdict of {judge}: {reasons.total()} x {status} ({reason})")
    return [
        {"status": row["status"], "step": f"judge {row['judge']}", "id": row["id"], "reason": row["detail"]}
        for row in failed
    ]


async def _answer(
    files: Files, benchmark: Benchmark, config: EvaluationConfig, engines: Engines
) -> dict[str, dict[str, str]]:
    """Let the model under test answer, and measure its reference lift where there are references."""
    references = [item.reference for item in benchmark.items if item.reference]
    if changed := changed_prompts(files["answers"].rows, benchmark.items):
        print(f"prompts changed since the last run: {changed:,}, answered anew")
    if changed := changed_pairs(files["lift"].rows, references):
        print(f"reference pairs changed since the last run: {changed:,}, measured anew")
    async with Workers(config) as workers:
        slots = workers.concurrency
        failed = {"answer": await respond(benchmark.items, files["answers"], workers.answering, concurrency=slots)}
        if references and engines.can_score:
            failed["lift"] = await measure_lift(references, files["lift"], workers.lifting, concurrency=slots)
        elif references:
            print(f"reference lift is not measured: the {engines.under_test.kind} backend does not score given texts")
        engines.learned = await workers.facts()
    return failed


async def _judge(
    files: Files,
    benchmark: Benchmark,
    answers: Mapping[str, Row],
    name: str,
    judge: ModelJudgeConfig,
    config: EvaluationConfig,
) -> dict[str, str]:
    """One judge's missing verdicts on the answers, and on the anchors where it has any."""

    def build(judge: ModelJudgeConfig) -> Judge:
        return build_judge(judge, name)

    slots = config.executor.concurrency
    failed = await judge_answers(
        benchmark.items, answers, files["verdicts"], partial(build, judge), name, judge,
        seed=config.seed, concurrency=slots, elsewhere=files["anchors"].rows,
    )  # fmt: skip
    if judge.anchors and not failed:
        fresh = replace(judge, cache=False, repeats=1)  # a remembered reply cannot drift
        items, texts, _ = anchor_items()
        failed = await judge_answers(
            items, texts, files["anchors"], partial(build, fresh), name, fresh,
            seed=ANCHOR_SEED, concurrency=slots, elsewhere=files["verdicts"].rows, title="anchors",
        )  # fmt: skip
    return failed


def _summarise(
    run_dir: Path, files: Files, benchmark: Benchmark, judges: Judges, config: EvaluationConfig, *, lift: bool
) -> dict[str, Any]:
    """Write results.json and scores.jsonl from what is stored."""
    verdicts, training = files["verdicts"], Path(config.evaluate.training_data or "")
    for name, judge in judges.items():
        refuse_unlike(verdicts, benchmark.items, name, judge)
    results, scores = summarise(
        Stored(files["answers"].rows, verdicts.rows, files["lift"].rows, files["anchors"].rows),
        benchmark,
        judges,
        model=config.evaluate.label,
        seed=config.seed,
        lift_measured=lift,
        training=training_texts(training) if training.is_file() else None,
    )
    results["benchmarks"][benchmark.name]["anchors"] = {
        name: found
        for name, judge in judges.items()
        if (found := drift(files["anchors"].rows, name, Path(judge.baseline) if judge.baseline else None, config.seed))
    }
    results["benchmarks"][benchmark.name]["validation"] = known_agreement(Path(config.validate.run_dir), judges)
    write_jsonl(run_dir / "scores.jsonl", scores)
    write_json(run_dir / "results.json", results)
    return results


def _described(item: Item) -> Row:
    """A row of items.jsonl."""
    criteria = [
        {"name": c.name, "title": c.title, "question": c.question, "weight": c.weight, "scale": list(c.scale)}
        for c in item.rubric.criteria
    ]
    return {
        "id": item.id,
        "groups": dict(item.groups),
        "required_words": item.required_words,
        "criteria": criteria,
        "source": item.reference.source if item.reference else None,
    }


def _write_manifest(
    run_dir: Path, benchmark: Benchmark, judges: Judges, config: EvaluationConfig, engines: Engines | None
) -> None:
    models = {f"judge {name}": served(judge.backend) for name, judge in judges.items()}
    if not config.answers:
        evaluated = engines.learned if engines and engines.learned else served(replaced(config.evaluate))
        models = {"evaluated": evaluated, "base": describe(config.scorer)} | models
    inputs = [Path(path) for path in (config.answers, config.benchmark.rubric) if path]
    write_manifest(
        run_dir,
        stage=config.stage,
        seed=config.seed,
        inputs=inputs,
        models=models,
        layout=config.layout.name,
        date=config.layout.date,
        prompts={"rubric": benchmark.version, "wording": WORDING},
        data=asdict(benchmark.source),
    )


def _close(config: EvaluationConfig, run_dir: Path, results: dict[str, Any]) -> None:
    """Log, draw the page, tell the user."""
    from reer.page.report import write_page
    from reer.page.tables import answer_tables

    stage = f"{config.stage}-{config.evaluate.label}-{config.benchmark.name}"
    write_card(run_dir, {"answers": "answers.jsonl", "scores": "scores.jsonl"})
    page = write_page([run_dir], run_dir / "report.html")
    made = {"results": run_dir / "results.json", "page": page}
    lineage, tables = partial(lineage_of, config, run_dir), partial(answer_tables, run_dir)
    record(config, stage, results, made, lineage=lineage, tables=tables, units=UNITS)
    print(table(results))
    print(f"results        {run_dir / 'results.json'}")
    print(f"page           {page}")


main = command("evaluate", EvaluationConfig, run)

if __name__ == "__main__":
    main()
