"""A table of finished runs beside the paper's numbers, read from their files alone: nothing is composed or run."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import reer
from eval.scoring.table import signed
from eval.statistics import holm
from experiments.likelihood import likelihood_lines
from experiments.rows import OWN, Column, paper_columns, paper_numbers
from experiments.work import Workplace, is_done, tokens_a_pair
from reer.errors import DataError, RunDirError
from reer.files.results import Row as Json
from reer.run.launch import PARTIAL
from reer.types import FORMAT_VERSION


@dataclass(frozen=True)
class Printed:
    """One row: its numbers by column, or the sentence that says why there are none."""

    row: Mapping[str, Any]
    numbers: Mapping[str, Json]
    problem: str | None
    remark: str | None = None


def read_state(path: Path) -> dict[str, Any]:
    """Raises: DataError: the table was never begun, or its file is broken."""
    try:
        read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist: run the table without --print first") from error
    except ValueError as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    return read


def is_wanting(printed: Printed) -> bool:
    """Whether a row has no numbers though this scale has such a row."""
    return printed.problem is not None and not printed.row["skipped"]


def columns_of(state: Mapping[str, Any]) -> list[Column]:
    return [column for column in [*paper_columns(), *OWN] if column.benchmark in state["benchmarks"]]


def read_rows(state: Mapping[str, Any], workplace: Workplace) -> list[Printed]:
    """`state`: what scripts/reproduce wrote of a table."""
    return [read_row(row, columns_of(state), workplace) for row in state["rows"]]


def lines(state: Mapping[str, Any], rows: Sequence[Printed], workplace: Workplace) -> Iterator[str]:
    """The table as Markdown."""
    columns = columns_of(state)
    run_with = "".join(f", {word}" for word in state["overrides"])
    yield f"{state['question']}  (table {state['table']}, scale {state['scale']}{run_with})\n"
    if state["scale"] == "smoke":
        yield "The numbers mean nothing: thinkings are made up, and every model is random, whatever its row says.\n"
    yield from _numbers(rows, columns, state["seeds"])
    yield from _differences(state, rows, columns, workplace)
    yield from likelihood_lines(state, workplace, [p.row["experiment"] for p in rows if p.problem is None])
    yield from _remarks(rows)
    yield "\nlineage (stage-key; rows with one key share the stage)"
    yield from (f"  {p.row['title']}: {' -> '.join(p.row['stages'])}" for p in rows if p.row["stages"])


def read_row(row: Mapping[str, Any], columns: Sequence[Column], workplace: Workplace) -> Printed:
    if row["problem"]:
        return Printed(row, {}, row["problem"])
    records = {stage: workplace.record(stage) for stage in row["stages"]}
    if problem := next(
        (said for stage, found in records.items() if (said := _problem(stage, found, workplace))), None
    ):
        return Printed(row, {}, problem)
    numbers: dict[str, Json] = {}
    for benchmark in sorted({column.benchmark for column in columns}):
        paths = [workplace.path / folder / benchmark / "results.json" for folder in row["folders"]]
        try:
            results = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
        except (OSError, ValueError) as error:
            return Printed(row, numbers, f"{benchmark} has no results that can be read ({error})")
        here = [column for column in columns if column.benchmark == benchmark]
        numbers |= {column.key: found for column in here if (found := _over_seeds(results, column))}
    return Printed(row, numbers | _tokens(row, workplace), None, _remark(records))


def _over_seeds(results: Sequence[Json], column: Column) -> Json | None:
    """One seed's estimate; of several the mean, between the lowest and the highest."""
    found = [_at(each, column) for each in results]
    if len(found) == 1:
        return found[0]
    means = [estimate["mean"] for estimate in found if estimate]
    return None if len(means) < len(found) else {"mean": fmean(means), "low": min(means), "high": max(means)}


def _problem(stage: str, record: Json | None, workplace: Workplace) -> str | None:
    """Why a stage gives a row no numbers."""
    if record is None:
        begun = (workplace.path / stage).exists()
        return f"{stage} was begun and is not finished" if begun else f"{stage} has not been run"
    if record["format_version"] != FORMAT_VERSION:
        return f"{stage} was made in format {record['format_version']}, which is read no more: delete it"
    if not is_done(record):
        return f"{stage} failed: {record['error']}"
    other = workplace.outdated(record)
    return f"{stage} was made before {other} was made anew: delete it, and it is made anew too" if other else None


def _remark(records: Mapping[str, Json | None]) -> str | None:
    known = {stage: record for stage, record in records.items() if record}
    other = {record["reer"] for record in known.values()} - {reer.__version__}
    said = [f"made by version {', '.join(sorted(other))}, this is {reer.__version__}"] if other else []
    if partly := [stage for stage, record in known.items() if record["code"] == PARTIAL]:
        said.append(f"some rows failed or were set aside in {', '.join(partly)}")
    return "; ".join(said) or None


def _at(results: Json, column: Column) -> Json | None:
    value: Any = results if column.whole else (results.get("benchmarks") or {}).get(column.benchmark)
    for part in column.part:
        value = value.get(part) if isinstance(value, dict) else None
    return value if isinstance(value, dict) and value.get("mean") is not None else None


def _tokens(row: Mapping[str, Any], workplace: Workplace) -> dict[str, Json]:
    """Forward tokens a pair of the search behind a trained model."""
    searches = [stage for stage in row["stages"] if stage.startswith("synthesize-")]
    if not searches or not any(stage.startswith("sft-") for stage in row["stages"]):
        return {}
    try:
        return {"tokens a pair": {"mean": tokens_a_pair(workplace.path / searches[-1] / "synthesize")}}
    except RunDirError:
        return {}


def _numbers(rows: Sequence[Printed], columns: Sequence[Column], seeds: Sequence[int]) -> Iterator[str]:
    paper = paper_numbers()
    last = ["tokens a pair"] if any("tokens a pair" in p.numbers for p in rows) else []
    percent = {column.key for column in columns if column.percent}
    keys = [*(column.key for column in columns), *last]
    yield f"| | {' | '.join(keys)} |"
    yield f"|---{'|---' * len(keys)}|"
    for printed in rows:
        theirs = paper.get(printed.row["paper"] or "", {})
        cells = [_cell(printed.numbers.get(key), theirs.get(key), key in percent) for key in keys]
        yield f"| {printed.row['title']} | {' | '.join(cells)} |"
    said = "[95 %]" if len(seeds) == 1 else f"mean of seeds {', '.join(map(str, seeds))} [lowest, highest]"
    yield f"\nours {said} (the paper's, at second hand: reer/files/data/paper.json)"


def _cell(ours: Json | None, theirs: float | None, percent: bool) -> str:
    beside = f" ({theirs:g})" if theirs is not None else ""
    if ours is None:
        return f"–{beside}"
    if ours.get("low") is None:
        return f"{_plain(ours['mean'], percent)}{beside}"
    low, high = (_plain(ours[end], percent) for end in ("low", "high"))
    return f"{_plain(ours['mean'], percent)} [{low}, {high}]{beside}"


def _plain(value: float, percent: bool) -> str:
    if percent:
        return f"{value:.0%}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _differences(
    state: Mapping[str, Any], rows: Sequence[Printed], columns: Sequence[Column], workplace: Workplace
) -> Iterator[str]:
    """What reer-compare found between each row and the one that the table compares with; p is corrected for the
    differences that are printed, not for those between all other rows."""
    path = workplace.path / state["comparison"]
    if not path.exists():
        if state["compared"]:
            yield f"\nno differences: {state['compared']}"
        return
    found = json.loads(path.read_text(encoding="utf-8"))["benchmarks"]
    [reference] = [p.row for p in rows if p.row["experiment"] == state["reference"]]
    of_seed = f" of seed {state['seeds'][0]}" if len(state["seeds"]) > 1 else ""
    yield f"\ndifference to `{reference['title']}`{of_seed} [95 %], p after Holm"
    tests = {
        (p.row["title"], column.key): test
        for p in rows
        for column in columns
        if p.problem is None and (test := _test(found, column, reference["label"], p.row["label"]))
    }
    tested = {key: test["p"] for key, test in tests.items() if test.get("p") is not None}
    adjusted = dict(zip(tested, holm(list(tested.values())), strict=True))
    for title in dict.fromkeys(title for title, _ in tests):
        cells = [f"{key} {_signed(tests[title, key], adjusted.get((title, key)))}" for of, key in tests if of == title]
        yield f"  {title}: {', '.join(cells)}"


def _test(found: Json, column: Column, reference: str, label: str) -> Json | None:
    """A test of row - reference, whichever way round it was made."""
    for pair in (found.get(column.benchmark) or {}).get("pairs") or ():
        if {pair["a"], pair["b"]} == {reference, label} and reference != label and not column.whole:
            part = pair if column.part == ("overall",) else pair["groups"].get(column.part[1], {})
            test = part.get(column.part[-1])
            if test and test["mean"] is not None:
                return test if pair["b"] == label else _turned(test)
    return None


def _turned(test: Json) -> Json:
    ends = {"low": test["high"], "high": test["low"]}
    return test | {"mean": -test["mean"]} | {key: None if end is None else -end for key, end in ends.items()}


def _signed(test: Json, p: float | None) -> str:
    return signed(test, digits=2) + (f" p {p:.3f}" if p is not None else "")


def _remarks(rows: Sequence[Printed]) -> Iterator[str]:
    said = [(p.row["title"], p.problem or p.remark) for p in rows if p.problem or p.remark]
    if said:
        yield ""
    yield from (f"  {title}: {sentence}" for title, sentence in said)


def write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
