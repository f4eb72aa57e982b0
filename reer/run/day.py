"""One date per experiment for the chat templates that write today's into every prompt.

It stands in the config.yaml that each stage freezes before its work, so a run that goes on tomorrow, and the stages
after it, prompt with what it began with.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TypeVar

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from reer.config import CollectConfig, EvaluationConfig, SftConfig, SynthesizeConfig
from reer.errors import ConfigError
from reer.layout import day

C = TypeVar("C", CollectConfig, SynthesizeConfig, SftConfig, EvaluationConfig)


def dated(config: C, *before: str | None) -> C:
    """The config with `layout.date` settled, and with it the day of this process; `before`: what the stage works on.

    It is what the config says, else that of the run folder, of the folder that a file of `before` lies in, of the
    experiment's other stages; else today.

    Raises:
        ConfigError: the date it gives is none.
    """
    run_dir = Path(config.run_dir)
    given = (
        config.layout.date
        or _earliest([run_dir])
        or next((found for path in before if path and (found := _earliest([Path(path).parent]))), None)
        or _earliest(_stages(run_dir, config.name))
        or date.today().isoformat()
    )
    try:
        day.settle(date.fromisoformat(given))
    except ValueError as error:
        raise ConfigError(f"layout.date={given} is no date (YYYY-MM-DD)") from error
    return replace(config, layout=replace(config.layout, date=given))


def _stages(run_dir: Path, name: str) -> list[Path]:
    """Folders of the experiment: runs/NAME/STAGE, runs/NAME/evaluate-LABEL/BENCHMARK, and a sweep's, deeper by one."""
    parts = Path(name).parts
    experiment = next((folder for folder in run_dir.absolute().parents if folder.parts[-len(parts) :] == parts), None)
    return [found for depth in ("*/", "*/*/", "*/*/*/") for found in experiment.glob(depth)] if experiment else []


def _earliest(folders: Iterable[Path]) -> str | None:
    return min((found for folder in folders if (found := _date(folder / "config.yaml"))), default=None)


def _date(frozen: Path) -> str | None:
    """The date in a stage's frozen config, if there is one."""
    try:
        found = OmegaConf.select(OmegaConf.load(frozen), "layout.date")
    except (OSError, YAMLError, OmegaConfBaseException):
        return None
    return str(found) if found else None
