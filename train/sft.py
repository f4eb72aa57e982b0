"""The stage reer-sft: trajectories in, a fine-tuned model folder out. Start reading here.

trajectories.jsonl ─▶ layout (ids, mask) ─▶ trl.SFTTrainer ─▶ model/, metrics.jsonl, summary.json, report.html
"""

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from reer.config import SftConfig
from reer.errors import ConfigError, RunDirError
from reer.launch import DONE, command, open_run_dir
from reer.layout import Layout, build_layout
from reer.manifest import write_json, write_text

from .arguments import adapter_arguments, max_length, one_gpu, optimiser_steps, trainer_arguments
from .data import Prepared, TrainingExample, count, find, prepare, refuse_dropped, split, to_rows
from .record import is_finished, refuse_other_data, report, summarise, write_inputs

if TYPE_CHECKING:
    from trl import SFTTrainer


def run(config: SftConfig) -> int:
    """Fine-tune on every usable trajectory; returns an exit code."""
    run_dir = Path(config.run_dir)
    if (run_dir / "config.yaml").exists() and not config.dry_run:
        open_run_dir(config)  # other settings are refused before any work
        refuse_other_data(run_dir, Path(config.data.trajectories))
        if is_finished(run_dir):
            return report(run_dir)
    trajectories = find(config.data.trajectories)
    one_gpu(config.model.device)
    from reer.backend.models import load_tokenizer

    layout = build_layout(config.layout, load_tokenizer(config.model))
    prepared = prepare(trajectories, layout, max_length(config), config.data.variant)
    refuse_dropped(prepared, max_length(config), config.trainer.max_dropped)
    training, held_out = split(prepared.examples, config.trainer.held_out, config.seed)
    if config.dry_run:
        return estimate(config, prepared, training, held_out)
    train(config, layout, prepared, training, held_out)
    return report(run_dir)


def estimate(
    config: SftConfig, prepared: Prepared, training: Sequence[TrainingExample], held_out: Sequence[TrainingExample]
) -> int:
    """Say what would be done."""
    from .model import resolve_dtype

    args = trainer_arguments(config, resolve_dtype(config.model))
    adapter_arguments(config.peft)
    tokens, supervised = count(training)
    print(f"examples          {len(training):>12,}  ({len(held_out)} more held out)")
    print(f"dropped           {len(prepared.too_long):>12,}  (longer than {max_length(config):,} tokens)")
    print(f"quarantined       {len(prepared.quarantined):>12,}  (broken rows)")
    print(f"tokens per epoch  {tokens:>12,}  ({supervised:,} supervised)")
    print(f"optimiser steps   {optimiser_steps(args, len(training)):>12,}")
    print("(dry run: no model was loaded, nothing was written)")
    return DONE


def train(
    config: SftConfig,
    layout: Layout,
    prepared: Prepared,
    training: Sequence[TrainingExample],
    held_out: Sequence[TrainingExample],
) -> None:
    """Train, save, measure; summary.json is written last and marks the run as finished."""
    from reer.tracking import open_tracker

    from .callbacks import MetricsLog, metric_rows
    from .card import model_card
    from .measure import measure
    from .model import resolve_dtype, save_model

    started = time.monotonic()
    dtype = resolve_dtype(config.model)
    trainer = build_trainer(config, layout, training, dtype)
    run_dir = open_run_dir(config)
    write_inputs(config, run_dir, prepared, dtype)
    tracker = open_tracker(
        config.tracking, name=config.name, stage=config.stage, run_dir=run_dir, config=asdict(config)
    )
    trainer.add_callback(MetricsLog(run_dir / "metrics.jsonl", tracker))
    trainer.train(resume_from_checkpoint=newest_checkpoint(run_dir / "checkpoints"))
    rows = metric_rows(trainer.state.log_history)
    folder = run_dir / "model"
    save_model(trainer.accelerator.unwrap_model(trainer.model), layout.tokenizer, folder, dtype)  # type: ignore[arg-type]
    nll = measure(folder, held_out, max_length(config), str(trainer.args.device)) if held_out else None
    seconds = time.monotonic() - started
    summary = summarise(folder, prepared, training, trainer.state.global_step, rows, nll, seconds)
    write_text(folder / "README.md", model_card(config, summary, training, dtype))
    write_json(run_dir / "summary.json", summary)
    tracker.summary(summary)
    tracker.artifact(folder, "model")
    tracker.finish()


def build_trainer(config: SftConfig, layout: Layout, training: Sequence[TrainingExample], dtype: str) -> "SFTTrainer":
    """trl.SFTTrainer over rows whose ids and masks are final.

    Raises:
        ConfigError: trl or peft refuses the settings, or the model has no such LoRA target.
        RunDirError: the run folder cannot be written.
    """
    import datasets
    from transformers import ProgressCallback
    from trl import SFTTrainer

    from .callbacks import QuietProgress
    from .model import load_for_training

    args, adapter = trainer_arguments(config, dtype), adapter_arguments(config.peft)
    rows = to_rows(training, layout.tokenizer.end_of_turn)
    model = load_for_training(config.model, dtype if adapter else "float32")
    if len(rows) < 1000:
        datasets.disable_progress_bars()  # over in a moment
    try:
        trainer = SFTTrainer(
            model=model,
            args=args,
            train_dataset=datasets.Dataset.from_list(rows),
            processing_class=layout.tokenizer.hf,  # type: ignore[attr-defined]
            peft_config=adapter,
        )
    except ValueError as error:
        where = "peft.args.target_modules" if "target modules" in str(error).lower() else "trainer.args or peft.args"
        raise ConfigError(f"{where}: {str(error).partition('. ')[0].rstrip('.')}") from error
    except OSError as error:
        raise RunDirError(f"run_dir={config.run_dir} cannot be written: {error.strerror or error}") from error
    if trainer.pop_callback(ProgressCallback):
        trainer.add_callback(QuietProgress)
    return trainer


def newest_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that was written to its end (the trainer writes trainer_state.json last)."""
    complete = [path.parent for path in folder.glob("checkpoint-*/trainer_state.json")]
    return str(max(complete, key=lambda path: int(path.name.rpartition("-")[2]))) if complete else None


main = command("sft", SftConfig, run)

if __name__ == "__main__":
    main()
