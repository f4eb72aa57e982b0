"""One self-contained page from any run folders: what was found, trained and scored, and the texts to read.

`results` reads the folders; `collected`, `views`, `evaluation` and `answers` choose and order what is shown; `plots`
and `score_plots` draw it; the templates lay it out. Everything a model wrote is data: the templates escape it, and the
page's own policy forbids every request and every script but its own.
"""

import argparse
import base64
import functools
import hashlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from reer.errors import RunDirError, UserError
from reer.files.results import Row, Run, read_comparison, read_run, read_runs
from reer.page import plots
from reer.page.collected import collection_view
from reer.page.evaluation import evaluation_view
from reer.page.overview import overview
from reer.page.views import search_view, training_view
from reer.run.manifest import write_text

SHOWN = 200
"""Trajectories, and answers, that a page holds at most."""
LARGEST = 10_000_000
"""Bytes; a page that would be larger shows fewer."""


def main() -> NoReturn:
    """The console command reer-report."""
    parser = argparse.ArgumentParser(prog="reer-report", description="One page (HTML) from run folders of any stages.")
    parser.add_argument("run_dirs", metavar="RUN_DIR", type=Path, nargs="+", help="e.g. runs/demo, or folders in it")
    parser.add_argument("--out", type=Path, help="the page; default: report.html in the folder above all runs")
    parser.add_argument("--title", help="default: the name of that folder")
    options = parser.parse_args()
    try:
        runs = [_up_to_date(run) for run in read_runs(options.run_dirs)]
        target = options.out or common_folder(runs) / "report.html"
        write_page(options.run_dirs, target, options.title)
        print(overview(runs))
        print(f"pages                      {target}")
    except UserError as error:
        print(f"reer-report: {error}", file=sys.stderr)
        sys.exit(1)
    sys.exit(0)


def _up_to_date(run: Run) -> Run:
    """A search that is at work, or was interrupted, with what it has finished by now."""
    if run.stage != "synthesize" or not (run.path / "ledger.db").exists():
        return run
    from reer.files.export import bring_up_to_date

    if problem := bring_up_to_date(run.path):
        print(f"reer-report: what {run.path} has finished lately is left out: {problem}", file=sys.stderr)
    return read_run(run.path)


def write_page(run_dirs: Sequence[Path], target: Path, title: str | None = None) -> Path:
    """Render one page from run folders of any stages, in the order given; returns `target`.

    A comparison.json beside the page, or above all runs, is shown where it was made of the scores shown.

    Raises:
        RunDirError: a folder holds no results, or the page cannot be written.
        DataError: a result file is broken.
    """
    runs = read_runs(run_dirs)
    above = common_folder(runs)
    comparison = read_comparison([target.parent, above])
    page = fit(runs, comparison, title or above.name or "Report")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_text(target, page)
    except OSError as error:
        raise RunDirError(f"{target} cannot be written: {error.strerror or error}") from error
    return target


def common_folder(runs: Sequence[Run]) -> Path:
    """The innermost folder above all run folders."""
    return Path(os.path.commonpath([run.path.absolute().parent for run in runs]))


def fit(runs: Sequence[Run], comparison: Row, title: str) -> str:
    """The page, with as many texts as it may hold."""
    shown = SHOWN
    while len((page := render(runs, comparison, title, shown)).encode()) > LARGEST and shown > 1:
        shown //= 2
    return page


def render(runs: Sequence[Run], comparison: Row, title: str, shown: int) -> str:
    """The page with at most `shown` trajectories and as many answers."""
    from jinja2 import ChainableUndefined, Environment, PackageLoader
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("reer.page"),
        autoescape=True,
        undefined=ChainableUndefined,  # a field that a file does not have is left out
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number,
        "signed": signed,
        "estimate": estimate,
        "duration": duration,
        "short_path": short_path,
        "pretty": pretty,
        "title_case": plots.title,
        "compact": compact,
        "compact_score": compact_score,
        "trim_zeros": trim_zeros,
        "run_name": functools.partial(run_name, common_folder(runs)),
    }
    style, script = (Markup(environment.get_template(name).render()) for name in ("report.css", "report.js"))
    return environment.get_template("report.html").render(
        title=title,
        runs=runs,
        style=style,
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        colours={"none": plots.NONE, "first": plots.FIRST, "final": plots.FINAL, "models": plots.MODELS},
        collections=[collection_view(run) for run in runs if run.stage == "collect"],
        searches=[search_view(run, shown) for run in runs if run.stage == "synthesize"],
        trainings=[training_view(run) for run in runs if run.stage == "sft"],
        evaluation=evaluation_view(runs, comparison, shown),
    )


def number(value: Any, digits: int = 3) -> str:
    """A number as text, a dash for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "–"
    rounded = value if isinstance(value, int) else round(value, digits) + 0.0  # no minus before a zero
    return (f"{rounded:,}" if isinstance(value, int) else f"{rounded:,.{digits}f}").replace("-", "−")


def signed(value: Any, digits: int = 3) -> str:
    """A difference with its sign, or a dash."""
    text = number(float(value) if isinstance(value, int) else value, digits)
    return f"+{text}" if isinstance(value, int | float) and value > 0 else text


def estimate(value: Any, digits: int = 2, percent: bool = False) -> str:
    """A number, or a share as a percentage."""
    if percent and isinstance(value, int | float):
        return f"{number(100.0 * value, digits)}%"
    return number(value, digits)


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def short_path(name: Any) -> str:
    """A path from the root of somebody's machine by its last two parts; anything else as it is."""
    path = Path(str(name))
    return "/".join(path.parts[-2:]) if path.is_absolute() else str(name)


def run_name(above: Path, run: Run) -> str:
    """A run by its folder, seen from the one above all runs."""
    return run.path.absolute().relative_to(above).as_posix()


def compact(value: Any) -> str:
    """A count in three digits: 12345 -> 12.3k."""
    if not isinstance(value, int | float) or value < 10_000:
        return number(value)
    return f"{value / 1e6:.3g}M" if value >= 999_500 else f"{value / 1e3:.3g}k"


def compact_score(value: Any) -> str:
    """A score in about three digits, whatever its scale."""
    return number(value, 1 if isinstance(value, int | float) and value >= 10 else 2)


def trim_zeros(text: str) -> str:
    """A decimal number without the zeros at its end: 3.00 -> 3."""
    return text.rstrip("0").rstrip(".") if "." in text else text


def pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


if __name__ == "__main__":
    main()
