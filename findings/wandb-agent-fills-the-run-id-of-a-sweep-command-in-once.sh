#!/usr/bin/env bash
# A W&B sweep whose command holds ${envvar:WANDB_RUN_ID} (for a folder of each run's own, say): the agent sets the
# variable after it has filled the command in, and fills in the list itself. So every run gets the text that the first
# one got: the variable's name, where nothing had set it. Runs wandb's own agent with `echo` as the program; no server.
# Exit code 1 when this changes. Way out: let the program read the variable (Hydra: ${oc.env:WANDB_RUN_ID}).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install -q --disable-pip-version-check wandb==0.31.0
env -u WANDB_RUN_ID env/bin/python - <<'PYTHON'
import os
import subprocess
import sys

import wandb
from wandb.wandb_agent import Agent

os.environ.update(WANDB_SWEEP_ID="s", WANDB_DIR=".", WANDB_SILENT="true")
agent = Agent(api=None, queue=None, sweep_id="s")
agent._sweep_command = ["/bin/sh", "-c", "echo $WANDB_RUN_ID ${envvar:WANDB_RUN_ID} >> said"]
for run_id in ("one", "two"):
    agent._command_run({"run_id": run_id, "program": "unused", "args": {"a": {"value": 1}}})
    agent._run_processes[run_id].wait()
said = open("said").read().split("\n")[:2]
print(f"wandb {wandb.__version__}: in the environment, and filled in: {said}")
sys.exit(said != ["one WANDB_RUN_ID", "two WANDB_RUN_ID"])
PYTHON
echo "finding holds: wandb 0.31.0 fills WANDB_RUN_ID into the command of a sweep once, for all its runs"
