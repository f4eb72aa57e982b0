"""Where the points of a sweep keep their files, so that later stages find them: runs/NAME/seed=1,.../STAGE.

A point is named by the keys that `-m` varies. A stage's folder is named by those of them that it reads or that a stage
before it reads: trajectories searched once serve a sweep over the trainer, and each point of a sweep over both is
trained on its own. The same words thus lead every stage to the same folders. Knows no stage but by these keys.
"""

import re
from collections.abc import Collection, Sequence
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from reer.config import flatten
from reer.run.overrides import key_of, parse
from reer.text import digest

TRAINER = ("trainer", "peft", "deepspeed", "launch", "plan")
"""Keys, groups whole, of the training itself."""
TRAINING = (*TRAINER, "mix", "licence", "export", "data.variant", "data.trajectories")
"""Those that no stage before the training reads."""
EVALUATION = ("benchmark", "evaluate", "answers")
"""The same of the evaluation."""
SEARCH = ("data", "search", "prompts", "filter")
"""Keys, groups whole, that no stage before the search reads."""
SHARED = ("name", "run_dir", "validate", "dry_run", "audit", "tracking", "steps", "judge")
"""Those that name no folder: they say it themselves, make no result, or (judge) add verdicts on the same answers."""
_BEHIND_NAME = re.compile(r"runs/\$\{name\}/(?=(\$\{stage\}|(?:collect|synthesize|sft|evaluate|plan|mix|export)\b))")
_LONGEST = 160
"""Bytes of a folder's name; a longer one is cut and ends with a hash of all of it. File systems take 255."""


def place(config: DictConfig, fixed: Collection[str]) -> str:
    """In a job of a sweep, lead every path that begins with runs/${name}/ to the point's folder behind the name.

    `fixed`: keys that the command line gives one value. Returns the point's name; without a sweep nothing changes and
    it is empty.
    """
    job = HydraConfig.get()
    if job.mode != RunMode.MULTIRUN:
        return ""
    swept = _swept(job.overrides.task, fixed, config)
    for key, value in list(flatten(OmegaConf.to_container(config, resolve=False))):
        if isinstance(value, str) and (found := _BEHIND_NAME.match(value)):
            stage = config.stage if found.group(1) == "${stage}" else found.group(1)
            if point := folder(swept, str(stage)):
                OmegaConf.update(config, key, _BEHIND_NAME.sub(f"runs/${{name}}/{_escaped(point)}/", value, count=1))
    return folder(swept, str(config.stage))


def folder(swept: Sequence[tuple[str, str]], stage: str) -> str:
    """The folder of a stage's point, by the keys that are swept and their values: `search.candidates=4,seed=1`."""
    later = {
        "collect": SEARCH + TRAINING + EVALUATION,
        "synthesize": TRAINING + EVALUATION,
        "mix": (*TRAINER, "export", *EVALUATION),
        "export": (*TRAINER, "mix", "licence", *EVALUATION),
        "sft": ("export", *EVALUATION),
        "plan": ("export", *EVALUATION),
    }.get(stage, ())
    name = ",".join(f"{_plain(key)}={_plain(value)}" for key, value in sorted(swept) if not _within(key, later))
    if len(name.encode()) <= _LONGEST:
        return name
    cut = name.encode()[: _LONGEST - 9].decode(errors="ignore")
    return f"{cut}~{digest(name)[:8]}"


def _swept(overrides: Sequence[str], fixed: Collection[str], config: DictConfig) -> list[tuple[str, str]]:
    """Keys and values of a job that other jobs may have otherwise and that its run folder does not tell already."""
    benchmark, label = config.benchmark.name, config.evaluate.label
    told = {"experiment": config.name, "benchmark": benchmark, "benchmark.name": benchmark}
    told |= {"evaluate": label, "evaluate.label": label}
    found = [(key_of(word), _value(word)) for word in overrides if key_of(word) not in fixed]
    return [(key, value) for key, value in found if not _within(key, SHARED) and told.get(key) != value]


def _value(override: str) -> str:
    value: Any = parse(override).value()
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _within(key: str, groups: Collection[str]) -> bool:
    return any(key == group or key.startswith(f"{group}.") for group in groups)


def _plain(text: str) -> str:
    """A text as part of a folder's name: what ends a folder, a part, or a line is written as in a URL."""
    return re.sub(r"[%/,\x00-\x1f\x7f]", lambda found: f"%{ord(found.group()):02X}", text)


def _escaped(text: str) -> str:
    """A text that is to stand in a config as it is."""
    return text.replace("${", "\\${")
