"""From a command line to a running stage: compose once, validate, freeze the config, run, exit with a code.

Exit codes: 0 all done; 1 the user's mistake, as one sentence on stderr; 2 finished, but some rows failed or were
quarantined; 130 interrupted (Ctrl-C, SIGTERM; within 10 seconds, a second one at once), the same command continues. A
sweep has that of its worst job. What a shell starts with `&` ignores Ctrl-C, as every such program does: SIGTERM
(`kill`) stops it. Knows nothing of what a stage does.
"""

import difflib
import fcntl
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, NoReturn, TypeVar

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from reer.config import (
    LicenceConfig,
    MixConfig,
    OpenAIJudgeConfig,
    ReerConfig,
    RunConfig,
    flatten,
    load,
    one_line,
    register,
)
from reer.errors import RunDirError, UserError
from reer.run.executor.stopping import INTERRUPTED, listen
from reer.run.overrides import as_typed
from reer.run.points import place
from reer.run.space import room_on
from reer.run.tracking import check_tracking
from reer.run.written import refuse_numbers

C = TypeVar("C", bound=RunConfig)

log = logging.getLogger(__name__)

DONE, MISTAKE, PARTIAL = 0, 1, 2

FREE_GROUPS = ("dry_run", "run_dir", "name", "executor", "tracking", "filter", "launch", "audit", "steps")
"""What an old run folder may be continued with other values of, groups whole. They change no stored event; `filter`
only decides what is exported of them, and is applied anew each time."""
FREE_KEYS = (
    "concurrency", "base_url", "connect_timeout", "timeout", "max_retries", "max_failures", "max_wait",
    "resample", "api_key_env", "batch_size",
    "latency", "device", "row_tokens", "token_budget", "kept_tokens", "score_cache",
    "training_data",
)  # fmt: skip
"""The same for keys of any group, by their last part."""
BEFORE = {
    "benchmark.thoughts": 1, "search.objective.kind": "mean_nll", "search.compose": False,
    "source.min_words": 150, "source.max_words": 900, "tag.by": "none", "sample.mixture": {},
    **dict(flatten({"mix": asdict(MixConfig()), "licence": asdict(LicenceConfig())})),
}  # fmt: skip
"""What was done before a key was known, in folders that do not have it."""
FREE_DICTS = {"args", "engine_args", "quantization", "resources", "mixture"}
"""Keys with any names in them, most of them validated by the library they go to."""
FREE_PART = "search.worth."
"""The same: what is measured once a search is over. What has not been measured yet is, when it is asked for."""


def command(stage: str, view: type[C], run: Callable[[C], int]) -> Callable[[], NoReturn]:
    """The console command of a stage: `run` gets the validated config and returns an exit code."""

    def main() -> NoReturn:
        codes: list[int] = []
        register()
        _quiet()
        os.environ["HYDRA_FULL_ERROR"] = "1"  # let errors reach us: Hydra's own report is a page long
        listen()
        try:
            line = as_typed(sys.argv[1:])
            sys.argv[1:] = line.arguments

            here = os.getpid()

            def task(config: DictConfig) -> None:
                code = _job(config, view, run, line.fixed)
                if os.getpid() != here and code == MISTAKE:  # a launcher's job elsewhere: this list is not the sweep's
                    sys.exit(code)
                codes.append(code)

            hydra.main(version_base="1.3", config_path="pkg://reer.conf", config_name=stage)(task)()
        except KeyboardInterrupt:
            print(f"reer-{stage}: interrupted; the same command continues from here", file=sys.stderr)
            sys.stderr.flush()
            os._exit(INTERRUPTED)  # a model call may still run in a thread; nothing is left to save
        except UserError as error:
            sys.exit(_complain(stage, str(error)))
        except (HydraException, OmegaConfBaseException) as error:
            sys.exit(_complain(stage, _explain(error)))
        except SystemExit as stop:  # argparse leaves with 2, which here means something else
            sys.exit(MISTAKE if stop.code == PARTIAL else stop.code)
        sys.exit(worst(codes))

    return main


def worst(codes: Collection[int]) -> int:
    """The exit code of a sweep: a job that was not done counts more than one with rows that failed."""
    return next((code for code in (MISTAKE, PARTIAL) if code in codes), DONE)


def _job(config: DictConfig, view: type[C], run: Callable[[C], int], fixed: Collection[str]) -> int:
    """The stage itself; in a sweep one of its jobs. Never leaves by sys.exit: Hydra would begin no other job."""
    stage, point = config.stage, ""
    try:
        refuse_numbers()
        point = place(config, fixed)
        if point:
            print(f"point         {point}")
        loaded = load(config, view)
        check_tracking(loaded.tracking)
        with room_on(Path(loaded.run_dir)):
            return run(loaded)
    except UserError as error:
        return _complain(stage, f"at {point}: {error}" if point else str(error))


def _quiet() -> None:
    """Notices no user can act on: Hydra 1.3 calls omegaconf 2.4 by names that are to go."""
    warnings.filterwarnings("ignore", r"register_new_resolver\(\) is deprecated", UserWarning)
    warnings.filterwarnings("ignore", "Implicit conversion from Version to str", FutureWarning)


def open_run_dir(config: RunConfig, *, begun: bool = True, free: Collection[str] = ()) -> Path:
    """Create the run folder, or check that it belongs to this config, and freeze the config in it.

    `begun` says whether the folder holds work already: one in which nothing was done yet (its model was not found,
    say) may be used with other settings. `free` names groups of which the stage itself sees that results do not mix.

    Raises:
        RunDirError: it cannot be written, or was made with another value of a key that changes results.
    """
    folder, frozen = Path(config.run_dir), Path(config.run_dir) / "config.yaml"
    resolved = OmegaConf.create(asdict(config))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if frozen.exists() and begun:
            _refuse_other_results(frozen, OmegaConf.load(frozen), resolved, free)
        temporary = folder / ".config.yaml.tmp"
        OmegaConf.save(resolved, temporary)
        temporary.replace(frozen)
    except OSError as error:
        raise RunDirError(f"run_dir={folder} cannot be written: {error.strerror or error}") from error
    return folder


def refuse_other_settings(config: RunConfig) -> None:
    """Look, and write nothing: many processes may do so at once.

    Raises:
        RunDirError: the run folder was made with another value of a key that changes results.
    """
    frozen = Path(config.run_dir) / "config.yaml"
    if frozen.exists():
        _refuse_other_results(frozen, OmegaConf.load(frozen), OmegaConf.create(asdict(config)), ())


@contextmanager
def exclusive(run_dir: Path) -> Iterator[None]:
    """Hold a run folder against other processes; released when this one ends, however it does.

    Raises:
        RunDirError: another process holds it, or it cannot be made.
    """
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunDirError(f"run_dir={run_dir} cannot be written: {error.strerror or error}") from error
    with (run_dir / ".lock").open("w") as file:
        hold(file, run_dir)
        yield


def hold(file: IO[Any], path: Path) -> None:
    """Lock an open file until it is closed; where the file system knows no locks, say so and go on.

    Raises:
        RunDirError: another process holds it.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise RunDirError(f"{path}: another process is working in this run folder") from error
    except OSError as error:
        log.warning("%s: no locks here (%s), so see to it that no two commands work in it", path, error.strerror)


def _refuse_other_results(path: Path, old: Any, new: Any, free: Collection[str]) -> None:
    before, now = (dict(flatten(OmegaConf.to_container(config))) for config in (old, new))
    changed = [
        key
        for key in sorted(before.keys() | now.keys())
        if before.get(key, BEFORE.get(key)) != now.get(key)
        and not (_is_free(key) or key.partition(".")[0] in free)
        and not _extends(key, before.get(key), now.get(key))
        and not (key == "layout.date" and before.get(key) is None)  # a folder from before it was kept
    ]
    if changed:
        facts = ", ".join(f"{key} (was {before.get(key)}, now {now.get(key)})" for key in changed)
        raise RunDirError(f"{path.parent} was made with other settings: {facts}; choose another name= or run_dir=")


def _is_free(key: str) -> bool:
    parts = key.split(".")
    return parts[0] in FREE_GROUPS or parts[-1] in FREE_KEYS or key.startswith(FREE_PART)


def _extends(key: str, before: int | None, now: int | None) -> bool:
    """Raising a limit adds rows and changes none."""
    return key.endswith(".limit") and before is not None and (now is None or now > before)


def _explain(error: Exception) -> str:
    """Hydra's and OmegaConf's messages as one sentence that names the file and the key."""
    text = one_line(error)
    file = f" in {named.group(1)}.yaml" if (named := re.match(r"In '([^']+)'", text)) else ""
    if missing := re.search(r"Could not find '([^']+)/([^'/]+)'", text):
        options = text.partition("Available options in ")[2].partition("; Config search path")[0].split("; ")[1:]
        return f"{missing.group(1)}={missing.group(2)} is unknown: choose one of {', '.join(options)}"
    full_key = text.partition("full_key: ")[2].partition(";")[0]
    if unknown := re.search(r"Could not override '([^']+)'|Key '(\w+)' (?:is )?not in", text):
        key = unknown.group(1) or full_key or unknown.group(2)
        if FREE_DICTS & {*key.split(".")}:
            return f"key {key} is not in the config yet: write +{key}=... to pass it on"
        if "@" in key and file:
            return f"{file.removeprefix(' in ')} sets {key}, which the groups chosen here do not have"
        return f"unknown key {key}{file}{_similar(key)}"
    if text.startswith("Error merging override") and error.__cause__ is not None:
        cause = one_line(error.__cause__).partition("; full_key")[0]
        return f"{text.removeprefix('Error merging override ')}: {cause}"
    if wrong := re.search(r"(Value .+? could not be converted to \w+)", text):
        return f"{full_key}{file}: {wrong.group(1)}"
    return text


def _similar(key: str) -> str:
    """The known key that looks most like this one, as an offer."""
    known = [known for known, _ in flatten(asdict(ReerConfig()) | {"judge": asdict(OpenAIJudgeConfig())})]
    parent, _, leaf = key.rpartition(".")
    siblings = {name.rpartition(".")[2]: name for name in known if name.rpartition(".")[0] == parent}
    close = difflib.get_close_matches(leaf, siblings, n=1)
    match = [siblings[name] for name in close] or difflib.get_close_matches(key, known, n=1, cutoff=0.8)
    return f": did you mean {match[0]}?" if match else ""


def _complain(stage: str, sentence: str) -> int:
    print(f"reer-{stage}: {sentence}", file=sys.stderr)
    return MISTAKE
