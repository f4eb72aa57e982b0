"""What a card says of its rows, added up row by row: origin, lengths, gains; and what each earlier stage left out."""

import json
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from reer.files.columns import Parts
from reer.text import words

from .forms import base

LENGTHS = ("query", "thinking", "answer")
NLLS = ("none", "first", "final")
STAGES = 6
"""Most stages that a chain of manifests is followed through."""


@dataclass(slots=True)
class Facts:
    splits: Counter[str] = field(default_factory=Counter)
    by: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """Rows by licence, source, domain, language; an empty name where a row says none."""
    words: dict[str, "array[int]"] = field(default_factory=lambda: {name: array("l") for name in LENGTHS})
    """Words (Chinese: characters) of each text."""
    nll: dict[str, "array[float]"] = field(default_factory=lambda: {name: array("d") for name in NLLS})
    gains: dict[str, "array[float]"] = field(default_factory=lambda: defaultdict(lambda: array("d")))
    """NLL(y|x) - NLL(y|x, z) in nats per answer token, by source."""

    def add(self, parts: Parts, split: str) -> None:
        row = base(parts)
        self.splits[split] += 1
        for name in ("licence", "source", "domain", "language"):
            self.by[name][row[name]] += 1
        for name, text in (("query", parts.query), ("thinking", parts.thinking), ("answer", parts.answer)):
            if text is not None:
                self.words[name].append(len(words(text)))
        found = parts.row.get("nll")
        if isinstance(found, Mapping) and all(isinstance(found.get(name), float | int) for name in NLLS):
            for name in NLLS:
                self.nll[name].append(float(found[name]))
            self.gains[row["source"]].append(found["none"] - found["final"])

    def summary(self) -> dict[str, Any]:
        """For files."""
        return {
            "rows": dict(self.splits),
            **{name: dict(counts.most_common()) for name, counts in self.by.items()},
            "words": {name: spread(values) for name, values in self.words.items() if values},
            "nll": {name: fmean(values) for name, values in self.nll.items() if values},
            "gain": spread([gain for values in self.gains.values() for gain in values]),
        }


def spread(values: "Sequence[float] | array[int] | array[float]") -> dict[str, float] | None:
    """Mean, and the values below which a tenth, a half and nine tenths lie; None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    at = {f"p{share}": ordered[round(share / 100 * (len(ordered) - 1))] for share in (10, 50, 90)}
    return {"mean": fmean(ordered), **at}


def lineage(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Stage and summary of the run folder that rows lie in, and of those that its own inputs lie in; the latest first.

    Ends where a folder was not made by a stage, or what it was made of is gone.
    """
    for _ in range(STAGES):
        manifest, summary = _read(folder / "manifest.json"), _read(folder / "summary.json")
        if not manifest or "stage" not in manifest:
            return
        yield str(manifest["stage"]), summary | {"models": manifest.get("models", {})}
        inputs = manifest.get("inputs") or []
        if not inputs:
            return
        folder = Path(inputs[0]["path"]).parent


def yields(stage: str, summary: Mapping[str, Any]) -> list[tuple[str, int]]:
    """What a stage made of its rows: (step, rows), what was set aside as negative numbers."""
    if stage == "collect" and "pairs" in summary:
        pairs = summary["pairs"]
        gone = {"quarantined": pairs["quarantined"], **summary.get("rejected", {})}
        return [("read", pairs["read"]), *_less(gone), ("written", pairs["written"])]
    if stage == "synthesize" and "examples" in summary:
        found = summary["examples"]
        gone = {"quarantined": found["quarantined"], "failed": found["failed"], **found.get("dropped", {})}
        return [("read", found["input"]), *_less(gone), ("kept", found["done"])]
    if stage == "mix" and "left_out" in summary:
        gone = {f"{row['origin']}: {row['reason']}": row["rows"] for row in summary["left_out"]}
        kept = sum(summary["rows"].values())
        read = kept + sum(gone.values()) + summary["quarantined"]
        return [("read", read), *_less({"quarantined": summary["quarantined"], **gone}), ("kept", kept)]
    return []


def _less(gone: Mapping[str, int]) -> list[tuple[str, int]]:
    return [(name, -n) for name, n in gone.items() if n]


def _read(path: Path) -> dict[str, Any]:
    found: Any = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found if isinstance(found, dict) else {}
