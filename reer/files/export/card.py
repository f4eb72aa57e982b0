"""The card of a dataset: front matter that the Hub reads, and what somebody wants to know before using the rows.

Pure function of facts. Without the front matter `load_dataset` would guess from the names of the files.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from reer.run.manifest import versions

from .facts import Facts, spread, yields
from .licences import terms_of
from .shards import Shards

MOST = 50
"""Rows of a table; what is left is one row."""
_SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))
_USES = {
    "free": "any",
    "research": "research: nothing commercial, or no changed copies",
    "forbidden": "none",
    "unnamed": "its source names no licence",
    "unknown": "nobody knows the licence",
    "unread": "not read here: see its source",
}
_ABOUT = {
    "dataset": "Queries and known good answers, with the thinking that a search found for each answer",
    "answers": "Queries and known good answers, without the thinking that was searched for them",
    "deepwriting": "Queries, and answers with the thinking before them, in the columns of DeepWriting-20K",
    "verl": "Queries and known good answers in the columns that VeRL reads",
}


def card_of(
    form: str,
    title: str,
    facts: Facts,
    columns: Mapping[str, str],
    lineage: Sequence[tuple[str, Any]],
    shards: Mapping[str, Shards],
) -> str:
    """Markdown with front matter; `shards` are those of each split."""
    front = yaml.safe_dump(front_matter(title, facts, shards), sort_keys=False, allow_unicode=True)
    parts = [
        f"---\n{front}---\n\n# {title}\n",
        f"{_ABOUT[form]} (reverse-engineered reasoning, [arXiv 2509.06160](https://arxiv.org/abs/2509.06160)).\n",
        _table(("split", "rows"), [(split, f"{n:,}") for split, n in facts.splits.items()]),
        "```python\nfrom datasets import load_dataset\n\nload_dataset(FOLDER_OR_ID)\n```\n",
        "## Columns\n",
        _table(("column", "holds"), [(f"`{name}`", said) for name, said in columns.items()]),
        "## Licences\n",
        "The rows are under the licences of their sources. What a name allows is read off the name: look it up.\n",
        _licences(facts),
        "## Domains\n",
        "![Rows by domain](domains.png)\n",
        _counts("domain", facts),
        "## Sources\n",
        _sources(facts),
        "## Languages\n",
        _counts("language", facts),
        "## Lengths\n",
        "In words; a Chinese or Japanese character counts as one.\n",
        _spreads([(name, spread(values)) for name, values in facts.words.items()], "text", 0),
        *_gains(facts),
        *_yield(lineage),
        *_models(lineage),
    ]
    return "\n".join(parts)


def front_matter(title: str, facts: Facts, shards: Mapping[str, Shards]) -> dict[str, Any]:
    """What the Hub's search and viewer read.

    `load_dataset` names its cache of a local folder by this text alone, so what it says of the sizes is also what
    makes it read a folder anew that was written anew.
    """
    licences = sorted({hub for name in facts.by["licence"] for hub in terms_of(name).hub})
    count = facts.splits.total()
    return {
        "pretty_name": title,
        "license": licences[0] if len(licences) == 1 else licences,
        "language": sorted(facts.by["language"]),
        "size_categories": [next((size for most, size in _SIZES if count < most), "n>10M")],
        "task_categories": ["text-generation"],
        "tags": ["reasoning", "creative-writing", "reverse-engineered-reasoning"],
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": split, "path": f"data/{split}-*.parquet"} for split in facts.splits],
            }
        ],
        "dataset_info": {
            "config_name": "default",
            "splits": [
                {"name": split, "num_bytes": shards[split].arrow_bytes, "num_examples": rows}
                for split, rows in facts.splits.items()
            ],
            "download_size": sum(written.parquet_bytes for written in shards.values()),
            "dataset_size": sum(written.arrow_bytes for written in shards.values()),
        },
    }


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(map(_cell, row))} |" for row in rows]
    return "\n".join([f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *lines, ""])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _licences(facts: Facts) -> str:
    rows = [
        (name or "not named", f"{n:,}", ", ".join(terms_of(name).hub), _USES[terms_of(name).standing])
        for name, n in facts.by["licence"].most_common()
    ]
    return _table(("licence", "rows", "on the Hub", "use"), rows)


def _counts(name: str, facts: Facts) -> str:
    counts = facts.by[name]
    rows = [(key or "not named", f"{n:,}", f"{n / counts.total():.1%}") for key, n in counts.most_common(MOST)]
    return _table((name, "rows", "share"), rows + _rest(counts.most_common()[MOST:], 1))


def _sources(facts: Facts) -> str:
    rows = []
    for name, n in facts.by["source"].most_common(MOST):
        gains = spread(facts.gains.get(name, []))
        rows.append((name or "not named", f"{n:,}", f"{gains['mean']:.3f}" if gains else "not measured"))
    rest = _rest(facts.by["source"].most_common()[MOST:], 1)
    return _table(("source", "rows", "mean gain (nats per answer token)"), rows + rest)


def _rest(items: Sequence[tuple[str, int]], more: int) -> list[Any]:
    """What does not fit into a table, as one row of it."""
    return [(f"{len(items)} more", f"{sum(n for _, n in items):,}", *[""] * more)] if items else []


def _spreads(rows: Sequence[tuple[str, dict[str, float] | None]], head: str, digits: int) -> str:
    shown = [(name, *(f"{value:,.{digits}f}" for value in found.values())) for name, found in rows if found]
    return _table((head, "mean", "10 % below", "half below", "90 % below"), shown)


def _gains(facts: Facts) -> list[str]:
    if not facts.nll["none"]:
        return []
    gains = [gain for values in facts.gains.values() for gain in values]
    lower = sum(gain > 0 for gain in gains)
    return [
        "## What the thinking is worth\n",
        "Mean negative log-likelihood of the answer, in nats per answer token: without thinking, with the thinking "
        "the search began with, and with the one it ended with. The gain is the first less the last; it is above 0 in "
        f"{lower:,} of {len(gains):,} rows.\n",
        _spreads([(name, spread(values)) for name, values in facts.nll.items()] + [("gain", spread(gains))], "NLL", 3),
    ]


def _yield(lineage: Sequence[tuple[str, Any]]) -> list[str]:
    """What became of the rows before these, the earliest stage first."""
    rows = [
        (f"reer-{stage}", step, f"{n:,}") for stage, summary in reversed(lineage) for step, n in yields(stage, summary)
    ]
    return ["## How many rows each filter left\n", _table(("stage", "step", "rows"), rows)] if rows else []


def _model(model: Mapping[str, Any]) -> str:
    """Its id on the Hub, or the name of its folder: where that lies is nobody's business."""
    name = str(model.get("model"))
    return Path(name).name if name.startswith(("/", "~", ".")) else name


def _models(lineage: Sequence[tuple[str, Any]]) -> list[str]:
    """Who wrote and scored the thinking, and with what software this was made."""
    said = [
        f"- {role} of the search: `{_model(model)}`"
        + (f" at revision `{model['revision']}`" if model.get("revision") else "")
        for stage, summary in lineage
        if stage == "synthesize"
        for role, model in summary["models"].items()
    ]
    found = versions()
    software = ", ".join(f"{name} {found[name]}" for name in ("reer", "datasets", "transformers") if name in found)
    return ["## Made with\n", "\n".join([*said, f"- {software}"]), ""]
