"""From a row to its stages: what each reads, found by the paths in its config, and one key for equal work.

Composes with Hydra what the stage's own command would compose. A path runs/NAME/STAGE/... in the config of a stage
says that it reads what STAGE of the same experiment made. A key is the hash of a stage's resolved config, in which
such paths are the keys of those stages, and files, folders and patterns of data are their content: rows with equal
keys share the stage.
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra

from experiments.rows import Row
from reer.config import CollectConfig, EvaluationConfig, SftConfig, SynthesizeConfig, flatten, load, register
from reer.files.rows import exists, files_of
from reer.run.launch import FREE_GROUPS, FREE_KEYS
from reer.run.manifest import sha256
from reer.run.overrides import as_typed
from reer.run.points import TRAINING
from reer.text import digest

VIEWS = {"collect": CollectConfig, "synthesize": SynthesizeConfig, "sft": SftConfig, "evaluate": EvaluationConfig}
BENCHMARKS = Path(__file__).parents[2] / "conf/benchmark"
NO_RESULT = tuple(group for group in FREE_GROUPS if group not in ("filter", "steps")) + ("stage", "validate")
"""Groups of keys that change nothing of what a stage writes."""
UNREAD = {"synthesize": TRAINING}
"""Keys in a stage's config that it does not read."""


@dataclass(frozen=True)
class Stage:
    """One piece of work, whichever rows ask for it."""

    folder: str
    """collect, synthesize, sft, evaluate-LABEL: its folder within an experiment."""
    key: str
    words: tuple[str, ...]
    """What its command is given besides the name."""
    inputs: Mapping[str, "Stage"]
    """By folder, the stages whose files it reads."""
    benchmarks: tuple[str, ...] = ()
    """What an evaluation asks, one run of the command."""
    budget_of: "Stage | None" = None
    """The search whose mean tokens a pair are its budget."""

    @property
    def command(self) -> str:
        return self.folder.partition("-")[0]

    @property
    def id(self) -> str:
        return f"{self.folder}-{self.key}"

    def with_inputs(self) -> Iterator["Stage"]:
        """Everything that has to be there for it, in the order of work, itself last."""
        for stage in (*self.inputs.values(), *([self.budget_of] if self.budget_of else [])):
            yield from stage.with_inputs()
        yield self


@contextmanager
def hydra() -> Iterator[None]:
    """Compose within it."""
    register()
    GlobalHydra.instance().clear()
    with initialize_config_module("reer.conf", version_base="1.3"):
        yield


@dataclass(frozen=True)
class Planner:
    """Finds the stages of rows at one scale."""

    scale: str
    benchmarks: tuple[str, ...]
    extra: tuple[str, ...] = ()
    """What every stage of every row is given last."""
    seed: int = 0
    """Of the training and of the evaluation; pairs, searches and what else a training reads are those of seed 0."""

    def evaluation(self, row: Row, others: Mapping[str, Row]) -> Stage:
        """The last stage of a row; `others`: rows by experiment, of which one may set the budget.

        Raises:
            ConfigError, HydraException: the row cannot be composed.
        """
        return self.stage(row, f"evaluate-{row.label}", others)

    def stage(self, row: Row, folder: str, others: Mapping[str, Row]) -> Stage:
        """A stage of a row, and with it those it reads."""
        command = folder.partition("-")[0]
        words = self._words(row, folder)
        own = f"runs/{row.experiment}/"
        config = dict(_read(_loaded(command, row.experiment, words), command))
        read = {_folder(value, own) for value in config.values() if _is_in(value, own)}
        inputs = {name: self.stage(row, name, others) for name in sorted(read - {folder})}
        budget = self._budget(row, command, others)
        benchmarks = self.benchmarks if folder == f"evaluate-{row.label}" else ()
        hashed = [(key, _content(key, value, own, inputs)) for key, value in config.items() if _counts(key)]
        asked = [(name, sha256(BENCHMARKS / f"{name}.yaml")) for name in benchmarks]
        key = digest(command, hashed, asked, budget.key if budget else None)[:10]
        return Stage(folder, key, words, inputs, benchmarks, budget)

    def _budget(self, row: Row, command: str, others: Mapping[str, Row]) -> Stage | None:
        if command != "synthesize" or row.budget_of is None:
            return None
        return self.stage(others[row.budget_of], "synthesize", others)

    def _words(self, row: Row, folder: str) -> tuple[str, ...]:
        """What a stage of a row is given, in the order in which later words win."""
        words = [f"experiment={row.experiment}", f"scale={self.scale}", *row.overrides]
        command, _, label = folder.partition("-")
        if label == row.label:
            words += [f"evaluate.label={label}", *row.stages.get("evaluate", ())]
        elif label:  # an evaluation of which the training reads the answers
            words += [f"evaluate={label}", "benchmark=reasoning"]
        if self.seed and (command == "sft" or label == row.label):
            words.append(f"seed={self.seed}")
        return (*words, *row.stages.get(folder, ()), *self.extra)


@functools.cache
def _loaded(command: str, name: str, words: tuple[str, ...]) -> dict[str, Any]:
    overrides = as_typed([*words, f"name={name}"]).arguments
    return asdict(load(compose(command, overrides=overrides), VIEWS[command]))


def _read(config: Mapping[str, Any], command: str) -> Iterator[tuple[str, Any]]:
    """Leaves of a config that its stage reads, lists taken apart."""
    for key, value in flatten(config):
        if key.partition(".")[0] in ("run_dir", "name", "validate") or _within(key, UNREAD.get(command, ())):
            continue
        yield from _items(key, value)


def _items(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, list) and value:
        for number, item in enumerate(value):
            for inner, leaf in flatten(item, f"{key}.{number}"):
                yield from _items(inner, leaf)
    else:
        yield key, value


def _within(key: str, groups: Sequence[str]) -> bool:
    return any(key == group or key.startswith(f"{group}.") for group in groups)


def _counts(key: str) -> bool:
    return not _within(key, NO_RESULT) and key.rpartition(".")[2] not in FREE_KEYS


def _is_in(value: Any, own: str) -> bool:
    return isinstance(value, str) and value.startswith(own)


def _folder(path: str, own: str) -> str:
    return path.removeprefix(own).partition("/")[0]


def _content(key: str, value: Any, own: str, inputs: Mapping[str, Stage]) -> Any:
    """What stands for a value in a key: of a stage's file the stage's key, of data and other files their hashes."""
    if not isinstance(value, str):
        return value
    if _is_in(value, own) and (stage := inputs.get(_folder(value, own))):
        return f"{stage.id}/{value.removeprefix(own).partition('/')[2]}"
    path = Path(value).expanduser()
    if _is_data(key) and exists(path):
        found = [sha256(file) for file in files_of(path)]
        return found[0] if path.is_file() else found
    return sha256(path) if "/" in value and path.is_file() else value


def _is_data(key: str) -> bool:
    *groups, last = key.split(".")
    return last in ("path", "trajectories") and "model" not in groups or "paths" in groups
