"""Where a stage's metrics go besides its run folder: Weights & Biases, or nowhere, behind one small interface.

Knows how a tracker is opened, fed and closed; knows nothing of what the numbers mean. The run folder stays the
record: losing a tracker loses no result. Lineage is kept in the manifests, so no artifact is ever read back.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol, cast, get_args

from reer.config import TrackingConfig
from reer.errors import ConfigError
from reer.text import digest

Mode = Literal["online", "offline", "disabled", "shared"]


class Tracker(Protocol):
    """Receives the numbers and files of one stage of one run."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Numbers at one step; steps never go down."""

    def summary(self, values: Mapping[str, Any]) -> None:
        """Final numbers of the run, by name; nested mappings are allowed."""

    def artifact(self, path: Path, kind: str) -> None:
        """A file or folder the stage made. `kind` groups them: model, dataset, report."""

    def finish(self) -> None:
        """Send what is left and close; nothing may be logged afterwards."""


def open_tracker(
    tracking: TrackingConfig, *, name: str, stage: str, run_dir: Path, config: Mapping[str, Any]
) -> Tracker:
    """The tracker of one stage. The same name, stage and run folder always continue the same run.

    Raises:
        ConfigError: unknown tracking.kind or tracking.mode, or the service refuses to start.
    """
    match tracking.kind:
        case "none":
            return NoTracker()
        case "wandb":
            return WandbTracker(tracking, name=name, stage=stage, run_dir=run_dir, config=config)
        case other:
            raise ConfigError(f"tracking.kind={other} is unknown (known: none, wandb)")


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
        import wandb

        self._name = f"{name}-{stage}"
        try:
            mode = _mode(tracking)
            self._run = wandb.init(
                project=tracking.project,
                entity=tracking.entity,
                mode=mode,
                id=run_id(name, stage, run_dir),
                # offline there is no server to ask what the run already holds
                resume="allow" if mode == "online" else None,
                name=self._name,
                group=name,
                job_type=stage,
                dir=run_dir,
                config=dict(config),
                settings=wandb.Settings(silent=True, console="off"),
            )
        except wandb.errors.Error as error:
            raise ConfigError(f"tracking=wandb: {error}; tracking.mode=offline needs no server") from error

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._run.log(dict(values), step=step)

    def summary(self, values: Mapping[str, Any]) -> None:
        self._run.summary.update(dict(values))

    def artifact(self, path: Path, kind: str) -> None:
        import wandb

        artifact = wandb.Artifact(f"{self._name}-{path.stem}", type=kind)
        # immutable: refer to the file where it lies instead of copying gigabytes into a staging folder
        add = artifact.add_dir if path.is_dir() else artifact.add_file
        add(str(path), policy="immutable")
        self._run.log_artifact(artifact)

    def finish(self) -> None:
        self._run.finish()


def run_id(name: str, stage: str, run_dir: Path) -> str:
    """Stable id of a run: rerunning the same command on the same folder continues it."""
    return digest(name, stage, str(run_dir.resolve()))[:16]


def _mode(tracking: TrackingConfig) -> Mode:
    """tracking.mode, else the environment's WANDB_MODE, else online where a key is found and offline where not."""
    chosen = tracking.mode or os.environ.get("WANDB_MODE")
    if chosen and chosen not in get_args(Mode):
        raise ConfigError(f"tracking.mode={chosen} is unknown (known: online, offline, or null)")
    if chosen:
        return cast(Mode, chosen)
    if _has_key():
        return "online"
    print("tracking: no W&B key found, the run is kept offline; `wandb sync RUN_DIR/wandb/offline-run-*` uploads it")
    return "offline"


def _has_key() -> bool:
    """Whether wandb finds credentials without asking: in its environment, its settings, or the netrc file."""
    import wandb
    from wandb.sdk.lib import wbauth  # no public call answers this without a prompt

    host = wandb.setup().settings.base_url
    return wbauth.authenticate_session(host=host, source="reer", prompt=False, update_session=False) is not None
