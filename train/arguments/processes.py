"""Several processes that train as one: found in the environment of a launcher, or started here.

torchrun, accelerate and their kind say in RANK, LOCAL_RANK and WORLD_SIZE who is who; `start` runs the agent that
torchrun itself runs, with the frozen config, so Hydra composes once. Knows processes; knows nothing of training.
"""

import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from reer import errors
from reer.config import SftConfig
from reer.errors import ConfigError, ReerError, UserError
from reer.run.executor.processes import cores

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

POLL = 1.0
"""Seconds between two looks of a process at whether its parent still lives."""


def launched() -> bool:
    """Whether this process is one of those that a launcher has started."""
    return {"RANK", "LOCAL_RANK", "WORLD_SIZE"} <= os.environ.keys()


def is_main() -> bool:
    """Whether this process writes: the only one, or the first."""
    return not launched() or os.environ["RANK"] == "0"


def needs_start(config: SftConfig) -> bool:
    """Whether training takes processes that nobody has started yet. DeepSpeed takes a process group even for one."""
    return not launched() and (config.launch.processes > 1 or config.deepspeed.config is not None)


def check(config: SftConfig) -> None:
    """Refuse numbers of processes that cannot be meant.

    Raises:
        ConfigError: fewer or more processes than `launch.processes`, ZeRO-3 over one, or an uneven division.
    """
    processes, shared = config.launch.processes, config.deepspeed.sequence_parallel
    if launched() and int(os.environ["WORLD_SIZE"]) != processes:
        raise ConfigError(
            f"launch.processes={processes}, but {os.environ['WORLD_SIZE']} were started: make the two agree"
        )
    if processes % shared:
        raise ConfigError(
            f"deepspeed.sequence_parallel={shared} does not divide launch.processes={processes}: set "
            f"launch.processes={shared * max(1, round(processes / shared))}, or another deepspeed="
        )
    zero = (config.deepspeed.config or {}).get("zero_optimization", {})
    if zero.get("stage") == 3 and processes == 1 and not {"offload_param", "offload_optimizer"} & zero.keys():
        raise ConfigError(
            "ZeRO-3 divides the model over processes, and launch.processes=1: set launch.processes to the number of "
            "GPUs, or choose deepspeed=zero3_offload or deepspeed=none"
        )
    if zero.get("stage") == 3 and not zero.get("stage3_gather_16bit_weights_on_model_save"):
        raise ConfigError(
            "deepspeed.config.zero_optimization.stage3_gather_16bit_weights_on_model_save has to be true: the trained "
            "model could not be saved"
        )


def start(frozen: Path, processes: int, *, on_cpu: bool) -> None:
    """Run `python -m train.rank FROZEN` in so many processes on this machine, and wait for them.

    Raises:
        ConfigError: there are fewer GPUs than processes.
        UserError: the first failure of any of them, in its own words.
        KeyboardInterrupt: this process was told to stop; all of them are stopped.
    """
    import torch
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    if not on_cpu and torch.cuda.device_count() < processes:
        raise ConfigError(
            f"launch.processes={processes}, but torch sees {torch.cuda.device_count()} GPUs here: set it to that, or "
            f"start the command with torchrun on several machines"
        )
    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)  # failures are told below, in one sentence
    _set_environment(processes, on_cpu)
    agent = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=f"reer-{os.getpid()}",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,  # the same command continues from the last checkpoint
    )
    try:
        elastic_launch(agent, sys.executable)("-m", "train.rank", str(frozen))
    except ChildFailedError as failed:
        raise first_failure(failed, processes) from failed
    except SignalException as stopped:
        raise KeyboardInterrupt from stopped


def _set_environment(processes: int, on_cpu: bool) -> None:
    """What the processes inherit; what the user has set stays."""
    threads = max(1, cores() // processes) if on_cpu else 8
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if on_cpu:
        os.environ.setdefault("DS_ACCELERATOR", "cpu")


def first_failure(failed: "ChildFailedError", processes: int) -> ReerError:
    """The failure that came first, as an error of ours: the process's own sentence, or how it died."""
    rank, failure = failed.get_first_failure()
    who = f"process {rank + 1} of {processes}"
    if failure.exitcode < 0:
        hint = " (the host's memory ran out?)" if failure.exitcode == -signal.SIGKILL else ""
        return UserError(f"{who} was ended by {failure.signal_name()}{hint}; the same command continues")
    message = failure.message["message"] if isinstance(failure.message, dict) else failure.message
    kind, _, sentence = str(message).partition(": ")
    own = getattr(errors, kind, None)
    if isinstance(own, type) and issubclass(own, UserError):
        return own(sentence)
    return UserError(f"{who} failed, its report stands above: {message}")


def end_with_parent() -> None:
    """End this process when its parent dies: left alone it would train on, unseen, beside its successor."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(POLL)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
