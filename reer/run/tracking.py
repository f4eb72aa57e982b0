"""Where a stage's metrics go besides its run folder: Weights & Biases, or nowhere, behind one small interface.

Knows how a tracker is opened, fed and closed; knows nothing of what the numbers mean. The run folder stays the
record: losing a tracker loses no result and ends no stage. Lineage is kept in the manifests, so no artifact is ever
read back.
"""

import logging
import os
import re
import shlex
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, Protocol, cast, get_args

from reer.config import RunConfig, TrackingConfig, one_line
from reer.errors import ConfigError
from reer.text import digest

Mode = Literal["online", "offline", "disabled", "shared"]
KINDS = ("none", "wandb")
UPLOADS = ("results", "page", "trajectories", "model")
"""What `tracking.upload` may name of the files a stage makes."""
LONGEST = 128
"""Characters of a name that W&B takes."""
PATIENCE, PATIENCE_WITH_MODEL = 300.0, 3600.0
"""Seconds that a stage waits at its end until everything is sent; what is not can be sent by `wandb sync`."""

log = logging.getLogger(__name__)


class Tracker(Protocol):
    """Receives the numbers and files of one stage of one run."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Numbers at one step; what stands at a later step already is not gone back behind."""

    def summary(self, values: Mapping[str, Any]) -> None:
        """Final numbers of the run, by name; nested mappings are allowed."""

    def artifact(self, path: Path, kind: str) -> None:
        """A file or folder the stage made, sent where `tracking.upload` names its kind (UPLOADS)."""

    def finish(self) -> None:
        """Send what is left and close; nothing may be logged afterwards."""


def check_tracking(tracking: TrackingConfig) -> None:
    """What can be told before any work is done.

    Raises:
        ConfigError: unknown tracking.kind, tracking.mode or tracking.upload.
    """
    _refuse_unknown("tracking.kind", [tracking.kind], KINDS)
    _refuse_unknown("tracking.mode", [tracking.mode or "null"], (*get_args(Mode), "null"))
    _refuse_unknown("tracking.upload", tracking.upload, UPLOADS)


def _refuse_unknown(key: str, given: Collection[str], known: Collection[str]) -> None:
    """Raises: ConfigError: a value of the key is none of those that are known."""
    if unknown := [value for value in given if value not in known]:
        raise ConfigError(f"{key}={unknown[0]} is unknown (known: {', '.join(known)})")


def open_tracker(
    tracking: TrackingConfig, *, name: str, stage: str, run_dir: Path, config: Mapping[str, Any]
) -> Tracker:
    """The tracker of one stage. The same name, stage and run folder always continue the same run."""
    if tracking.kind == "none":
        return NoTracker()
    return Spared(lambda: WandbTracker(tracking, name=name, stage=stage, run_dir=run_dir, config=config))


def record(config: RunConfig, stage: str, summary: Mapping[str, Any], made: Mapping[str, Path]) -> None:
    """Track a stage that has no numbers but its final ones. `made`: by kind, the files it has written."""
    run_dir = Path(config.run_dir)
    tracker = open_tracker(config.tracking, name=config.name, stage=stage, run_dir=run_dir, config=asdict(config))
    tracker.summary(summary)
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

    def finish(self) -> None:
        pass


class WandbTracker:
    """Weights & Biases; its files live in run_dir/wandb."""

    def __init__(
        self, tracking: TrackingConfig, *, name: str, stage: str, run_dir: Path, config: Mapping[str, Any]
    ) -> None:
        self._name = f"{_with_point(name, run_dir)}-{stage}"
        self._upload = tracking.upload
        wanted: dict[str, Any] = {
            "project": tracking.project,
            "entity": tracking.entity,
            "id": run_id(name, stage, run_dir),
            "name": self._name[:LONGEST],
            "group": (tracking.group or name)[:LONGEST],
            "job_type": stage[:LONGEST],
            "dir": run_dir,
            "config": dict(config),
        }
        mode = _mode(tracking)
        if mode == "offline":
            _say_offline(run_dir)
        self._run = _begin(mode, wanted, PATIENCE_WITH_MODEL if "model" in self._upload else PATIENCE)

    def log(self, values: Mapping[str, float], step: int) -> None:
        if step >= self._run.step:  # a run that is continued holds the earlier ones
            self._run.log(dict(values), step=step)

    def summary(self, values: Mapping[str, Any]) -> None:
        self._run.summary.update(dict(values))

    def artifact(self, path: Path, kind: str) -> None:
        import wandb

        if kind not in self._upload:
            return
        artifact = wandb.Artifact(artifact_name(f"{self._name}-{path.stem}"), type=kind)
        # immutable: refer to the file where it lies instead of copying gigabytes into a staging folder
        add = artifact.add_dir if path.is_dir() else artifact.add_file
        add(str(path), policy="immutable")
        self._run.log_artifact(artifact)

    def finish(self) -> None:
        import wandb

        with ExitStack() as failed:
            failed.callback(wandb.teardown)  # else a service that has died raises once more when Python ends
            self._run.finish()
            failed.pop_all()


def _begin(mode: Mode, wanted: dict[str, Any], patience: float) -> Any:
    """wandb.init; a server that does not answer or takes no key leaves the run offline, and a line says so."""
    import wandb

    settings = wandb.Settings(silent=True, console="off", finish_timeout=patience)
    try:
        # offline there is no server to ask what the run already holds
        return wandb.init(mode=mode, resume="allow" if mode == "online" else None, settings=settings, **wanted)
    except wandb.errors.CommError as error:
        if mode != "online":
            raise
        log.warning("tracking=wandb: %s; the run is kept offline", one_line(error).partition(";")[0])
        wandb.teardown()  # else its service holds the id of the run that did not begin
        _say_offline(wanted["dir"])
        return wandb.init(mode="offline", settings=settings, **wanted)


def run_id(name: str, stage: str, run_dir: Path) -> str:
    """Stable id of a run: rerunning the same command on the same folder continues it."""
    return digest(name, stage, str(run_dir.resolve()))[:16]


def artifact_name(name: str) -> str:
    """A name that W&B takes for an artifact; one that had to be changed ends with a hash: no two become one."""
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "_", name)
    return name if plain == name and len(name) <= LONGEST else f"{plain[: LONGEST - 9]}-{digest(name)[:8]}"


def _with_point(name: str, run_dir: Path) -> str:
    """The experiment's name, and behind it the point of a sweep, which stands in the run folder (reer.run.points)."""
    base, folder = Path("runs", name).parts, run_dir.parts
    inner = folder[len(base)] if folder[: len(base)] == base and len(folder) > len(base) else ""
    return f"{name}/{inner}" if "=" in inner else name


def _mode(tracking: TrackingConfig) -> Mode:
    """tracking.mode, else the environment's WANDB_MODE, else online where a key is found and offline where not."""
    chosen = tracking.mode or os.environ.get("WANDB_MODE")
    if chosen:
        return cast(Mode, chosen)  # checked at the start, or by wandb itself
    return "online" if _has_key() else "offline"


def _say_offline(run_dir: Path) -> None:
    folder = shlex.quote(str(run_dir / "wandb"))
    print(f"tracking: the run is kept offline; `wandb sync {folder}/offline-run-*` uploads it")


def _has_key() -> bool:
    """Whether wandb finds credentials without asking: in its environment, its settings, or the netrc file."""
    import wandb
    from wandb.sdk.lib import wbauth  # no public call answers this without a prompt

    host = wandb.setup().settings.base_url
    return wbauth.authenticate_session(host=host, source="reer", prompt=False, update_session=False) is not None
