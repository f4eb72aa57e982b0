"""The step that judges stored answers: which verdicts are missing, who is asked for them, and which of them stand.

Every attempt is a row. Knows judges by their protocol; knows no model and no benchmark.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from reer.config import ModelJudgeConfig, OpenAIJudgeConfig
from reer.errors import DataError, ModelError
from reer.files.results import judged_hash
from reer.text import seed_of
from reer.types import Usage

from ..answering.engines import weights_of
from ..benchmarks.items import Item
from ..benchmarks.rubric import ask_all
from ..store import Row, Rows, fill
from ..types import Criterion, Judge, JudgeRequest, Rubric, Verdict
from .budget import Budget
from .judge import shown, verdict_schema

UNREADABLE = 5
"""If none of so many first verdicts can be read, however often they were asked for, none ever will be."""
Cell = tuple[str, str, int, str | None]
"""What one verdict is about: judge, id, repeat, criterion (None: all of them)."""
VERDICT_FIELDS = ("id", "judge", "repeat", "criterion", "status", "scores", "detail", "cached", "usage", "rubric",
                  "judged")  # fmt: skip
"""What a row of verdicts.jsonl has at least."""
TEMPLATE = 64
"""Tokens that a chat template may add to a prompt."""


@dataclass(frozen=True, slots=True)
class Task:
    """One verdict that is missing."""

    item: Item
    answer: Row
    repeat: int
    criterion: Criterion | None

    @property
    def criteria(self) -> tuple[Criterion, ...]:
        return (self.criterion,) if self.criterion else self.item.rubric.criteria

    def cell(self, judge: str) -> Cell:
        return judge, self.item.id, self.repeat, self.criterion.name if self.criterion else None


@dataclass(frozen=True, slots=True)
class Asking:
    """One judge, and how it is asked."""

    judge: Judge
    config: ModelJudgeConfig
    settings: str
    budget: Budget
    seed: int

    async def attempt(self, task: Task, before: Sequence[Row]) -> Row:
        """One more verdict on the task, as a row; a usable reply was not among those before."""
        number = sum(row["status"] != "api_error" for row in before)
        named = (task.criterion.name if task.criterion else None, number) if task.criterion or number else ()
        request = JudgeRequest(
            id=task.item.id,
            query=task.answer["prompt"],
            answer=task.answer["answer"],
            rubric=task.item.rubric,
            criteria=task.criteria,
            repeat=task.repeat,
            seed=seed_of(self.seed, "judge", task.item.id, task.repeat, *named),
        )
        async with self.budget.room(worst_case(request, self.config) if self.budget.capped else Usage()) as paid:
            verdict = await self.judge.judge(request)
            paid.append(Usage() if verdict.cached else verdict.usage)
        return _row(verdict, task, self.judge.name, self.settings)


async def judge_answers(
    items: Sequence[Item],
    answers: Mapping[str, Row],
    verdicts: Rows,
    judge: Callable[[], Judge],
    name: str,
    config: ModelJudgeConfig,
    *,
    seed: int,
    concurrency: int,
    elsewhere: Sequence[Row] = (),
    title: str = "judge",
) -> dict[str, str]:
    """Ask for every verdict that is missing. The judge is built only if there is one to ask for.

    An empty answer is not judged. `elsewhere`: verdicts in another file that count towards the judge's caps. Returns
    what was not asked because of a cap: cell in words -> reason.

    Raises:
        DataError: a stored verdict was given by another wording, or by this judge with other settings.
        ModelError: this judge can give no verdict (none of its first replies can be read, say), or its cost cannot be
            counted under `max_cost`.
    """
    refuse_unlike(verdicts, items, name, config)
    attempts = _attempts(verdicts.rows, answers)
    work = [
        task for task in _tasks(items, answers, config.repeats) if _open(attempts.get(task.cell(name), []), config)
    ]
    if not work:
        return {}
    own = [row for row in (*verdicts.rows, *elsewhere) if row["judge"] == name]
    no_count = f"judge.max_cost cannot be kept: the server of {name} reports no usage; set judge.max_calls"
    if any(_uncounted(row, config) for row in own):
        raise ModelError(no_count)
    asking = Asking(judge(), config, settings_of(config), Budget(name, config, own), seed)
    by_cell = {task.cell(name): task for task in work}
    ended = Counter(row["status"] for row in own if row["status"] == "ok")

    async def one(cell: Cell) -> Row:
        task, before = by_cell[cell], list(attempts.get(cell, []))
        if ended["parse_failed"] >= UNREADABLE and not ended["ok"]:
            raise ModelError(_no_verdicts(name))
        while True:
            row = await asking.attempt(task, before)
            before.append(row)
            if _uncounted(row, config):
                verdicts.append(row)
                raise ModelError(no_count)
            if row["status"] == "api_error" or not _open(before, config):
                ended[row["status"]] += 1
                return row
            verdicts.append(row)

    failed = await fill(verdicts, list(by_cell), one, concurrency=concurrency, title=f"{title} {name}")
    return {" ".join(str(part) for part in cell if part is not None): reason for cell, reason in failed.items()}


def _no_verdicts(name: str) -> str:
    return (
        f"{name} gives no verdicts: none of the first {UNREADABLE} follows the schema that it was asked for, so no "
        "more are paid for (verdicts.jsonl has the reasons); its server seems to ignore response_format"
    )


def _tasks(items: Sequence[Item], answers: Mapping[str, Row], repeats: int) -> list[Task]:
    return [
        Task(item, answers[item.id], repeat, criterion)
        for item in items
        if item.id in answers and answers[item.id]["answer"]
        for repeat in range(repeats)
        for criterion in calls_of(item.rubric)
    ]


def calls_of(rubric: Rubric) -> Sequence[Criterion | None]:
    """One call for each of these: None covers all criteria."""
    return (None,) if rubric.one_call else rubric.criteria


def _open(attempts: Sequence[Row], config: ModelJudgeConfig) -> bool:
    """Whether a cell still wants asking: no usable verdict, and fewer attempts than allowed. Errors do not count."""
    if any(row["status"] == "ok" for row in attempts):
        return False
    counted: int = sum(row["status"] != "api_error" for row in attempts)
    return counted < config.attempts


def _uncounted(row: Row, config: ModelJudgeConfig) -> bool:
    """Whether a cap in dollars is to be kept, and the server did not say what this reply took."""
    capped = config.max_cost is not None and isinstance(config, OpenAIJudgeConfig)
    replied = row["status"] in ("ok", "parse_failed", "truncated") and not row["cached"]
    return capped and replied and not row["usage"]["generated_tokens"]


def worst_case(request: JudgeRequest, config: ModelJudgeConfig) -> Usage:
    """The most that a verdict can use: a token is at least one byte of text."""
    if not isinstance(config, OpenAIJudgeConfig):
        return Usage(calls=len(request.criteria))
    prompt = shown(request) + ask_all(request.criteria, request.rubric.guidance)
    prefilled = len(prompt.encode()) + len(str(verdict_schema(request.criteria)).encode()) + TEMPLATE
    return Usage(calls=1, prefilled_tokens=prefilled, generated_tokens=config.max_tokens)


def _attempts(verdicts: Sequence[Row], answers: Mapping[str, Row]) -> dict[Cell, list[Row]]:
    """Every cell's attempts at the answer as it is now."""
    current = {id_: judged_hash(answer) for id_, answer in answers.items()}
    found: dict[Cell, list[Row]] = {}
    for row in verdicts:
        if current.get(row["id"]) == row["judged"]:
            found.setdefault((row["judge"], row["id"], row["repeat"], row["criterion"]), []).append(row)
    return found


def settled(verdicts: Sequence[Row], answers: Mapping[str, Row]) -> dict[Cell, Row]:
    """What stands for each cell: its first ok verdict, else its last failed attempt.

    Verdicts on other texts than the stored answers do not count.
    """
    return {
        cell: next((row for row in attempts if row["status"] == "ok"), attempts[-1])
        for cell, attempts in _attempts(verdicts, answers).items()
    }


def refuse_unlike(verdicts: Rows, items: Sequence[Item], name: str, config: ModelJudgeConfig) -> None:
    """Raises: DataError: a verdict was given by another wording, or by this judge with other settings."""
    wording, settings = {item.id: item.rubric.version for item in items}, settings_of(config)
    for number, row in enumerate(verdicts.rows, start=1):
        where, now = f"{verdicts.path}, row {number}", wording.get(row["id"], row["rubric"])
        if row["rubric"] != now:
            raise DataError(
                f"{where}: this verdict was given by another wording of the rubric ({row['rubric']}, now {now}), and "
                "two wordings are never averaged: delete the file to judge anew"
            )
        if row["judge"] == name and row.get("settings") != settings:
            raise DataError(
                f"{where}: {name} gave this verdict with other settings ({row.get('settings')}, now {settings}), and "
                "the two are never averaged: delete the file to judge anew, or choose another run_dir="
            )


def settings_of(config: ModelJudgeConfig) -> str:
    """How a judge is asked, besides wording, repeats and texts: what may not differ among verdicts of one name."""
    asked = weights_of(config.backend)
    if isinstance(config, OpenAIJudgeConfig):
        asked = [f"temperature={config.temperature:g}", f"max_tokens={config.max_tokens}", *asked]
    return " ".join(asked)


def _row(verdict: Verdict, task: Task, judge: str, settings: str) -> dict[str, Any]:
    return {
        "model": task.answer["model"],
        "id": task.item.id,
        "benchmark": task.answer["benchmark"],
        "judge": judge,
        "repeat": task.repeat,
        "criterion": task.criterion.name if task.criterion else None,
        "status": verdict.status,
        "scores": dict(verdict.scores),
        "reasons": dict(verdict.reasons),
        "detail": verdict.detail,
        "cached": verdict.cached,
        "usage": asdict(verdict.usage),
        "settings": settings,
        "served_model": verdict.served_model,
        "rubric": task.item.rubric.version,
        "judged": judged_hash(task.answer),
    }
