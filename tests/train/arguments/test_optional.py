"""What needs torchao or bitsandbytes, in processes of their own: scripts/setup --slow keeps them apart."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file

from reer.config import PeftConfig, SftConfig

ROOT = Path(__file__).parents[3]
OPTIONAL = ROOT / ".venv" / "optional"
Make = Callable[..., SftConfig]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not OPTIONAL.is_dir(), reason="scripts/setup --slow installs torchao and bitsandbytes"),
]

ROUNDING = """
import json, sys
from pathlib import Path
import torch
from reer.config import SftConfig, load_frozen
from train.arguments.trainer import trainer_arguments
from train.running.training import build_trainer
from train.examples.work import read

def moved(rounding):
    config = load_frozen(Path(sys.argv[1]), SftConfig)
    if rounding is not None:
        config.trainer.args |= {"optim": "adamw_torch_8bit", "optim_args": "bf16_stochastic_round=True"}
    work = read(config)
    trainer = build_trainer(config, work, trainer_arguments(config, work.dtype, work.amount))
    if rounding is False:
        trainer.args.optim_args = "bf16_stochastic_round=False"
    before = [weight.detach().double().clone() for weight in trainer.model.parameters()]
    trainer.train()
    after = list(trainer.model.parameters())
    assert {weight.dtype for weight in after} == {torch.float32 if rounding is None else torch.bfloat16}
    return torch.cat([(new.detach() - old).flatten() for new, old in zip(after, before, strict=True)])

wanted = moved(None)
print(json.dumps([float(moved(rounding) @ wanted / (wanted @ wanted)) for rounding in (True, False)]))
"""


STAGE = """
import sys
from pathlib import Path
from reer.config import SftConfig, load_frozen
from train.sft import run

sys.exit(run(load_frozen(Path(sys.argv[1]), SftConfig)))
"""


def frozen(config: SftConfig, folder: Path) -> str:
    config.data.path = None
    OmegaConf.save(OmegaConf.create(asdict(config)), folder / "config.yaml")
    return str(folder / "config.yaml")


def call(*command: str) -> str:
    path = os.pathsep.join([str(ROOT), str(OPTIONAL)])
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


def test_stochastic_rounding_loses_no_small_update(make_config: Make, tmp_path: Path) -> None:
    """Against the same training with float32 weights: how far along its way the bfloat16 weights have come."""
    config = make_config({"learning_rate": 1e-6, "max_steps": 4})
    config.model.dtype = "bfloat16"
    rounded, plain = json.loads(call("-c", ROUNDING, frozen(config, tmp_path)).splitlines()[-1])
    assert rounded == pytest.approx(1.0, abs=0.15)
    assert plain < 0.2


def test_qlora_trains_on_four_bits_and_is_merged_into_full_precision(make_config: Make, tmp_path: Path) -> None:
    quantization = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
    peft = PeftConfig(method="qlora", args={"r": 4, "target_modules": "all-linear"}, quantization=quantization)
    assert "2 steps" in call("-c", STAGE, frozen(make_config(peft=peft), tmp_path))
    adapter = load_file(tmp_path / "run" / "adapter" / "adapter_model.safetensors")
    assert {weight.dtype for weight in adapter.values()} == {torch.float32}
    saved = json.loads((tmp_path / "run" / "model" / "config.json").read_text())
    assert "quantization_config" not in saved
    assert saved["dtype"] == "float32"
