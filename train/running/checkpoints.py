"""Which checkpoint a run continues from: the newest that was written to its end, by every process.

The trainer writes a checkpoint file by file, and under ZeRO each process its own. `mark` is set when all have
written; a folder without the mark, or whose files differ from it, was cut short and is passed over. Knows files and
DeepSpeed's converter; knows nothing of training.
"""

import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from reer.config import SftConfig
from reer.errors import RunDirError
from reer.run.manifest import write_json, write_text

MARK = "complete.json"
_log = logging.getLogger(__name__)


def mark(checkpoint: Path, facts: dict[str, Any]) -> None:
    """Say that every process has written its part; `facts` are what a continuing run has to agree with."""
    write_json(checkpoint / MARK, {**facts, "files": _sizes(checkpoint)})


def newest(folder: Path) -> Path | None:
    """The newest complete checkpoint; what a kill cut short after it is named and passed over."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)
    for path in found:
        if is_complete(path):
            return path
        _log.warning("%s was not written to its end and is passed over", path)
    return None


def is_complete(checkpoint: Path) -> bool:
    """Whether every file is there in the size it was written in."""
    return (checkpoint / MARK).is_file() and facts(checkpoint)["files"].items() <= _sizes(checkpoint).items()


def facts(checkpoint: Path) -> dict[str, Any]:
    """What its mark says of a complete checkpoint."""
    found: dict[str, Any] = json.loads((checkpoint / MARK).read_text(encoding="utf-8"))
    return found


def drop_unfinished(folder: Path) -> Path | None:
    """Remove checkpoints that were not written to their end, which only take room; tells the newest whole one."""
    for path in folder.glob("checkpoint-*"):
        if not is_complete(path):
            shutil.rmtree(path, ignore_errors=True)
    return newest(folder)


def refuse_other_batch(checkpoint: Path, rows_per_step: int) -> None:
    """A run continues with the batch it began with: its steps would count other examples.

    Raises:
        RunDirError: the rows per optimiser step differ.
    """
    began = facts(checkpoint)["rows_per_step"]
    if began != rows_per_step:
        raise RunDirError(
            f"{checkpoint} was made with {began} rows per optimiser step, and these settings make {rows_per_step}: "
            f"set trainer.global_batch so that they agree, or choose another name= or run_dir="
        )


def other_processes(checkpoint: Path, config: SftConfig) -> bool:
    """Whether DeepSpeed has divided the checkpoint over another number of processes than there are now."""
    return config.deepspeed.config is not None and facts(checkpoint)["processes"] != config.launch.processes


def refuse_best(checkpoint: Path, *, best: bool) -> None:
    """The best checkpoint may be one of the other number of processes, which cannot be loaded at the end.

    Raises:
        RunDirError: a run whose model is to be the best checkpoint goes on with another number of processes.
    """
    if best:
        raise RunDirError(
            f"{checkpoint}: a run whose model is to be its best checkpoint (trainer.patience) goes on with the "
            f"launch.processes it was begun with, {facts(checkpoint)['processes']}"
        )


def convert(checkpoint: Path) -> None:
    """Make DeepSpeed's universal form of a checkpoint, which any number of processes can load. Done once.

    Raises:
        RunDirError: DeepSpeed cannot convert it.
    """
    if (checkpoint / "latest_universal").exists():
        return
    tag = (checkpoint / "latest").read_text(encoding="utf-8").strip()
    source, target = checkpoint / tag, checkpoint / f"{tag}_universal"
    shutil.rmtree(target, ignore_errors=True)
    call = [sys.executable, "-m", "deepspeed.checkpoint.ds_to_universal", "--inject_missing_state"]
    done = subprocess.run(
        [*call, "--input_folder", str(source), "--output_folder", str(target)], capture_output=True, text=True
    )
    if done.returncode:
        raise RunDirError(
            f"{checkpoint} cannot be continued with another launch.processes: DeepSpeed's converter says "
            f"{done.stderr.strip().splitlines()[-1]}"
        )
    write_text(checkpoint / "latest_universal", target.name)


def _sizes(folder: Path) -> dict[str, int]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != MARK)
    return {str(path.relative_to(folder)): path.stat().st_size for path in files}
