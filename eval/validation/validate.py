"""A judge held to account: it judges texts that people rated, and its agreement with them is measured.

`reer-evaluate validate.data=PATH` asks the judges of the config the same questions about the same texts, and writes
how well they agree with the people, beside how well those agree among themselves. Later evaluations of the same
experiment carry it next to their scores. Verdicts are stored as in an evaluation, so a run can be resumed.
"""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from reer.backend import describe
from reer.config import EvaluationConfig, ModelJudgeConfig, ValidationConfig
from reer.errors import DataError
from reer.run.launch import DONE, PARTIAL, open_run_dir
from reer.run.manifest import write_card, write_json, write_manifest
from reer.types import FORMAT_VERSION

from ..benchmarks.items import Item
from ..benchmarks.rubric import WORDING
from ..judging.ask import VERDICT_FIELDS, Cell, calls_of, judge_answers, settings_of, settled
from ..judging.cost import DRY_RUN, judging
from ..judging.judge import build_judge, judges_of
from ..scoring.summary import counts
from ..store import Row, Rows, peek
from .agreement import agreement
from .ratings import Ratings, read_ratings

RESULT, VERDICTS = "validation.json", "verdicts.jsonl"


def validate(config: EvaluationConfig) -> int:
    """Judge what people rated, and measure the agreement; returns an exit code.

    Raises:
        DataError: the ratings cannot be read.
        RunDirError: validate.run_dir belongs to other ratings or another judge.
    """
    asked = config.validate
    path, rubric = Path(asked.data or ""), Path(asked.rubric) if asked.rubric else None
    ratings = read_ratings(path, rubric).first(asked.limit)
    judges = judges_of(config.judge)
    if config.dry_run:
        print(_planned(ratings, judges, config))
        return DONE
    run_dir = _open(config)
    items, texts = _items(ratings), _texts(ratings)
    with Rows(run_dir / VERDICTS, VERDICT_FIELDS) as verdicts:
        undone = asyncio.run(_judge(items, texts, verdicts, judges, config))
        stood = settled(verdicts.rows, texts)
    write_manifest(
        run_dir,
        stage="validate",
        seed=config.seed,
        inputs=[path / name for name in ratings.files] if path.is_dir() else [path],
        models={f"judge {name}": describe(judge.backend) for name, judge in judges.items()},
        prompts={"rubric": ratings.rubric.version, "wording": WORDING},
    )
    result = _result(ratings, stood, judges, config.seed)
    write_json(run_dir / RESULT, result)
    write_card(run_dir, {"verdicts": VERDICTS})
    print(table(result))
    print(f"validation     {run_dir / RESULT}")
    failed = any(judge["failures"] for judge in result["judges"].values())
    return PARTIAL if undone or failed else DONE


def _open(config: EvaluationConfig) -> Path:
    """The folder, frozen with what decides its numbers: which benchmark comes next does not."""
    own = ValidationConfig(
        name=config.name,
        stage="validate",
        run_dir=config.validate.run_dir,
        seed=config.seed,
        judge=config.judge,
        executor=config.executor,
        validate=config.validate,
    )
    stored = Path(own.run_dir) / VERDICTS
    return open_run_dir(own, begun=stored.exists() and stored.stat().st_size > 0, free=("judge",))


def _items(ratings: Ratings) -> list[Item]:
    return [Item(id=text.id, query=text.query, rubric=ratings.rubric) for text in ratings.texts]


def _texts(ratings: Ratings) -> dict[str, Row]:
    """The rated texts in the form of answers."""
    named = {"model": "people", "benchmark": ratings.name}
    return {text.id: named | {"id": text.id, "prompt": text.query, "answer": text.text} for text in ratings.texts}


async def _judge(
    items: Sequence[Item],
    texts: Mapping[str, Row],
    verdicts: Rows,
    judges: Mapping[str, ModelJudgeConfig],
    config: EvaluationConfig,
) -> dict[str, str]:
    undone: dict[str, str] = {}
    for name, judge in judges.items():
        build = partial(build_judge, judge, name)
        slots = config.executor.concurrency
        undone |= await judge_answers(items, texts, verdicts, build, name, judge, seed=config.seed, concurrency=slots)
    for reason in sorted(set(undone.values())):
        print(f"not done: {reason}; the same command tries again")
    return undone


def _result(
    ratings: Ratings,
    verdicts: Mapping[Cell, Row],
    judges: Mapping[str, ModelJudgeConfig],
    seed: int,
) -> dict[str, Any]:
    """The content of validation.json."""
    found: dict[str, Any] = {}
    for name, judge in judges.items():
        asked = [verdicts.get(cell) for cell in _cells(ratings, name, judge.repeats)]
        statuses = Counter(row["status"] if row else "not_judged" for row in asked)
        found[name] = agreement(ratings, _scores([row for row in asked if row]), seed) | {
            "settings": settings_of(judge),
            "asked": len(asked),
            "failures": counts({status: n for status, n in statuses.items() if status != "ok"}),
        }
    return {
        "data": {
            "name": ratings.name,
            "texts": len(ratings.texts),
            "left_out": ratings.left_out,
            "ratings": sum(map(len, ratings.scores.values())),
            "raters": ratings.raters,
            "files": dict(ratings.files),
        },
        "rubric": ratings.rubric.version,
        "prompts": WORDING,
        "judges": found,
        "format_version": FORMAT_VERSION,
    }


def _cells(ratings: Ratings, judge: str, repeats: int) -> list[Cell]:
    """Every verdict that a judge is asked for; a folder may hold repeats beyond those that the config asks for."""
    return [
        (judge, text.id, repeat, call.name if call else None)
        for text in ratings.texts
        for repeat in range(repeats)
        for call in calls_of(ratings.rubric)
    ]


def _scores(verdicts: Sequence[Row]) -> dict[tuple[str, str], float]:
    """Mean over a judge's repeats, of every text and criterion that it gave a score to."""
    given: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row in verdicts:
        for criterion, score in row["scores"].items():
            if score is not None:
                given[row["id"], criterion].append(score)
    return {unit: fmean(scores) for unit, scores in given.items()}


def known_agreement(run_dir: Path, judges: Mapping[str, ModelJudgeConfig]) -> dict[str, Any]:
    """What the validation in a folder says of some judges, in short, to stand beside their scores; else empty.

    What a judge is worth at other settings says nothing of these scores: it is left out, and the user is told.

    Raises:
        DataError: its file is broken.
    """
    path = run_dir / RESULT
    if not path.exists():
        return {}
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        return {
            name: {
                "name": result["data"]["name"],
                "texts": result["data"]["texts"],
                "alpha": judge["overall"]["human_judge"],
                "human_alpha": judge["overall"]["human_human"],
                "spearman": judge["overall"]["spearman"],
            }
            for name, judge in result["judges"].items()
            if name in judges and _asked_alike(path, name, judge.get("settings"), settings_of(judges[name]))
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error


def _asked_alike(path: Path, judge: str, then: str | None, now: str) -> bool:
    if then != now:
        print(
            f"{path}: {judge} was validated with other settings ({then or 'unknown'}, now {now or 'none'}), so its "
            "agreement with people is not shown beside its scores"
        )
    return then == now


def _planned(ratings: Ratings, judges: Mapping[str, ModelJudgeConfig], config: EvaluationConfig) -> str:
    """The plan as text for the terminal; the frozen anchors have no part in a validation."""
    lines = [f"{len(ratings.texts)} texts of {ratings.name}, {ratings.raters} raters ({ratings.left_out} left out)"]
    items, texts = _items(ratings), _texts(ratings)
    stored = peek(Path(config.validate.run_dir) / VERDICTS, VERDICT_FIELDS)
    for name, judge in judges.items():
        lines.append(judging(name, replace(judge, anchors=False), items, texts, stored, config))
    return "\n".join([*lines, DRY_RUN])


def table(result: Row) -> str:
    """The agreement as text for the terminal."""
    data, lines = result["data"], []
    heads = "".join(f"{head:<22}" for head in ("alpha, people", "alpha, with judge", "Spearman"))
    for judge, found in result["judges"].items():
        lines.append(f"{judge} against {data['raters']} people on {data['texts']} texts of {data['name']}")
        lines.append(f"  {'':34}{heads}{'n':<7}right (commonest)")
        rows = found["criteria"] | {"all": found["overall"]}
        if found["by_text"]:
            rows["whole texts"] = found["by_text"]
        for name, facts in rows.items():
            shown = "".join(f"{_shown(facts[key]):<22}" for key in ("human_human", "human_judge", "spearman"))
            right = f"{_percent(facts['accuracy'])} ({_percent(facts['commonest'])})" if "accuracy" in facts else ""
            lines.append(f"  {name[:33]:34}{shown}{facts['n']:<7,}{right}".rstrip())
        lines += _missing(found)
    return "\n".join(lines)


def _missing(found: Row) -> list[str]:
    failures = found["failures"]
    if not failures:
        return []
    named = ", ".join(f"{status} {n:,}" for status, n in failures.items())
    return [f"  partial: {sum(failures.values()):,} of {found['asked']:,} verdicts are missing ({named})"]


def _shown(estimate: Row) -> str:
    if estimate["mean"] is None:
        return "–"
    if estimate["low"] is None:
        return f"{estimate['mean']:.2f}"
    return f"{estimate['mean']:.2f} [{estimate['low']:.2f}, {estimate['high']:.2f}]"


def _percent(estimate: Row) -> str:
    return "–" if estimate["mean"] is None else f"{estimate['mean']:.0%}"
