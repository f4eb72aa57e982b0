"""reer-evaluate as a user starts it, with the fake backend."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

Process = subprocess.CompletedProcess[str]
COMMAND = [sys.executable, "-m", "eval.run", "experiment=fake"]
FOLDER = Path("runs") / "fake" / "evaluate-fake" / "reasoning"


def evaluate(cwd: Path, *overrides: str) -> Process:
    return subprocess.run([*COMMAND, *overrides], cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


def rows(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
