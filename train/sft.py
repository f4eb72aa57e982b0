"""The stage reer-sft: trajectories in, a fine-tuned model folder out. Start reading here.

trajectories.jsonl ─▶ mix (rows) ─▶ layout (ids, mask) ─▶ trl.SFTTrainer ─▶ model/, metrics.jsonl, summary.json

With several processes this one freezes the config and starts the others (`processes`), which train; what comes before
and after is done once, here.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path

from reer.config import SftConfig
from reer.errors import DiskFullError
from reer.run.day import dated
from reer.run.launch import DONE, command, exclusive, open_run_dir, refuse_other_settings
from reer.run.space import room_on
from reer.run.tracking import NoTracker, Tracker

from .arguments.adapters import adapter_arguments
from .arguments.processes import check, is_main, launched, needs_start, start
from .arguments.trainer import max_length, on_cpu, optimiser_steps, rows_per_step, trainer_arguments
from .examples.audit import audit
from .examples.data import count
from .examples.work import Work, read
from .running.finish import finish, report
from .running.record import (
    begun,
    followed,
    is_finished,
    is_trained,
    refuse_other_data,
    tell,
    tracker_of,
    write_inputs,
)


def run(config: SftConfig) -> int:
    """Fine-tune on every usable trajectory; returns an exit code."""
    config = dated(config, config.data.trajectories)
    run_dir = Path(config.run_dir)
    check(config)
    looks = config.dry_run or config.audit
    if begun(run_dir) and not looks:
        refuse_other_settings(config)  # before any work
        refuse_other_data(config)
        if is_finished(run_dir):
            return _told(run_dir)
    from .planning.disk import check_room
    from .running.training import train

    work = read(config)
    if is_main():
        for line in [*work.prepared.notes.told(config.data.trajectories, "rows"), *work.prepared.tally.told()]:
            print(line)
    if looks:
        return audit(config, work) if config.audit else estimate(config, work)
    if not is_main():  # one of several that torchrun or accelerate has started: the first one does the rest
        if not is_trained(run_dir):
            train(config, work, NoTracker)
        return DONE
    if not is_trained(run_dir) and not launched():
        check_room(config, work.dtype, work.amount)
    with exclusive(run_dir), goes_on(run_dir):
        open_run_dir(config, begun=begun(run_dir))
        write_inputs(config, run_dir, work.prepared, work.dtype)
        opened = cache(partial(tracker_of, config))  # one run of the tracker, from the first step to the summary
        if is_trained(run_dir):
            tell(run_dir, opened())
        else:
            _train(config, work, opened)
        finish(config, work, opened())
    return _told(run_dir)


def _train(config: SftConfig, work: Work, opened: Callable[[], Tracker]) -> None:
    """In this process, or in those that are started here."""
    from .model import check_saving
    from .running.training import train

    run_dir = Path(config.run_dir)
    check_saving(config.model, work.layout.tokenizer)  # type: ignore[arg-type]
    if not needs_start(config):
        train(config, work, opened)
        return
    trainer_arguments(config, work.dtype, work.amount)  # mistakes are told before anything is started
    with followed(run_dir, opened()):
        start(run_dir / "config.yaml", config.launch.processes, on_cpu=on_cpu(config))


@contextmanager
def goes_on(run_dir: Path) -> Iterator[None]:
    """Of a full disk, say from where the same command continues; what was not written whole makes room again.

    Raises:
        DiskFullError: the disk is full.
    """
    from .running import checkpoints

    try:
        with room_on(run_dir):
            yield
    except DiskFullError as error:
        whole = None if is_trained(run_dir) else checkpoints.drop_unfinished(run_dir / "checkpoints")
        where = "the trained weights" if is_trained(run_dir) else whole or "its beginning"
        raise DiskFullError(f"{error}; make room, and the same command continues from {where}") from error


def _told(run_dir: Path) -> int:
    """Tell the user once; a launcher takes every code but 0 for a failure, left-out rows included."""
    code = report(run_dir) if is_main() else DONE
    return DONE if launched() else code


def estimate(config: SftConfig, work: Work) -> int:
    """Say what would be done."""
    args = trainer_arguments(config, work.dtype, work.amount)
    adapter_arguments(config.peft)
    tokens, supervised = count(work.training)
    rows, packed = rows_per_step(args, config), bool(args.packing)
    print(f"examples          {len(work.training):>12,}  ({len(work.held_out)} more held out)")
    print(f"dropped           {len(work.prepared.too_long):>12,}  (longer than {max_length(config):,} tokens)")
    print(f"quarantined       {len(work.prepared.quarantined):>12,}  (broken rows)")
    print(f"tokens per epoch  {tokens:>12,}  ({supervised:,} supervised)")
    print(f"optimiser steps   {optimiser_steps(args, config, work.amount):>12,}{'  (about)' if packed else ''}")
    print(f"rows per step     {rows:>12,}  ({args.per_device_train_batch_size} x {args.gradient_accumulation_steps} "
          f"accumulated x {config.launch.processes} processes)")  # fmt: skip
    if packed:
        per_row = len(work.training) / work.amount.rows(config)
        print(f"examples per step {rows * per_row:>12,.0f}  (about {per_row:.1f} in a pack)")
    if gone := work.prepared.tally.left_out.total():
        print(f"left out          {gone:>12,}  (by mix and licence)")
    print("(dry run: no model was loaded, nothing was written)")
    return DONE


main = command("sft", SftConfig, run)

if __name__ == "__main__":
    main()
