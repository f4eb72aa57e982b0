"""Runs stages, each once: runs/reproduce/SCALE/STAGE-KEY holds what it made and links to what it read.

A stage is an experiment of its own whose folder is its name, so its command is an ordinary one that can be typed. When
it is over, stage.json says how it ended. A folder without it is half done, and the same command goes on there.
"""

import functools
import json
import multiprocessing
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from importlib.metadata import entry_points
from multiprocessing import forkserver
from pathlib import Path
from statistics import fmean
from typing import Any, TextIO

import reer
from experiments.stages import Stage
from reer.errors import ConfigError, RunDirError
from reer.run.launch import DONE, INTERRUPTED, MISTAKE, PARTIAL
from reer.run.manifest import git_commit, write_json
from reer.types import FORMAT_VERSION, Usage

BIN = Path(sys.executable).parent
RECORD = "stage.json"
ENDED_WELL = (DONE, PARTIAL)
QUIET = {"TQDM_DISABLE": "1"}
Start = Callable[[Sequence[str], TextIO], int]
"""Runs a command to its end, its words to a log; its exit code, negative where a signal killed it."""


def started(command: Sequence[str], log: TextIO) -> int:
    """The exit code of a command that is run as it would be typed."""
    process = subprocess.Popen(
        [str(BIN / command[0]), *command[1:]], stdout=log, stderr=subprocess.STDOUT, env=os.environ | QUIET
    )
    try:
        return process.wait()
    except KeyboardInterrupt:  # the stage hears Ctrl-C too, and keeps what it has
        process.wait()
        raise


def forked(command: Sequence[str], log: TextIO) -> int:
    """As `started`, from a process that has imported the libraries already: for stages of seconds."""
    process = preloaded().Process(target=_as_typed, args=(list(command), log.name))
    process.start()
    process.join()
    return process.exitcode or 0


@functools.cache
def preloaded() -> multiprocessing.context.ForkServerContext:
    """Begin to import what stages need, in a process that they are forked from."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["torch", "transformers", "trl", "peft", "datasets", "scipy.stats", "matplotlib.figure", "jinja2"]
    )
    forkserver.ensure_running()
    return context


def _as_typed(command: list[str], log: str) -> None:
    """In the new process: what the console command does."""
    with open(log, "a", encoding="utf-8") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    os.environ.update(QUIET)
    sys.argv = [str(BIN / command[0]), *command[1:]]
    [entry] = entry_points(group="console_scripts", name=command[0])
    entry.load()()


def run_logged(command: list[str], log: Path, start: Start = started) -> tuple[int, str]:
    """Exit code, and the last line that the command complained with."""
    with log.open("a", encoding="utf-8") as file:
        file.write(f"$ {shlex.join(command)}\n")
        file.flush()
        code = start(command, file)
    if code < 0:
        return code, f"{command[0]}: killed by signal {-code}"
    said = log.read_text(encoding="utf-8", errors="replace").splitlines()
    named = [line for line in said if line.startswith(f"{command[0]}: ")]
    return code, (named or said or [""])[-1]


@dataclass(frozen=True)
class Workplace:
    """The folder of one scale."""

    name: str
    """Within runs/: reproduce/smoke."""
    start: Start = started
    """How commands are run."""
    retry: bool = False
    """Whether evaluations of which some rows failed are run again, for those rows."""

    @property
    def path(self) -> Path:
        return Path("runs", self.name)

    def record(self, stage: str) -> dict[str, Any] | None:
        """How a stage ended, by its id; None where it has not."""
        path = self.path / stage / RECORD
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def run(self, stage: Stage, row: str) -> None:
        """Run a stage, unless it has ended well. What it prints goes to log.txt beside its files."""
        record = self.record(stage.id)
        if is_done(record) and not (self.retry and stage.benchmarks and record["code"] == PARTIAL):
            return
        folder = self.path / stage.id
        folder.mkdir(parents=True, exist_ok=True)
        for name, read in stage.inputs.items():
            _link(folder / name, Path("..", read.id, name))
        begun, command = time.monotonic(), []
        try:
            command = self.command(stage, row)
            print("$", shlex.join(command), flush=True)
            code, error = run_logged(command, folder / "log.txt", self.start)
        except RunDirError as nothing:
            code, error = MISTAKE, str(nothing)
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        record = {
            "row": row,
            "code": code,
            "error": error if code not in ENDED_WELL else None,
            "seconds": round(time.monotonic() - begun, 1),
            "command": command,
            "inputs": {name: read.key for name, read in stage.inputs.items()},
            "ended": time.time(),
            "inputs_ended": {name: (self.record(read.id) or {}).get("ended") for name, read in stage.inputs.items()},
            "reer": reer.__version__,
            "git_commit": git_commit(),
            "format_version": FORMAT_VERSION,
        }
        write_json(folder / RECORD, record)
        print(f"  {stage.id}: {record['seconds']} s" + (f"  {error}" if record["error"] else ""), flush=True)

    def command(self, stage: Stage, row: str) -> list[str]:
        words = [f"reer-{stage.command}", *stage.words, f"name={self.name}/{stage.id}", f"tracking.group={row}"]
        if stage.budget_of:
            budget = self.path / stage.budget_of.id / stage.budget_of.folder
            words.append(f"search.max_tokens={round(tokens_a_pair(budget))}")
        if stage.benchmarks:
            words += ["-m", f"benchmark={','.join(stage.benchmarks)}"]
        return words

    def outdated(self, record: Mapping[str, Any]) -> str | None:
        """The stage that a finished one has read and that has been made anew since."""
        for name, ended in (record.get("inputs_ended") or {}).items():
            stage = f"{name}-{record['inputs'][name]}"
            if (self.record(stage) or {}).get("ended", ended) != ended:
                return stage
        return None


def tokens_a_pair(search: Path) -> float:
    """Forward tokens that a search took for one pair, on average over its trajectories; not those of `search.worth`.

    Raises:
        RunDirError: it has none.
    """
    from pyarrow import parquet

    path = search / "trajectories.parquet"  # one column of it: the rows hold every candidate's text
    used = parquet.read_table(path, columns=["usage"]).column("usage").to_pylist() if path.exists() else []
    if not used:
        raise RunDirError(f"{path} has no trajectory, so nobody knows what a pair takes")
    known = dict.fromkeys(Usage.__dataclass_fields__, 0)
    return fmean(Usage(**(known | usage)).forward_tokens for usage in used)


def refuse(overrides: Sequence[str], keys: Sequence[str], why: str) -> None:
    """Raises: ConfigError: a word sets one of these keys."""
    for word in overrides:
        if word.partition("=")[0].lstrip("+~") in keys:
            raise ConfigError(f"{word}: {why}")


def is_done(record: dict[str, Any] | None) -> bool:
    return record is not None and record["code"] in ENDED_WELL


def unmet(stage: Stage, workplace: Workplace) -> Stage | None:
    """The first stage that has to end well before this one can begin, and has not."""
    before = [read for read in stage.with_inputs() if read is not stage]
    return next((read for read in before if not is_done(workplace.record(read.id))), None)


def in_order(stages: Iterable[Stage]) -> list[Stage]:
    """Each stage once, what is read before what reads it."""
    found: dict[str, Stage] = {}
    for stage in (stage for last in stages for stage in last.with_inputs()):
        found.setdefault(stage.id, stage)
    return list(found.values())


def _link(path: Path, target: Path) -> None:
    if not path.is_symlink():
        path.symlink_to(target, target_is_directory=True)


def run_all(stages: Sequence[Stage], workplace: Workplace, row_of: Callable[[Stage], str], jobs: int) -> None:
    """Run stages, given in order of work, `jobs` at a time: each as soon as what it reads is there.

    A stage that needs one which failed is left out, and said.
    """
    waiting, running = list(stages), dict[Future[None], Stage]()
    with ThreadPoolExecutor(jobs) as pool:
        while waiting or running:
            # no more than there is room for: what waits in the pool would begin after Ctrl-C
            for stage in _ready(waiting, running.values())[: jobs - len(running)]:
                waiting.remove(stage)
                if (missing := unmet(stage, workplace)) is None:
                    running[pool.submit(workplace.run, stage, row_of(stage))] = stage
                else:
                    print(f"not run: {stage.id} needs {missing.id}")
            for ended in wait(running, return_when=FIRST_COMPLETED).done:
                del running[ended]
                ended.result()


def _ready(waiting: Sequence[Stage], running: Iterable[Stage]) -> list[Stage]:
    """Stages of which nothing that they need is still to be done."""
    ahead = {stage.id for stage in (*waiting, *running)}
    return [stage for stage in waiting if not ahead & {read.id for read in stage.with_inputs() if read is not stage}]
