"""Training itself, in this process or as one of several: from examples to saved weights.

Calls trl.SFTTrainer with rows whose ids and masks are final. Knows the run folder's checkpoints and training.json;
knows nothing of what comes before and after (`sft`).
"""

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from reer.config import SftConfig, one_line
from reer.errors import ConfigError, ModelError, RunDirError
from reer.run.space import room_on

from ..arguments.adapters import adapter_arguments
from ..arguments.processes import is_main, launched
from ..arguments.sharding import follow_attention
from ..arguments.trainer import max_length, on_cpu, rows_per_step, trainer_arguments
from ..examples.data import TrainingExample, refuse_unsupervised_end, to_rows
from ..examples.work import Work
from . import checkpoints
from .record import trained_folder, write_training

if TYPE_CHECKING:
    import datasets
    from trl import SFTConfig, SFTTrainer

    from reer.run.tracking import Tracker

    from .callbacks import Samples


def train(config: SftConfig, work: Work, opened: "Callable[[], Tracker]") -> None:
    """Train and save the weights; training.json marks the end of it.

    `opened` opens the tracker, once everything is built that may be refused.

    Raises:
        ConfigError: trl, peft or DeepSpeed refuses the settings, or packed examples see each other.
        RunDirError: the folder's checkpoint was made with another batch, or it cannot be written.
        DiskFullError: there is no room left for a checkpoint or the weights.
        ModelError: the memory does not suffice.
    """
    import torch
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    from ..model import save_trained
    from .callbacks import Complete, MetricsLog, NoMoreSteps, StepsApart

    started, run_dir = time.monotonic(), Path(config.run_dir)
    checkpoint = checkpoints.newest(run_dir / "checkpoints")
    left = checkpoints.facts(checkpoint) if checkpoint else {}
    universal = checkpoint is not None and checkpoints.other_processes(checkpoint, config)
    join_processes(config)
    args = trainer_arguments(config, work.dtype, work.amount, universal=universal, rows=left.get("rows_per_step"))
    facts = {"processes": config.launch.processes, "rows_per_step": rows_per_step(args, config)}
    if checkpoint is not None:
        checkpoints.refuse_other_batch(checkpoint, facts["rows_per_step"])
    if checkpoint is not None and universal:
        checkpoints.refuse_best(checkpoint, best=args.load_best_model_at_end)
        with args.main_process_first(local=False):
            checkpoints.convert(checkpoint)
    with runnable(config):
        trainer = build_trainer(config, work, args)
    trainer.add_callback(Complete(trainer, facts, left.get("tokens", 0)))
    if universal:
        trainer.add_callback(StepsApart(trainer))
    if left.get("last"):
        trainer.add_callback(NoMoreSteps(trainer))
    trainer.add_callback(MetricsLog(run_dir / "metrics.jsonl", opened()))
    with room_on(run_dir), runnable(config):
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    with room_on(run_dir):
        save_trained(trainer, run_dir / trained_folder(config), work.dtype)
    if is_main():
        write_training(run_dir, trainer, facts, time.monotonic() - started)
    trainer.accelerator.free_memory()
    trainer.accelerator.end_training()
    unset_hf_deepspeed_config()  # else ZeRO-3 would divide what is loaded next among processes that are gone
    del trainer
    gc.collect()  # its callbacks hold it: the saved model is measured in its place
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def join_processes(config: SftConfig) -> None:
    """Open DeepSpeed's process group before anything else asks for one: ZeRO-3 loads the model through it."""
    if config.deepspeed.config is None or not launched():
        return
    import deepspeed

    wait = timedelta(seconds=int(config.trainer.args.get("ddp_timeout", 1800)))
    deepspeed.init_distributed(dist_backend="gloo" if on_cpu(config) else "nccl", timeout=wait)


def build_trainer(config: SftConfig, work: Work, args: "SFTConfig") -> "SFTTrainer":
    """trl.SFTTrainer with the stage's callbacks.

    Raises:
        ConfigError: trl or peft refuses the settings, or the model has no such LoRA target.
        RunDirError: the run folder cannot be written.
    """
    import datasets
    from transformers import ProgressCallback
    from trl import SFTTrainer

    from ..model import keep_adapters_precise, load_for_training, weights_dtype
    from .callbacks import QuietProgress, StopEarly
    from .packing import PackingProbe, refuse_packing

    if args.activation_offloading and args.use_cpu:
        raise ConfigError("trainer.args.activation_offloading=true moves activations off a GPU, and there is none")
    end_of_turn = work.layout.tokenizer.end_of_turn
    rows = to_rows(work.training, end_of_turn)
    model = load_for_training(config, weights_dtype(config, work.dtype))
    refuse_packing(args, model.config._attn_implementation, config.deepspeed.sequence_parallel)
    follow_attention(args.parallelism_config, model.config._attn_implementation)
    if len(rows) < 1000:
        datasets.disable_progress_bars()  # over in a moment
    with explained(config):
        trainer = SFTTrainer(
            model=model,
            args=args,
            train_dataset=datasets.Dataset.from_list(rows),
            eval_dataset=held_out_parts(work.held_out, end_of_turn) if args.eval_strategy != "no" else None,
            processing_class=work.layout.tokenizer.hf,  # type: ignore[attr-defined]
            peft_config=adapter_arguments(config.peft),
        )
    keep_adapters_precise(trainer, config.peft)
    prepared = trainer.train_dataset
    refuse_unsupervised_end([prepared[n] for n in range(min(8, len(prepared)))], trainer.data_collator, end_of_turn)
    progress = trainer.pop_callback(ProgressCallback)
    trainer.add_callback(PackingProbe(trainer))  # a refusal stands on a line of its own: no bar has begun
    if progress:
        trainer.add_callback(QuietProgress)
    if config.trainer.patience:
        trainer.add_callback(StopEarly(config.trainer.patience))
    if config.trainer.samples.count and work.held_out:
        trainer.add_callback(_samples(config, work, trainer))
    return trainer


def held_out_parts(examples: Sequence[TrainingExample], end_of_turn: int) -> "dict[str, datasets.Dataset]":
    """The held-out examples twice, for NLL(y|x, z) and NLL(z|x): each time only that part's tokens count."""
    import datasets

    parts: dict[str, list[dict[str, list[int]]]] = {"answer": [], "thinking": []}
    for example in examples:
        encoded = example.encoded
        ids = list(encoded.ids)
        spans = {"thinking": (encoded.thinking, encoded.answer), "answer": (encoded.answer, encoded.end)}
        for name, (begin, end) in spans.items():
            if begin < end:
                mask = [int(begin <= n < end) for n in range(len(ids))]
                parts[name].append({"input_ids": ids, "completion_mask": mask})
    return {name: datasets.Dataset.from_list(rows) for name, rows in parts.items() if rows}


def _samples(config: SftConfig, work: Work, trainer: "SFTTrainer") -> "Samples":
    from .callbacks import Samples

    chosen = work.held_out[: config.trainer.samples.count]
    prompts = [example.encoded.ids[: example.encoded.thinking] for example in chosen]
    return Samples(Path(config.run_dir) / "samples.jsonl", prompts, work.layout, config.trainer.samples, trainer)


@contextmanager
def explained(config: SftConfig) -> Iterator[None]:
    """Refusals of trl and peft as one sentence that names the key."""
    try:
        yield
    except ValueError as error:
        where = "peft.args.target_modules" if "target modules" in str(error).lower() else "trainer.args or peft.args"
        raise ConfigError(f"{where}: {str(error).partition('. ')[0].rstrip('.')}") from error
    except OSError as error:
        raise RunDirError(f"run_dir={config.run_dir} cannot be written: {error.strerror or error}") from error


@contextmanager
def runnable(config: SftConfig) -> Iterator[None]:
    """Say what to change when the memory does not suffice or an optional package is not there.

    Raises:
        ModelError: the memory does not suffice, or flash attention is not there.
        ConfigError: a setting needs a package that is not installed.
    """
    import torch
    from transformers import __version__, utils

    try:
        yield
    except ModelError as error:
        if "FlashAttention" not in str(error) or utils.is_kernels_available():
            raise
        raise ModelError(
            f"{str(error).rstrip('.')}; the kernels package goes in its place, in a version that transformers "
            f"{__version__} takes: pip install 'reer[gpu]', or set "
            f"++trainer.args.model_init_kwargs.attn_implementation=sdpa"
        ) from error
    except ImportError as error:
        raise ConfigError(f"trainer.args: {one_line(error)}") from error
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not isinstance(error, torch.OutOfMemoryError | MemoryError) and "allocate memory" not in str(error):
            raise
        batch = config.trainer.args.get("per_device_train_batch_size", 8)
        off = "" if on_cpu(config) else "++trainer.args.activation_offloading=true, "
        raise ModelError(
            f"out of memory with {batch} x {max_length(config):,} tokens at once: reer-plan tells what fits; less is "
            f"taken with ++trainer.args.per_device_train_batch_size=1, ++trainer.args.gradient_checkpointing=true, "
            f"{off}a smaller ++trainer.args.max_length, peft=lora or deepspeed=zero3_offload"
        ) from error
