import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from reer.config import DeepSpeedConfig, LaunchConfig, SftConfig
from reer.errors import ConfigError, DataError, UserError
from train.arguments import processes
from train.arguments.processes import check, first_failure, is_main, launched, needs_start
from train.examples.work import read

GATHER = {"stage": 3, "stage3_gather_16bit_weights_on_model_save": True}
ZERO3 = {"zero_optimization": GATHER}
OFFLOAD = {"zero_optimization": GATHER | {"offload_param": {"device": "cpu"}}}
LOST = {"zero_optimization": {"stage": 3}}


def config(count: int, deepspeed: dict | None = None, shared: int = 1) -> SftConfig:
    return SftConfig(
        stage="sft",
        run_dir="run",
        launch=LaunchConfig(processes=count),
        deepspeed=DeepSpeedConfig(config=deepspeed, sequence_parallel=shared),
    )


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (config(1, ZERO3), "launch.processes=1: set launch.processes to the number of GPUs"),
        (config(2, LOST), "stage3_gather_16bit_weights_on_model_save has to be true: the trained model could not be"),
        (config(3, ZERO3, 2), "deepspeed.sequence_parallel=2 does not divide launch.processes=3"),
    ],
)
def test_numbers_that_cannot_be_meant_are_refused(given: SftConfig, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        check(given)


@pytest.mark.parametrize("given", [config(1), config(2), config(2, ZERO3), config(1, OFFLOAD), config(4, ZERO3, 2)])
def test_others_are_not(given: SftConfig) -> None:
    check(given)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no process to a core")
def test_processes_share_the_cores_that_they_may_use_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {})
    bound = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(bound)})
    try:
        processes._set_environment(1, on_cpu=True)
    finally:
        os.sched_setaffinity(0, bound)
    assert os.environ["OMP_NUM_THREADS"] == "1"


def test_processes_are_started_where_they_are_needed_and_nobody_has(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [needs_start(config(*given)) for given in [(1,), (2,), (1, OFFLOAD)]] == [False, True, True]
    assert is_main()
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert not launched()
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert launched()
    assert not is_main()
    assert not needs_start(config(2))
    check(config(2))
    with pytest.raises(ConfigError, match="launch.processes=1, but 2 were started"):
        check(config(1))


@pytest.mark.parametrize(("count", "wanted"), [(1, "0"), (2, None)])
def test_gpus_are_hidden_from_one_process_and_left_to_several(
    make_config: Callable[..., SftConfig], monkeypatch: pytest.MonkeyPatch, count: int, wanted: str | None
) -> None:
    """Before anything is started: what stands in the environment is what the processes inherit."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    given = make_config()
    given.model.device = "auto"
    given.launch.processes = count
    read(given)
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == wanted


class Failed:
    """What torch's agent raises, with one failure."""

    def __init__(self, exitcode: int, message: object) -> None:
        self.failure = SimpleNamespace(exitcode=exitcode, message=message, signal_name=lambda: "SIGKILL")

    def get_first_failure(self) -> tuple[int, SimpleNamespace]:
        return 1, self.failure


def test_a_failure_is_told_in_the_words_of_the_process() -> None:
    own = first_failure(Failed(1, {"message": "DataError: rows.jsonl is empty: row 3"}), 2)  # type: ignore[arg-type]
    assert type(own) is DataError
    assert str(own) == "rows.jsonl is empty: row 3"


def test_a_failure_nobody_foresaw_is_told_as_such() -> None:
    other = first_failure(Failed(1, {"message": "RuntimeError: NCCL: unhandled"}), 2)  # type: ignore[arg-type]
    assert type(other) is UserError
    assert str(other) == "process 2 of 2 failed, its report stands above: RuntimeError: NCCL: unhandled"
    killed = first_failure(Failed(-9, "Signal 9 received"), 2)  # type: ignore[arg-type]
    assert (
        str(killed) == "process 2 of 2 was ended by SIGKILL (the host's memory ran out?); the same command continues"
    )


def test_a_process_ends_with_its_parent(tmp_path: Path) -> None:
    """A parent that starts a child and dies without a word; the child would sleep for an hour."""
    child = (
        "import os, time; from train.arguments import processes; processes.POLL = 0.05; processes.end_with_parent(); "
    )
    child += f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(3600)"
    parent = f"import os, pathlib, subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {child!r}])\n"
    parent += f"while not pathlib.Path({str(tmp_path / 'pid')!r}).exists(): time.sleep(0.01)\nos._exit(1)"
    environment = os.environ | {"PYTHONPATH": str(Path(processes.__file__).parents[2])}
    subprocess.run([sys.executable, "-c", parent], env=environment, check=False)
    pid = int((tmp_path / "pid").read_text() or 0)
    for _ in range(600):
        if not Path(f"/proc/{pid}").exists():
            return
        time.sleep(0.05)
    pytest.fail("the child lives on")
