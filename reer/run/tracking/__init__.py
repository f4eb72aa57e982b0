"""Where a stage's metrics go besides its run folder: Weights & Biases, or nowhere, behind one small interface.

Knows how a tracker is opened, fed and closed; knows nothing of what the numbers mean. The run folder stays the
record: losing a tracker loses no result and ends no stage. Lineage is kept in the manifests too, so no artifact is
ever read back.
"""

import logging
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, get_args

from reer.config import RunConfig, TrackingConfig, one_line
from reer.errors import ConfigError
from reer.run.tracking.records import Lineage, Table
from reer.run.tracking.wandb_runs import FORMER, Mode, WandbTracker, artifact_name, run_id

KINDS = ("none", "wandb")
UPLOADS = ("results", "page", "tables", "trajectories", "model")
"""What `tracking.upload` may name of what a stage makes."""
NOT_IN_PROJECTS = frozenset("/\\#?%:")
Lines = Callable[[], Lineage]
Tables = Callable[[], Mapping[str, Table]]
"""Asked for only where they are kept: they read files, and hash them."""

log = logging.getLogger(__name__)

__all__ = [
    "Lineage", "NoTracker", "Spared", "Table", "Tracker", "artifact_name", "check_tracking", "open_tracker", "record",
    "run_id",
]  # fmt: skip


class Tracker(Protocol):
    """Receives the numbers and files of one stage of one run."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Numbers at one step; what stands at a later step already is not gone back behind."""

    def summary(self, values: Mapping[str, Any]) -> None:
        """Final numbers of the run, by name; nested mappings are allowed."""

    def artifact(self, path: Path, kind: str) -> None:
        """A file or folder the stage made, sent where `tracking.upload` names its kind (UPLOADS)."""

    def lineage(self, found: Lines) -> None:
        """Which files the stage read and made, by their hashes."""

    def tables(self, found: Tables) -> None:
        """Tables by name, where `tracking.upload` names them."""

    def finish(self) -> None:
        """Send what is left and close; nothing may be logged afterwards."""


def check_tracking(tracking: TrackingConfig) -> None:
    """What can be told before any work is done.

    Raises:
        ConfigError: unknown tracking.kind, tracking.mode or tracking.upload; a project that W&B would not take.
    """
    _refuse_unknown("tracking.kind", [tracking.kind], KINDS)
    _refuse_unknown("tracking.mode", [tracking.mode or "null"], (*get_args(Mode), "null"))
    _refuse_unknown("tracking.upload", tracking.upload, UPLOADS)
    if tracking.kind == "wandb":
        modes = (*get_args(Mode), *FORMER)
        _refuse_unknown("the environment's WANDB_MODE", [os.environ.get("WANDB_MODE") or "online"], modes)
        if odd := sorted(set(tracking.project) & NOT_IN_PROJECTS):
            raise ConfigError(f"tracking.project={tracking.project}: W&B takes no {odd[0]} in the name of a project")


def _refuse_unknown(key: str, given: Collection[str], known: Collection[str]) -> None:
    """Raises: ConfigError: a value of the key is none of those that are known."""
    if unknown := [value for value in given if value not in known]:
        raise ConfigError(f"{key}={unknown[0]} is unknown (known: {', '.join(known)})")


def open_tracker(
    tracking: TrackingConfig,
    *,
    name: str,
    stage: str,
    run_dir: Path,
    config: Mapping[str, Any],
    units: Mapping[str, str] | None = None,
) -> Tracker:
    """The tracker of one stage; `units` says of its numbers what they count.

    The same name, stage and run folder always continue the same run.
    """
    if tracking.kind == "none":
        return NoTracker()
    kept = dict(config) | {"units": dict(units or {})}
    return Spared(lambda: WandbTracker(tracking, name=name, stage=stage, run_dir=run_dir, config=kept))


def record(
    config: RunConfig,
    stage: str,
    summary: Mapping[str, Any],
    made: Mapping[str, Path],
    *,
    lineage: Lines,
    tables: Tables = dict,
    units: Mapping[str, str] | None = None,
) -> None:
    """Track a stage that has no numbers but its final ones. `made`: by kind, the files it has written."""
    run_dir = Path(config.run_dir)
    tracker = open_tracker(
        config.tracking, name=config.name, stage=stage, run_dir=run_dir, config=asdict(config), units=units
    )
    tracker.summary(summary)
    tracker.lineage(lineage)
    tracker.tables(tables)
    for kind, path in made.items():
        tracker.artifact(path, kind)
    tracker.finish()


class Spared:
    """Passes everything on until the tracker fails once; that is told, and the stage goes on without it."""

    def __init__(self, opened: Callable[[], Tracker]) -> None:
        self._tracker: Tracker = NoTracker()
        self._failed = False
        self._pass("opened", lambda: setattr(self, "_tracker", opened()))

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._pass("told metrics", lambda: self._tracker.log(values, step))

    def summary(self, values: Mapping[str, Any]) -> None:
        self._pass("told the summary", lambda: self._tracker.summary(values))

    def artifact(self, path: Path, kind: str) -> None:
        self._pass(f"given {path.name}", lambda: self._tracker.artifact(path, kind))

    def lineage(self, found: Lines) -> None:
        self._pass("told the lineage", lambda: self._tracker.lineage(found))

    def tables(self, found: Tables) -> None:
        self._pass("given tables", lambda: self._tracker.tables(found))

    def finish(self) -> None:
        self._spare("closed", self._tracker.finish)  # after a failure too: what it was told before is kept

    def _pass(self, what: str, call: Callable[[], None]) -> None:
        if not self._failed:
            self._spare(what, call)

    def _spare(self, what: str, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:  # whatever a service, its client or its disk may raise: none of it is the stage's
            if not self._failed:
                reason = one_line(error).partition(";")[0] or type(error).__name__
                log.warning("tracking=wandb could not be %s (%s); the run goes on without it", what, reason)
            self._failed = True


class NoTracker:
    """Keeps nothing: the run folder has it all."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        pass

    def summary(self, values: Mapping[str, Any]) -> None:
        pass

    def artifact(self, path: Path, kind: str) -> None:
        pass

    def lineage(self, found: Lines) -> None:
        pass

    def tables(self, found: Tables) -> None:
        pass

    def finish(self) -> None:
        pass
