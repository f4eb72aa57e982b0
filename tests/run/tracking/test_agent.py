"""A sweep of W&B: the page's YAML, the command that W&B's agent makes of it, and the run that comes of that."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from offline_runs import runs

PAGE = Path(__file__).parents[3] / "docs" / "experiments.md"
BIN = Path(sys.executable).parent


def agent_command(sweep: dict[str, Any], chosen: dict[str, Any]) -> list[str]:
    """As `wandb agent` (0.31) makes it, with wandb's own functions."""
    from wandb.sdk.launch.sweeps import utils

    known = utils.create_sweep_command_args({"args": {key: {"value": value} for key, value in chosen.items()}})
    known |= {"env": ["/usr/bin/env"], "interpreter": ["python"], "program": [sweep["program"]]}
    words: list[str] = []
    for part in utils.create_sweep_command(sweep["command"]):
        words += known[part[2:-1]] if part.startswith("${") and part.endswith("}") else [part]
    return words


@pytest.mark.usefixtures("keyless")
def test_what_an_agent_runs_reaches_config_and_summary_under_the_agents_id(tmp_path: Path) -> None:
    [block] = re.findall(r"```yaml\n(program: .*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    sweep = yaml.safe_load(block)
    chosen = {"search.candidates": 3, "search.max_steps": 2, "search.order": "backward"}
    assert chosen.keys() == sweep["parameters"].keys()
    command = agent_command(sweep, chosen)
    assert {"search.candidates=3", "search.order=backward"} <= set(command)
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    for identity in ("one", "two"):
        agent = {"WANDB_RUN_ID": identity, "WANDB_SWEEP_ID": "s1", "WANDB_MODE": "offline", "PATH": path}
        words = [*command, "experiment=fake", "data.limit=2"]
        done = subprocess.run(words, cwd=tmp_path, env=os.environ | agent, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        [run] = runs(tmp_path / "runs" / "wandb-sweep" / identity / "synthesize")
        assert run.run.run_id == identity
        assert run.run.sweep_id == "s1"
        assert {key: run.config["search"][key.partition(".")[2]] for key in chosen} == chosen
        assert isinstance(run.summary[sweep["metric"]["name"]], float)
