"""What happens while the trainer runs: metrics, samples, early stop, and a quiet progress bar.

Knows the run folder's metrics.jsonl and samples.jsonl and the tracker; decides nothing about training but its end.
"""

import copy
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, cast

from transformers import EarlyStoppingCallback, ProgressCallback, TrainerCallback

from reer.backend.hf import Sampler
from reer.backend.models import ends
from reer.backend.tokens.chat import ChatTokenizer
from reer.config import SamplesConfig
from reer.files.outputs import loops
from reer.layout import Layout
from reer.run.manifest import write_jsonl
from reer.run.tracking import Tracker
from reer.text import seed_of

from ..arguments.processes import is_main
from ..arguments.trainer import BEST
from . import checkpoints

if TYPE_CHECKING:
    from trl import SFTTrainer

METRICS = ("loss", "learning_rate", "grad_norm", "epoch", "mean_token_accuracy", "entropy", "num_tokens")
"""What one row holds besides its step: loss and entropy in nats per supervised token, num_tokens since the start."""
HELD_OUT = {BEST: "nll_answer", "eval_thinking_loss": "nll_thinking"}
"""What the trainer calls the two, and what rows call them: NLL(y|x, z) and NLL(z|x), mean nats per token."""
SAMPLED = ("well_formed", "loop_rate", "truncated")


def metric_rows(log_history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per step among everything a trainer has logged: training, held-out and sampled metrics together."""
    rows: dict[int, dict[str, Any]] = {}
    for logs in log_history:
        if row := _row(logs):
            rows.setdefault(logs["step"], {"step": logs["step"]}).update(row)
    return list(rows.values())


class MetricsLog(TrainerCallback):  # type: ignore[misc]
    """Writes run_dir/metrics.jsonl and tells the tracker. After a resume, rows of undone steps are gone.

    The tracker is told the earlier steps again: kept offline, each start leaves a run that has all of them.
    """

    def __init__(self, path: Path, tracker: Tracker) -> None:
        self.path = path
        self.tracker = tracker

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._write(state)
        for row in metric_rows(state.log_history) if state.is_world_process_zero else []:
            self.tracker.log(row, step=row["step"])

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero and (row := _row(state.log_history[-1])):
            self._write(state)
            self.tracker.log(row, step=state.global_step)

    def _write(self, state: Any) -> None:
        if state.is_world_process_zero:
            write_jsonl(self.path, metric_rows(state.log_history))


class Complete(TrainerCallback):  # type: ignore[misc]
    """Marks each checkpoint once every process has written its part of it.

    The mark also keeps how many tokens were trained on, which trl counts from 0 in each process.
    """

    def __init__(self, trainer: "SFTTrainer", facts: dict[str, Any], tokens: int) -> None:
        """`tokens`: those before the checkpoint that the run goes on from."""
        self.trainer = trainer
        self.facts = facts
        self.tokens = tokens

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer._total_train_tokens = self.tokens

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        import torch.distributed as dist

        if dist.is_initialized():
            dist.barrier()
        if is_main():
            facts = {**self.facts, "last": control.should_training_stop, "tokens": self.trainer._total_train_tokens}
            checkpoints.mark(Path(args.output_dir) / f"checkpoint-{state.global_step}", facts)


class NoMoreSteps(TrainerCallback):  # type: ignore[misc]
    """Lets the trainer take up a checkpoint behind which no step is left, as after a kill while it saved the model.

    By itself transformers 5.23 would train on where the end lies within an epoch: it asks whether training is over
    only after a step. (At the end of one it warns that there is no data, which is not so.)
    """

    def __init__(self, trainer: "SFTTrainer") -> None:
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer.get_batch_samples = lambda *_: ([], None)
        logging.getLogger("transformers.trainer").setLevel(logging.ERROR)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        logging.getLogger("transformers.trainer").setLevel(logging.NOTSET)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_training_stop = True

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_log = control.should_evaluate = control.should_save = False


class StepsApart(TrainerCallback):  # type: ignore[misc]
    """Gives each group of weights a step counter of its own again, after a universal checkpoint was loaded.

    DeepSpeed 0.19.8 loads one tensor into all of them (ZeRO-3), which every group then counts up: Adam's bias
    correction would be that of too late a step.
    """

    def __init__(self, trainer: "SFTTrainer") -> None:
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        for kept in self.trainer.model_wrapped.optimizer.optimizer.state.values():
            kept["step"] = copy.deepcopy(kept["step"])


class StopEarly(EarlyStoppingCallback):  # type: ignore[misc]
    """Ends training when NLL(y|x, z) no longer falls; the evaluation of other held-out parts does not count."""

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **kwargs: Any) -> None:
        if BEST in metrics:
            super().on_evaluate(args, state, control, metrics, **kwargs)


class Samples(TrainerCallback):  # type: ignore[misc]
    """At each evaluation, lets the model write on a few held-out queries and logs how it ends."""

    def __init__(
        self,
        path: Path,
        prompts: Sequence[tuple[int, ...]],
        layout: Layout,
        config: SamplesConfig,
        trainer: "SFTTrainer",
    ) -> None:
        """`prompts`: token ids up to where the model begins to write. `path`: samples.jsonl, one row per sample."""
        self.path = path
        self.prompts = prompts
        self.layout = layout
        self.config = config
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Drop samples of steps that a resume will do again."""
        if is_main() and self.path.exists():
            write_jsonl(self.path, [row for row in self._rows() if row["step"] <= state.global_step])

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **kwargs: Any) -> None:
        if BEST not in metrics:
            return
        rows = [self._described(state.global_step, text, ended) for text, ended in self._write(args.seed)]
        if is_main():
            write_jsonl(self.path, [*self._rows(), *rows])
        self.trainer.log({f"eval_{name}": fmean(float(row[name]) for row in rows) for name in SAMPLED})

    def _rows(self) -> list[dict[str, Any]]:
        """What was written at earlier evaluations."""
        lines = self.path.read_text(encoding="utf-8").split("\n") if self.path.exists() else []
        return [json.loads(line) for line in lines if line]

    def _described(self, step: int, text: str, ended: bool) -> dict[str, Any]:
        reply = self.layout.parse(text)
        return {
            "step": step,
            "text": text,
            "well_formed": reply.well_formed and ended,
            "loop_rate": loops(text),
            "truncated": not ended,
        }

    def _write(self, seed: int) -> list[tuple[str, bool]]:
        """Every prompt's continuation and whether it came to its end; the processes share the prompts."""
        import torch
        from accelerate.utils import gather_object
        from trl.models.utils import unwrap_model_for_generation

        trainer = self.trainer
        accelerator = trainer.accelerator
        written = []
        again = trainer.args.gradient_checkpointing_kwargs  # trl turns checkpointing off and on again
        with (
            unwrap_model_for_generation(
                trainer.model_wrapped, accelerator, gradient_checkpointing_kwargs=again
            ) as model,
            torch.no_grad(),
        ):
            # every process generates equally often, since ZeRO-3 makes a forward a matter of all
            for n in range(0, len(self.prompts), accelerator.num_processes):
                index = n + accelerator.process_index
                drawn = seed_of(seed, "sample", index)
                text = self._one(model, self.prompts[min(index, len(self.prompts) - 1)], drawn)
                written += [text] if index < len(self.prompts) else []
        return list(gather_object(written))

    def _one(self, model: Any, prompt: tuple[int, ...], seed: int) -> tuple[str, bool]:
        """Drawn as the `hf` engine draws, so that evaluating the saved model shows the same kind of texts."""
        import torch

        ids = torch.tensor([prompt], device=model.device)
        tokenizer, config = cast(ChatTokenizer, self.layout.tokenizer), self.config
        stops = ends(tokenizer, model.generation_config)
        made = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=config.max_new_tokens,
            do_sample=False,
            logits_processor=[
                Sampler([seed], temperature=config.temperature, top_p=config.top_p, max_tokens=config.max_new_tokens)
            ],
            eos_token_id=stops,
            pad_token_id=tokenizer.end_of_turn,
            use_cache=True,
        )[0, len(prompt) :].tolist()
        end = next((n for n, token in enumerate(made) if token in stops), None)
        return tokenizer.decode(made[:end]), end is not None


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
    """What of one log entry is kept, under our names; empty where it is neither a step's nor an evaluation's."""
    training = {key: logs[key] for key in METRICS if key in logs} if "loss" in logs else {}
    held_out = {name: logs[key] for key, name in HELD_OUT.items() if key in logs}
    sampled = {name: logs[f"eval_{name}"] for name in SAMPLED if f"eval_{name}" in logs}
    return training | held_out | sampled
