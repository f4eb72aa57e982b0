"""What happens while the trainer runs: one row of metrics per logging step, and a quiet progress bar.

Knows the run folder's metrics.jsonl and the tracker; decides nothing about training.
"""

import json
from pathlib import Path
from typing import Any

from transformers import ProgressCallback, TrainerCallback

from reer.manifest import write_jsonl
from reer.tracking import Tracker

METRICS = ("loss", "learning_rate", "grad_norm", "epoch", "mean_token_accuracy", "entropy", "num_tokens")
"""What one row holds besides its step: loss and entropy in nats per supervised token, num_tokens since the start."""


def metric_rows(log_history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The training rows among everything a trainer has logged."""
    return [_row(logs) for logs in log_history if "loss" in logs]


class MetricsLog(TrainerCallback):  # type: ignore[misc]
    """Writes run_dir/metrics.jsonl and tells the tracker. After a resume, rows of undone steps are gone."""

    def __init__(self, path: Path, tracker: Tracker) -> None:
        self.path = path
        self.tracker = tracker

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        write_jsonl(self.path, metric_rows(state.log_history))

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        for row in metric_rows(state.log_history[-1:]):
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            self.tracker.log({key: value for key, value in row.items() if key != "step"}, step=row["step"])


class QuietProgress(ProgressCallback):  # type: ignore[misc]
    """The trainer's own bar, with the loss beside it instead of a printed dict per step."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        super().on_train_begin(args, state, control, **kwargs)
        if self.training_bar is not None:
            self.training_bar.set_description("sft")

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        if self.training_bar is not None and logs and "loss" in logs:
            self.training_bar.set_postfix(loss=f"{logs['loss']:.3f}")


def _row(logs: dict[str, Any]) -> dict[str, Any]:
    return {"step": logs["step"], **{key: logs[key] for key in METRICS if key in logs}}
