"""What a run folder says about where its results come from: versions, hardware, inputs, models, prompts, seed.

Also the small file habits every stage shares: atomic writes, JSON lines, content hashes.
Never records an environment variable, so no key can end up in it.
"""

import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from reer.types import FORMAT_VERSION

PACKAGES = ("reer", "torch", "transformers", "trl", "peft", "accelerate", "datasets", "hydra-core", "openai", "wandb")


def write_manifest(run_dir: Path, *, stage: str, seed: int, inputs: Iterable[Path], **parts: Any) -> None:
    """Write run_dir/manifest.json. `parts` are the stage's own facts (models, prompt hashes, layout)."""
    write_json(
        run_dir / "manifest.json",
        {
            "format_version": FORMAT_VERSION,
            "stage": stage,
            "seed": seed,
            "inputs": [{"path": str(path), "sha256": sha256(path)} for path in inputs],
            **parts,
            "versions": versions(),
            "git_commit": git_commit(),
            "hardware": hardware(),
        },
    )


def write_card(run_dir: Path, files: Mapping[str, str]) -> None:
    """Write run_dir/README.md, which tells `datasets.load_dataset(run_dir)` what to load: configuration -> file.

    Without it, it would take every file of the commonest kind for one table. With it, it would go on giving what it
    read there first: its cache is named by this text alone, so the hash of every file stands in it.
    """
    configs = "".join(
        f"- config_name: {name}\n  data_files: {file}\n{'' if n else '  default: true' + chr(10)}"
        for n, (name, file) in enumerate(files.items())
    )
    hashes = "".join(
        f"- config_name: {name}\n  description: sha256 {sha256(run_dir / file)}\n"
        for name, file in files.items()
        if (run_dir / file).is_file()
    )
    configs += f"dataset_info:\n{hashes}" if hashes else ""
    others = "".join(f'load_dataset("{run_dir.name}", "{name}")\n' for name in list(files)[1:])
    write_text(
        run_dir / "README.md",
        f"---\nconfigs:\n{configs}---\n```python\nfrom datasets import load_dataset\n\n"
        f'load_dataset("{run_dir.name}")\n{others}```\n',
    )


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def git_commit() -> str | None:
    """Commit of the checkout this code runs from, with `+changes` where the work tree differs; None from a wheel."""
    here = Path(__file__).parents[1]

    def git(*args: str) -> str:
        done = subprocess.run(["git", "-C", here, *args], capture_output=True, text=True, timeout=10, check=True)
        return done.stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def hardware() -> dict[str, Any]:
    """Machine type, CPU cores, and GPUs where torch has already been loaded and sees one."""
    facts: dict[str, Any] = {"machine": platform.machine(), "cpus": os.cpu_count()}
    if (torch := sys.modules.get("torch")) is not None:
        facts["gpus"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return facts


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def replacing(path: Path) -> Iterator[IO[str]]:
    """A text file that replaces another in one step: readers see the old or the new one, never half of it."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def write_text(path: Path, text: str) -> None:
    with replacing(path) as file:
        file.write(text)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    with replacing(path) as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
