"""Weights & Biases behind the tracker's interface: ids, names and modes of runs, artifacts, tables, how long it waits.

The lineage: a file is an artifact that holds its kind and hash alone, never its content, so both sides make the same
one. Online its reader uses it. Offline that raises (wandb 0.31), so what a run read stands in its config and in the
metadata of what it made, and `scripts/wandb_link` links the runs once they are synced.
"""

import json
import logging
import os
import re
import shlex
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

from reer.config import TrackingConfig, one_line
from reer.run.tracking.records import Item, Lineage, Table, described
from reer.text import digest

Mode = Literal["online", "offline", "disabled", "shared"]
FORMER = {"dryrun": "offline", "run": "online"}
"""Names of modes that WANDB_MODE may still have."""
LONGEST = 128
"""Characters of a name that W&B takes."""
PATIENCE, PATIENCE_WITH_MODEL = 300.0, 3600.0
"""Seconds that a stage waits at its end until everything is sent; what is not can be sent by `wandb sync`."""
FOR_USE = 60.0
"""Seconds that it waits for the answer to one `use_artifact`, which by itself waits without end."""

log = logging.getLogger("reer.run.tracking")


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
            "id": _given_id() or run_id(name, stage, run_dir),
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
        if kind == "page":
            self._run.log({"page": wandb.Html(str(path), inject=False)})

    def lineage(self, found: Callable[[], Lineage]) -> None:
        lineage = found()
        self._run.config.update({"lineage": lineage.as_dict()}, allow_val_change=True)
        for item, sources in lineage.outputs.items():
            self._run.log_artifact(reference(item, sources))
        for item in () if self._run.offline else lineage.inputs:
            self._use(item)

    def _use(self, item: Item) -> None:
        """What fails here is a line in a graph: the run is tracked on, and the line can be drawn later."""
        try:
            _within(FOR_USE, partial(self._run.use_artifact, reference(item)))
        except Exception as error:  # whatever the service or its client may raise
            later = "scripts/wandb_link links it later"
            log.warning("tracking=wandb: input %s is not linked (%s); %s", item.name, one_line(error), later)

    def tables(self, found: Callable[[], Mapping[str, Table]]) -> None:
        if "tables" in self._upload:
            self._run.log({name: _drawn(name, table) for name, table in found().items()})

    def finish(self) -> None:
        import wandb

        with ExitStack() as failed:
            failed.callback(wandb.teardown)  # else a service that has died raises once more when Python ends
            self._run.finish()
            failed.pop_all()


def _begin(mode: Mode, wanted: dict[str, Any], patience: float) -> Any:
    """wandb.init; no answer, no key, or one that is not taken leaves the run offline, and a line says so."""
    import wandb

    settings = wandb.Settings(silent=True, console="off", finish_timeout=patience)
    try:
        # offline there is no server to ask what the run already holds
        return wandb.init(mode=mode, resume="allow" if mode == "online" else None, settings=settings, **wanted)
    except (wandb.errors.CommError, wandb.errors.UsageError) as error:
        if mode != "online":
            raise
        wandb.teardown()  # else its service holds the id of the run that did not begin
        run = wandb.init(mode="offline", settings=settings, **wanted)
        log.warning("tracking=wandb: %s; the run is kept offline", one_line(error).partition(";")[0])
        _say_offline(wanted["dir"])
        return run


def reference(item: Item, sources: Sequence[Item] = ()) -> Any:
    """The artifact that stands for a file: the same one whoever makes it, for it is known by what it holds."""
    import wandb

    facts = {"path": item.path, "inputs": [described(source) for source in sources]}
    artifact = wandb.Artifact(item.name, type=item.kind, metadata=facts)
    with artifact.new_file("reference.json", mode="w", encoding="utf-8") as file:
        json.dump({"kind": item.kind, "hash": item.hash}, file)
    return artifact


def _drawn(name: str, table: Table) -> Any:
    import wandb

    kept = wandb.Table(columns=list(table.columns), data=list(map(list, table.rows)), allow_mixed_types=True)
    if table.plot is None:
        return kept
    draw = wandb.plot.line if table.plot == "line" else wandb.plot.bar
    return draw(kept, table.columns[0], table.columns[1], title=name)


def _within(seconds: float, call: Callable[[], Any]) -> None:
    """Call, and wait so long.

    Raises:
        TimeoutError: it has not come back; and whatever the call raises.
    """
    failed: list[Exception] = []

    def called() -> None:
        try:
            call()
        except Exception as error:  # raised again by whoever waits
            failed.append(error)

    thread = threading.Thread(target=called, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError(f"no answer within {seconds:.0f} s")
    if failed:
        raise failed[0]


def _given_id() -> str | None:
    """The run that an agent of a W&B sweep has begun for this process."""
    return os.environ.get("WANDB_RUN_ID") if os.environ.get("WANDB_SWEEP_ID") else None


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
        return cast(Mode, FORMER.get(chosen, chosen))  # checked at the start
    return "online" if _has_key() else "offline"


def _say_offline(run_dir: Path) -> None:
    folder = shlex.quote(str(run_dir / "wandb"))
    print(f"tracking: the run is kept offline; `wandb sync {folder}/offline-run-*` uploads it")


def _has_key() -> bool:
    """Whether wandb finds credentials without asking: in its environment, its settings, or the netrc file."""
    import wandb
    from wandb.sdk.lib import wbauth  # no public call answers this without a prompt

    host = wandb.setup().settings.base_url
    try:
        return wbauth.authenticate_session(host=host, source="reer", prompt=False, update_session=False) is not None
    except wandb.errors.CommError:  # one that cannot be a key: told when the run begins
        return True
