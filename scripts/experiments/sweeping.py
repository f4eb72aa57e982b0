"""The loop around Optuna's ask and tell, kept in a journal file; each point is a run of a stage's own command."""

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import yaml

from experiments.work import BIN, refuse, run_logged, tokens_a_pair
from reer.errors import ConfigError, RunDirError
from reer.run.launch import DONE, INTERRUPTED, PARTIAL, exclusive
from reer.run.manifest import write_json
from reer.text import digest

SWEEPS = Path(__file__).parent / "sweeps"
Values = Mapping[str, Any]
"""A point: a value for each key that is varied."""


@dataclass(frozen=True)
class Sweep:
    """What is varied, and what is measured of each point."""

    name: str
    """Within runs/."""
    stage: str
    words: tuple[str, ...]
    """What every point is given."""
    file: str
    value: str
    direction: str
    vary: Mapping[str, Any]
    """By key: a list of values, or a range {low, high, log or step} (of whole numbers where both ends are); or by any
    name: words by the name of a choice."""
    per_thousand_tokens: bool = False

    @property
    def path(self) -> Path:
        return Path("runs", self.name)


def read(sweep: str, name: str | None, overrides: Sequence[str]) -> Sweep:
    """Raises: ConfigError: there is no such sweep, or its file is none."""
    path = SWEEPS / f"{sweep}.yaml" if (SWEEPS / f"{sweep}.yaml").exists() else Path(sweep)
    refuse(overrides, ("name", "run_dir", "dry_run", "audit"), "every point has a folder of its own, and has to run")
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
        words = (*found.pop("words", ()), *overrides)
        vary = {key: _checked(choices) for key, choices in found.pop("vary").items()}
        read = Sweep(name=name or f"sweeps/{path.stem}", words=words, vary=vary, **found)
    except OSError as error:
        known = ", ".join(sorted(path.stem for path in SWEEPS.glob("*.yaml")))
        raise ConfigError(f"sweep {sweep} is unknown: choose one of {known}, or give a YAML file") from error
    except (yaml.YAMLError, TypeError, AttributeError, KeyError, ValueError) as error:
        raise ConfigError(f"{path} describes no sweep: {error}") from error
    if not (BIN / f"reer-{read.stage}").exists():
        raise ConfigError(f"{path}: stage {read.stage!r} is none: there is no reer-{read.stage}")
    return read


def _checked(choices: Any) -> Any:
    """A range with ends that are numbers; YAML takes 1e-5 for a text."""
    if not isinstance(choices, dict) or "low" not in choices:
        return choices
    ends = {end: choices[end] if isinstance(choices[end], int) else float(choices[end]) for end in ("low", "high")}
    return choices | ends


def run(sweep: Sweep, points: int, seed: int) -> None:
    """Ask, run, tell, until there are so many points; those that an earlier run left at work go first."""
    from optuna.trial import TrialState

    with exclusive(sweep.path):
        study = open_study(sweep, seed)
        Thread(target=_load, daemon=True).start()
        for trial in study.get_trials(states=[TrialState.RUNNING]):
            told(study, trial.number, trial.params, sweep)
        while len(study.trials) < points:
            trial = study.ask(space(sweep))
            told(study, trial.number, trial.params, sweep)


def _load() -> None:
    """Import what the report needs while the first point is at work: a second that nobody waits for."""
    import matplotlib.figure  # noqa: F401
    import scipy.stats  # noqa: F401


def told(study: Any, number: int, values: Values, sweep: Sweep) -> None:
    """Run one point and tell what came of it; a value it has already is told again."""
    from optuna.trial import TrialState

    finished = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    known = next((trial.value for trial in finished if trial.params == dict(values)), None)
    try:
        found = known if known is not None else run_point(sweep, values)
    except RunDirError as error:
        print(f"  point {number}: {error}", flush=True)
        study.tell(number, state=TrialState.FAIL)
        return
    print(f"  point {number}: {found:.5g}" + (" (as before)" if known is not None else ""), flush=True)
    study.tell(number, found)


def run_point(sweep: Sweep, values: Values) -> float:
    """Run the stage at one point.

    Raises:
        RunDirError: it failed, or gave no number.
    """
    name = f"{sweep.name}/points/{digest(dict(values), sweep.words)[:10]}"
    folder = Path("runs", name)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "point.json", {"values": dict(values)})
    command = [f"reer-{sweep.stage}", *sweep.words, *words_of(sweep, values), f"name={name}",
               f"tracking.group={sweep.name}"]  # fmt: skip
    print("$", shlex.join(command), flush=True)
    code, said = run_logged(command, folder / "log.txt")
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    if code not in (DONE, PARTIAL):
        raise RunDirError(f"failed: {said}")
    write_json(folder / "point.json", {"values": dict(values), "code": code})
    if code == PARTIAL:
        print(f"  some rows failed or were set aside: {folder / 'log.txt'}", flush=True)
    return number_of(sweep, folder)


def number_of(sweep: Sweep, folder: Path) -> float:
    """What a point is worth, by the files it left.

    Raises:
        RunDirError: there is no such number.
    """
    path = folder / sweep.file
    try:
        value: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunDirError(f"{path} cannot be read ({error})") from error
    for part in sweep.value.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if not isinstance(value, int | float) or value != value:
        raise RunDirError(f"{path} has no number at {sweep.value}")
    if sweep.per_thousand_tokens and value > 0:  # a loss is no smaller for having cost more
        return 1000 * value / tokens_a_pair(path.parent)
    return float(value)


def words_of(sweep: Sweep, values: Values) -> list[str]:
    """A point as words of a command line."""
    words: list[str] = []
    for key, value in values.items():
        choices = sweep.vary[key]
        words += choices[value] if is_named(choices) else [f"{key}={'null' if value is None else value}"]
    return words


def is_named(choices: Any) -> bool:
    return isinstance(choices, dict) and "low" not in choices


def space(sweep: Sweep) -> dict[str, Any]:
    """What Optuna may choose from."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    def of(choices: Any) -> Any:
        if isinstance(choices, list) or is_named(choices):
            return CategoricalDistribution(list(choices))
        is_whole = all(isinstance(choices[end], int) for end in ("low", "high"))
        return (IntDistribution if is_whole else FloatDistribution)(**choices)

    return {key: of(choices) for key, choices in sweep.vary.items()}


def open_study(sweep: Sweep, seed: int, *, any_words: bool = False) -> Any:
    """The study in the sweep's journal; `any_words`: also of a sweep with other ones.

    Raises:
        ConfigError: Optuna is not installed.
        RunDirError: the journal is of another sweep.
    """
    try:
        import optuna
    except ImportError as error:
        raise ConfigError("Optuna is not installed: pip install 'reer[sweep]'") from error
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    journal = sweep.path / "journal.log"
    begun = journal.exists()
    if not sweep.path.is_dir():
        raise RunDirError(f"{sweep.path} does not exist: run the sweep without --print first")
    sampler = optuna.samplers.TPESampler(seed=seed + (len(journal.read_bytes()) if begun else 0), multivariate=False)
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(journal))), study_name=sweep.name, sampler=sampler,
        direction=sweep.direction, load_if_exists=True,
    )  # fmt: skip
    if any_words:
        return study
    is_now = digest(asdict(sweep))
    if study.user_attrs.get("sweep", is_now) != is_now:
        raise RunDirError(f"{sweep.path} holds a sweep of other keys, values or words: choose another --name")
    study.set_user_attr("sweep", is_now)
    return study


def report(sweep: Sweep) -> Iterator[str]:
    """The points, best first, with what failed; writes the plot."""
    from experiments import responses

    trials = open_study(sweep, 0, any_words=True).trials
    if any(trial.params.keys() != sweep.vary.keys() for trial in trials):
        raise RunDirError(f"{sweep.path} holds a sweep of other keys")
    yield from responses.lines(sweep, trials)
    if page := responses.draw(sweep, trials):
        yield f"\nplot   {page}"
