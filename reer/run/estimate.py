"""What a run will cost (`dry_run=true`): nothing is loaded, nothing is written.

Without more knowledge it is the arithmetic of `cost.py`. Where the run folder holds examples searched with the same
settings (a pilot: `data.limit=8` first), their sizes replace the assumed ones, and each count is scaled by what they
used over what the arithmetic says of them.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from omegaconf import OmegaConf

from reer.config import SynthesizeConfig
from reer.method.cost import Sizes, cost, tokens
from reer.types import Example, Usage

DECIDE = ("seed", "generator", "scorer", "draft", "layout", "prompts", "search")
"""Parts of the config that a pilot must share with the run, besides the pairs."""


@dataclass(frozen=True, slots=True)
class Pilot:
    """The examples of a run that are done: their ids, what they used in all, their sizes."""

    ids: frozenset[str]
    used: Usage
    sizes: Sizes


def estimate(examples: Sequence[Example], config: SynthesizeConfig) -> str:
    """A short text for the terminal."""
    pilot, source = find_pilot(examples, config)
    done, ahead = asdict(pilot.used if pilot else Usage()), asdict(predict(examples, config, pilot))
    lines = [
        f"{len(examples)} examples, up to {config.search.max_steps} steps of {config.search.candidates} rewrites",
        f"{'':<16} {'in all':>15} {'still to do':>15}",
        *(
            f"{key.replace('_', ' '):<16} {round(done[key] + n):>15,} {round(n):>15,}"
            for key, n in ahead.items()
            if config.draft or not key.startswith("draft")
        ),
        f"(dry run: an estimate from {source}; nothing was run or written)",
    ]
    return "\n".join(line for line in lines if pilot or not line.startswith("seconds"))


def predict(examples: Sequence[Example], config: SynthesizeConfig, pilot: Pilot | None = None) -> Usage:
    """What the examples that are still to be searched will use; seconds only with a pilot."""
    if pilot is None:
        return sum((cost(example, config) for example in examples), Usage())
    expected = ahead = Usage()
    for example in examples:
        if example.id in pilot.ids:
            expected += cost(example, config, pilot.sizes)
        else:
            ahead += cost(example, config, pilot.sizes)
    said, used = asdict(expected), asdict(pilot.used)
    predicted = Usage(
        **{key: round(n * used[key] / said[key]) if said[key] else 0 for key, n in asdict(ahead).items()}
    )
    return replace(predicted, seconds=predicted.forward_tokens * pilot.sizes.seconds)


def measured(rows: Sequence[dict[str, Any]], used: Usage) -> Sizes:
    """Sizes of the trajectories of a pilot."""
    scale = fmean(row["answer_tokens"] for row in rows) / max(1, fmean(tokens(row["answer"]) for row in rows))
    return Sizes(
        thinking=scale * fmean(tokens(row["first"]["thinking"]) for row in rows),
        segments=round(fmean(len(row["first"]["segments"]) for row in rows)),
        scale=scale,
        seconds=used.seconds / max(1, used.forward_tokens),
    )


def find_pilot(examples: Sequence[Example], config: SynthesizeConfig) -> tuple[Pilot | None, str]:
    """What the run folder holds of this run, and what the estimate rests on, in words."""
    folder = Path(config.run_dir)
    if not (rows := _read(folder / "trajectories.jsonl")):
        return None, "word counts"
    before, now = OmegaConf.to_object(OmegaConf.load(folder / "config.yaml")), asdict(config)
    assert isinstance(before, dict)
    changed = [key for key in DECIDE if _undated(before.get(key)) != _undated(now[key])]
    left_out = [row for row in _read(folder / "quarantine.jsonl") if row["status"] in ("dropped", "quarantined")]
    ids = frozenset(row["id"] for row in [*rows, *left_out] if "id" in row)  # a row that is no pair has none
    if changed or not ids <= {example.id for example in examples}:
        return None, f"word counts: {folder} was made with other {' and '.join(changed) or 'pairs'}"
    used = Usage(**json.loads((folder / "summary.json").read_text(encoding="utf-8"))["usage"])
    return Pilot(ids, used, measured(rows, used)), f"the {len(ids)} examples searched in {folder}"


def _undated(part: Any) -> Any:
    """A part of the config without the date that templates are told, which changes no size, and without keys that are
    off: an older folder does not have them all."""
    if not isinstance(part, dict):
        return part
    return {key: value for key, value in part.items() if key != "date" and value is not None}


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
