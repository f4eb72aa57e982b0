"""Real processes on the CPU (gloo), a tiny model: what several of them train is what one trains."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
STEPS = 6
FIXED = {
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "DS_ACCELERATOR": "cpu",
    "PYTHONPATH": str(ROOT),
}
WORDS = "the old man went out on the water before it was light and nobody spoke of the night".split()  # noqa: SIM905
Command = Callable[..., list[str]]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight trajectories of different lengths."""
    path = tmp_path_factory.mktemp("data") / "trajectories.jsonl"
    draw = random.Random(0)
    made = [
        {
            "id": str(n),
            "query": f"Tell of the sea, number {n}.",
            "thinking": "I open with a picture.\n\n" + " ".join(draw.choices(WORDS, k=10 + 5 * n)) + ".",
            "answer": " ".join(draw.choices(WORDS, k=40 + 9 * n)) + ".",
        }
        for n in range(8)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in made))
    return path


@pytest.fixture(scope="module")
def command(rows: Path, tiny_model: Path) -> Command:
    """A reer-sft of six steps with two examples each, into a folder, with more overrides."""

    def make(run_dir: Path, *overrides: str) -> list[str]:
        fixed = [f"run_dir={run_dir}", f"model.path={tiny_model}", f"data.trajectories={rows}", "trainer=demo"]
        fixed += ["model.max_length=512", "model.device=cpu", "trainer.global_batch=2"]
        fixed += [f"+trainer.args.max_steps={STEPS}", "trainer.args.learning_rate=1e-3"]
        fixed += ["trainer.args.save_strategy=steps", "+trainer.args.save_steps=1"]
        return [sys.executable, "-m", "train.sft", *fixed, *overrides]

    return make


def call(command: list[str], **environment: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | FIXED | environment, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


def refused(command: list[str]) -> str:
    """What a command says that is not carried out."""
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | FIXED, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr


def losses(run_dir: Path) -> list[float]:
    rows = map(json.loads, (run_dir / "metrics.jsonl").read_text().splitlines())
    return [row["loss"] for row in rows if "loss" in row]


def saved(run_dir: Path) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = load_file(run_dir / "model" / "model.safetensors")
    return weights


@pytest.fixture(scope="module")
def alone(command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process trains."""
    run_dir = tmp_path_factory.mktemp("alone") / "run"
    call(command(run_dir))
    return run_dir


def assert_same_run(run_dir: Path, wanted: Path) -> None:
    assert losses(run_dir) == pytest.approx(losses(wanted), abs=1e-4)
    assert len(losses(run_dir)) == STEPS
    ours, theirs = saved(run_dir), saved(wanted)
    assert ours.keys() == theirs.keys()
    for name, weight in ours.items():
        torch.testing.assert_close(weight, theirs[name], atol=2e-4, rtol=0)


@pytest.mark.parametrize("sharding", ["none", "zero2", "zero3"])
def test_two_processes_train_what_one_trains(command: Command, alone: Path, tmp_path: Path, sharding: str) -> None:
    run_dir = tmp_path / "run"
    said = call(command(run_dir, f"deepspeed={sharding}", "launch.processes=2"))
    assert "2 processes" in said
    assert_same_run(run_dir, alone)
    facts = json.loads((run_dir / "training.json").read_text())
    assert (facts["steps"], facts["processes"], facts["rows_per_step"]) == (STEPS, 2, 2)
    for name in ("summary.json", "training.json"):  # as if killed while the model was saved
        (run_dir / name).unlink()
    shutil.rmtree(run_dir / "model")
    call(command(run_dir, f"deepspeed={sharding}", "launch.processes=2"))
    assert_same_run(run_dir, alone)


@pytest.mark.parametrize("sharding", ["zero2", "zero3"])
def test_killed_at_a_random_step_and_resumed_it_is_the_same_run(
    command: Command, alone: Path, tmp_path: Path, sharding: str
) -> None:
    """SIGKILL of the process that started the others; they end by themselves."""
    run_dir = tmp_path / "run"
    wanted = command(run_dir, f"deepspeed={sharding}", "launch.processes=2")
    at = random.Random(sharding).randint(1, STEPS // 3)
    process = subprocess.Popen(
        wanted, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | FIXED, cwd=tmp_path
    )
    while process.poll() is None and not (run_dir / "checkpoints" / f"checkpoint-{at}").exists():
        time.sleep(0.01)
    ranks = children(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(ranks) == 2
    assert not (run_dir / "training.json").exists()
    while any(Path(f"/proc/{rank}").exists() and not is_zombie(rank) for rank in ranks):
        time.sleep(0.05)
    call(wanted)
    assert_same_run(run_dir, alone)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.mark.parametrize(("sharding", "before", "after", "batch"), [("zero2", 2, 1, 2), ("zero3", 2, 4, 4)])
def test_a_run_continues_with_another_number_of_processes(
    command: Command, tmp_path: Path, sharding: str, before: int, after: int, batch: int
) -> None:
    """As if it had been killed after step 3: from there, the other number of processes trains the same."""
    whole, run_dir = tmp_path / "whole", tmp_path / "run"
    settings = (f"deepspeed={sharding}", f"trainer.global_batch={batch}")
    call(command(whole, *settings, f"launch.processes={before}"))
    shutil.copytree(whole, run_dir)
    for name in (
        "model",
        "training.json",
        "summary.json",
        *(f"checkpoints/checkpoint-{n}" for n in range(4, STEPS + 1)),
    ):
        path = run_dir / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    said = call(command(run_dir, *settings, f"launch.processes={after}"))
    assert f"{STEPS} steps" in said
    assert_same_run(run_dir, whole)


RANK_SCRIPT = """
import sys
from pathlib import Path
import torch
from reer.config import SftConfig, load_frozen
from train.arguments.trainer import trainer_arguments
from train.model import save_trained
from train.running.training import build_trainer, join_processes
from train.examples.work import read

config = load_frozen(Path(sys.argv[1]), SftConfig)
work = read(config)
join_processes(config)
trainer = build_trainer(config, work, trainer_arguments(config, work.dtype, work.amount))
trainer.train()
ids = torch.tensor([work.training[0].encoded.ids])
with torch.no_grad():
    model = trainer.model_wrapped
    model.eval()
    logits = model(input_ids=ids).logits
if trainer.accelerator.is_main_process:
    torch.save(logits, Path(sys.argv[2]) / "logits.pt")
    torch.save(ids, Path(sys.argv[2]) / "ids.pt")
save_trained(trainer, Path(sys.argv[2]) / "model", work.dtype)
"""


@pytest.mark.parametrize("sharding", ["zero2", "zero3"])
def test_the_consolidated_model_is_the_model_in_memory(command: Command, tmp_path: Path, sharding: str) -> None:
    """Logits before saving, under torchrun, and of the saved folder in plain transformers."""
    from transformers import AutoModelForCausalLM

    run_dir, script = tmp_path / "run", tmp_path / "script.py"
    script.write_text(RANK_SCRIPT)
    config = frozen(tmp_path, command(run_dir, f"deepspeed={sharding}", "launch.processes=2")[3:])
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    call([*torchrun, str(script), str(config), str(tmp_path)])
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    logits = torch.load(tmp_path / "logits.pt", weights_only=True)
    ids = torch.load(tmp_path / "ids.pt", weights_only=True)
    torch.testing.assert_close(model(ids).logits, logits, atol=1e-5, rtol=0)


def frozen(folder: Path, overrides: list[str]) -> Path:
    """The config of an sft command, as the stage freezes it."""
    from dataclasses import asdict

    from hydra import compose, initialize_config_module
    from omegaconf import OmegaConf

    from reer.config import SftConfig, load, register

    register()
    with initialize_config_module("reer.conf", version_base="1.3"):
        config: Any = load(compose("sft", overrides=overrides), SftConfig)
    path = folder / "config.yaml"
    OmegaConf.save(OmegaConf.create(asdict(config)), path)
    return path


def test_under_torchrun_the_same_command_is_one_of_several(command: Command, alone: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    python, _, module, *overrides = command(run_dir, "launch.processes=2")
    call([python, *torchrun, "-m", module, *overrides])
    assert_same_run(run_dir, alone)
    (run_dir / "summary.json").unlink()  # as if interrupted after training
    call([python, *torchrun, "-m", module, *overrides])
    assert_same_run(run_dir, alone)
    for name in ("summary.json", "training.json"):
        (run_dir / name).unlink()
    for name in ("model", f"checkpoints/checkpoint-{STEPS}"):  # and before its last step was saved
        shutil.rmtree(run_dir / name)
    call([python, *torchrun, "-m", module, *overrides])
    assert_same_run(run_dir, alone)
    assert (run_dir / "summary.json").exists()


@pytest.mark.parametrize("method", [(), ("peft=lora", "peft.args.r=4")])
def test_under_torchrun_the_first_process_finishes_what_zero3_trained(
    command: Command, tmp_path: Path, method: tuple[str, ...]
) -> None:
    """Merging and measuring load a whole model, in the process in which it was divided before."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    options = ("launch.processes=2", "deepspeed=zero3", "trainer.held_out=2", *method)
    python, _, module, *overrides = command(tmp_path / "run", *options)
    call([python, *torchrun, "-m", module, *overrides])
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["held_out"]["nll_answer"] > 0


def test_a_wrong_number_of_processes_is_one_sentence(command: Command, tmp_path: Path) -> None:
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    python, _, module, *overrides = command(tmp_path / "run", "launch.processes=3")
    done = subprocess.run(
        [python, *torchrun, "-m", module, *overrides],
        capture_output=True,
        text=True,
        env=os.environ | FIXED,
        check=False,
    )
    assert "reer-sft: launch.processes=3, but 2 were started: make the two agree" in done.stderr


def test_a_mistake_that_only_the_processes_find_is_one_sentence(command: Command, tmp_path: Path) -> None:
    overrides = ("peft=lora", "peft.args.target_modules=[q_prj]", "deepspeed=zero3", "launch.processes=2")
    said = refused(command(tmp_path / "run", *overrides))
    assert said.count("peft.args.target_modules: Target modules {'q_prj'} not found") == 1


def test_lora_under_zero3_is_merged_into_a_plain_model(command: Command, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    run_dir = tmp_path / "run"
    call(command(run_dir, "peft=lora", "peft.args.r=4", "deepspeed=zero3", "launch.processes=2"))
    config = json.loads((run_dir / "adapter" / "adapter_config.json").read_text())
    base = AutoModelForCausalLM.from_pretrained(config["base_model_name_or_path"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft uses a name that transformers has renamed
        beside = PeftModel.from_pretrained(base, run_dir / "adapter").eval()
    merged = AutoModelForCausalLM.from_pretrained(run_dir / "model").eval()
    ids = AutoTokenizer.from_pretrained(run_dir / "model")("Tell of the sea.", return_tensors="pt").input_ids
    assert any(weight.abs().max() > 0 for name, weight in beside.named_parameters() if "lora_B" in name)
    with torch.no_grad():
        torch.testing.assert_close(merged(ids).logits, beside(ids).logits, atol=1e-4, rtol=0)
