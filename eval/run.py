"""The stage reer-evaluate: held-out queries in, results out. Start reading here.

queries ─▶ respond ─▶ answers.jsonl ─▶ judge ─▶ verdicts.jsonl ─▶ summarise ─▶ results.json, report.html
   └─────▶ reference lift ─▶ lift.jsonl ────────────────────────────┘
Each step does only what its file lacks, so a step can be run again by deleting its file; a model is loaded only
when something is missing.
"""

import asyncio
import json
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from reer.backend import build_generator, build_scorer, describe
from reer.backend.fake import FakeTokenizer
from reer.backend.models import fingerprint
from reer.config import BackendConfig, BenchmarkConfig, EvaluationConfig, FakeBackendConfig, HFBackendConfig
from reer.errors import ConfigError, ModelError, RunDirError
from reer.launch import DONE, PARTIAL, command, open_run_dir
from reer.layout import build_layout
from reer.manifest import write_json, write_jsonl, write_manifest
from reer.pairs import Pairs
from reer.tracking import open_tracker
from reer.types import Generator, Judge, Rubric, Scorer

from .benchmarks import reasoning
from .judge import build_judge, judge_answers, judge_name
from .lift import LiftEngines, measure_lift
from .respond import current_answers, respond
from .store import Row, Rows
from .summarise import Stored, summarise

BENCHMARKS: dict[str, ModuleType] = {"reasoning": reasoning}
FILES = ("answers", "lift", "verdicts")
"""What the steps store, as run_dir/NAME.jsonl."""


def run(config: EvaluationConfig) -> int:
    """Answer, measure, judge and summarise whatever is missing; returns an exit code."""
    benchmark = _benchmark(config.benchmark)
    pairs: Pairs = benchmark.load(config.benchmark)
    rubric: Rubric = benchmark.RUBRIC
    if config.dry_run:
        print(planned(pairs, rubric, config))
        return DONE
    engines = Engines(config)
    stored = [Path(config.run_dir) / f"{name}.jsonl" for name in FILES]
    run_dir = open_run_dir(config, begun=any(path.exists() and path.stat().st_size for path in stored))
    refuse_other_weights(run_dir, engines.under_test)
    with ExitStack() as stack:
        files = {name: stack.enter_context(Rows(run_dir / f"{name}.jsonl")) for name in FILES}
        failed = asyncio.run(_fill(files, pairs, rubric, config, engines))
    results = summarise(
        Stored(files["answers"].rows, files["verdicts"].rows, files["lift"].rows),
        pairs.examples,
        rubric,
        model=config.evaluate.label,
        judges=[judge_name(config.judge)],
        repeats=config.judge.repeats,
        seed=config.seed,
        lift_measured=engines.can_score,
    )
    quarantine = failed + [{"status": "quarantined", **asdict(row)} for row in pairs.quarantined]
    write_jsonl(run_dir / "quarantine.jsonl", quarantine)
    write_json(run_dir / "results.json", results)
    if engines.loaded or not (run_dir / "manifest.json").exists():
        _write_manifest(run_dir, pairs, rubric, config, engines)
    _close(config, run_dir, results)
    return PARTIAL if quarantine or _unscored(results) else DONE


class Engines:
    """The models of one evaluation, each built when it is first asked for."""

    def __init__(self, config: EvaluationConfig) -> None:
        """Raises: ModelError: the model under test is a local folder that does not exist."""
        self.config = config
        self.under_test = model_under_test(config)

    @property
    def can_score(self) -> bool:
        """Whether the model under test gives log-probabilities of a given text (a chat server does not)."""
        return isinstance(self.under_test, HFBackendConfig | FakeBackendConfig)

    @property
    def loaded(self) -> bool:
        return any(name in vars(self) for name in ("generator", "lift", "judge"))

    @cached_property
    def generator(self) -> Generator:
        return build_generator(self.under_test)

    @cached_property
    def lift(self) -> LiftEngines:
        base: Scorer = build_scorer(self.config.scorer)
        same = describe(self.under_test) == describe(self.config.scorer)
        return LiftEngines(self.generator, base if same else build_scorer(self.under_test), base)

    @cached_property
    def judge(self) -> Judge:
        return build_judge(self.config.judge)


async def _fill(
    files: dict[str, Rows], pairs: Pairs, rubric: Rubric, config: EvaluationConfig, engines: Engines
) -> list[Row]:
    """The three steps that need models. Returns what failed, as rows for the quarantine."""
    examples, label, layout = pairs.examples, config.evaluate.label, config.layout
    how: dict[str, Any] = {"seed": config.seed, "concurrency": config.executor.concurrency}
    asked: dict[str, Any] = {"label": label, "benchmark": config.benchmark} | how
    parser = build_layout(layout, FakeTokenizer())  # taking a reply apart needs the frame, not the tokens
    failed = {"answer": await respond(examples, files["answers"], lambda: engines.generator, parser, **asked)}
    if engines.can_score:
        failed["lift"] = await measure_lift(examples, files["lift"], lambda: engines.lift, layout, **asked)
    else:
        print(f"reference lift is not measured: the {engines.under_test.kind} backend does not score given texts")
    answers = list(current_answers(files["answers"].rows, examples).values())
    repeats, name = config.judge.repeats, judge_name(config.judge)
    await judge_answers(answers, files["verdicts"], lambda: engines.judge, name, rubric, repeats=repeats, **how)
    return [
        {"status": "failed", "step": step, "id": id_, "reason": reason}
        for step, reasons in failed.items()
        for id_, reason in reasons.items()
    ]


def model_under_test(config: EvaluationConfig) -> BackendConfig:
    """The backend of the model under test: `evaluate.model_path` takes the place of its model.

    Raises:
        ModelError: that path is a local folder which does not exist.
    """
    backend, path = config.evaluate.backend, config.evaluate.model_path
    if path is None or not isinstance(backend, HFBackendConfig):
        return backend
    if path.count("/") > 1 and not Path(path).is_dir():
        raise ModelError(f"evaluate.model_path={path} does not exist: run reer-sft first, or choose evaluate=base")
    return replace(backend, model=replace(backend.model, path=path, revision=None))


def refuse_other_weights(run_dir: Path, under_test: BackendConfig) -> None:
    """Note which weights the run folder's answers come from: a model trained anew has the same path.

    Raises:
        RunDirError: the folder holds answers of other weights.
    """
    if not isinstance(under_test, HFBackendConfig) or not (model := Path(under_test.model.path)).is_dir():
        return
    note, found = run_dir / "weights.json", {"path": str(model), "fingerprint": fingerprint(model)}
    if not note.exists():
        write_json(note, found)
    elif json.loads(note.read_text(encoding="utf-8")) != found:
        raise RunDirError(
            f"{run_dir} holds answers of another model that stood at {model}: delete it, or choose name="
        )


def planned(pairs: Pairs, rubric: Rubric, config: EvaluationConfig) -> str:
    """What an evaluation from scratch asks of its models, as text for the terminal."""
    n, benchmark, repeats = len(pairs.examples), config.benchmark, config.judge.repeats
    return (
        f"{n} queries of {pairs.path} ({len(pairs.quarantined)} quarantined)\n"
        f"answers        {n:>8,} requests, at most {n * benchmark.max_tokens:,} tokens generated\n"
        f"reference lift {n:>8,} requests, at most {n * benchmark.thinking_tokens:,} tokens generated; "
        f"{3 * n:,} texts scored\n"
        f"verdicts       {n * repeats:>8,} by {judge_name(config.judge)}, {len(rubric.criteria)} criteria each\n"
        "(dry run: nothing was run or written)"
    )


def _benchmark(config: BenchmarkConfig) -> ModuleType:
    if config.name not in BENCHMARKS:
        raise ConfigError(f"benchmark.name={config.name} is unknown (known: {', '.join(BENCHMARKS)})")
    return BENCHMARKS[config.name]


def _write_manifest(run_dir: Path, pairs: Pairs, rubric: Rubric, config: EvaluationConfig, engines: Engines) -> None:
    roles = {"evaluated": engines.under_test, "base": config.scorer, "judge": config.judge.backend}
    write_manifest(
        run_dir,
        stage=config.stage,
        seed=config.seed,
        inputs=[pairs.path],
        models={role: describe(backend) for role, backend in roles.items()},
        layout=config.layout.name,
        prompts={"rubric": rubric.name, "sha256": rubric.version},
    )


def _unscored(results: dict[str, Any]) -> int:
    """Verdicts that failed; a failed answer is no fault of the evaluation."""
    failures = (benchmark["failures"] for benchmark in results["benchmarks"].values())
    return sum(n for statuses in failures for status, n in statuses.items() if status != "answer_failed")


def _close(config: EvaluationConfig, run_dir: Path, results: dict[str, Any]) -> None:
    """Log, draw the page, tell the user."""
    from reer.report import write_page

    stage = f"{config.stage}-{config.evaluate.label}"
    tracker = open_tracker(config.tracking, name=config.name, stage=stage, run_dir=run_dir, config=asdict(config))
    tracker.summary(results)
    tracker.artifact(run_dir / "results.json", "results")
    tracker.finish()
    page = write_page([run_dir], run_dir / "report.html")
    print(table(results))
    print(f"results        {run_dir / 'results.json'}")
    print(f"page           {page}")


def table(results: dict[str, Any]) -> str:
    """Results as a short table for the terminal."""
    lines = []
    for name, benchmark in results["benchmarks"].items():
        lines.append(f"{results['model']} on {name}, judged by {', '.join(benchmark['judges'])} (mean, 95 % interval)")
        rows = benchmark["scores"] | {"overall": benchmark["overall"]}
        lines += [f"  {key.replace('_', ' '):24}{_shown(row)}  {row['n_ok']}/{row['n']}" for key, row in rows.items()]
        if benchmark["failures"]:
            lines.append("  without a verdict: " + ", ".join(f"{k} {n}" for k, n in benchmark["failures"].items()))
    if lift := results["reference_lift"]:
        shown = {name: "–" if nll is None else f"{nll:.3f}" for name, nll in lift["nll"].items()}
        lines.append(f"  reference lift          {_shown(lift)}  {lift['n']}/{lift['n_asked']}  nats per token")
        lines.append(
            f"    NLL of the reference answer: base {shown['base']}, this model {shown['model']}, "
            f"this model with its thinking {shown['model_with_thinking']}"
        )
    outputs = results["outputs"]
    shares = {name: outputs[name]["mean"] for name in ("well_formed", "loop_rate", "truncated")}
    percent = {name: "–" if mean is None else f"{mean:.0%}" for name, mean in shares.items()}
    lines.append(
        f"  well-formed {percent['well_formed']}, ending in a loop {percent['loop_rate']}, "
        f"cut at the token limit {percent['truncated']}, words {_shown(outputs['words'], 0).strip()}"
    )
    return "\n".join(lines)


def _shown(row: dict[str, Any], digits: int = 3) -> str:
    if row["mean"] is None:
        return f"{'–':>7}"
    interval = "" if row["low"] is None else f"  [{row['low']:.{digits}f}, {row['high']:.{digits}f}]"
    return f"{row['mean']:>7.{digits}f}{interval}"


main = command("evaluate", EvaluationConfig, run)

if __name__ == "__main__":
    main()
