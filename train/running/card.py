"""The model card: what the model was trained on and how, for whoever finds the folder later. Knows no torch."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from reer.config import SftConfig
from reer.files.rows import files_of
from reer.layout import FRAMES
from reer.run.manifest import sha256, versions

from ..arguments.trainer import max_length
from ..examples.data import TrainingExample
from ..mixing.general import inputs_of
from ..mixing.rules import thinking_of

_CARD = """---
library_name: transformers
pipeline_tag: text-generation
base_model: {base}
tags: [reer, sft, reasoning, creative-writing]
---

# {name}

`{base}`{revision}, {purpose}

## Data

{examples} {what}, {tokens:,} tokens, {supervised_tokens:,} of them supervised: {parts} and end of turn.
{too_long} more were dropped as longer than {max_length:,} tokens; {quarantined} broken rows were set aside.
Lineage: `{trajectories}`, sha256 `{sha256}`{variant}.{general}{search}

Sources:
{sources}

Layout `{layout}`, after the model's own chat template over the user's turn: `{frame}` and the end-of-turn token.

## Training

{method}, {steps} optimiser steps of {rows_per_step} rows on {processes} process(es){sharding}, seed
{seed}, arithmetic in {dtype}.{best}

```json
{hyperparameters}
```

Loss (nats per supervised token): {loss[first]:.4f} at the first logged step, {loss[last]:.4f} at the last.
{held_out}
Software: {software}.

## Licence

The base model's licence applies, and that of the data: {licences}. Read both before you use or share this model.
"""


_COUNTS = ("examples", "tokens", "supervised_tokens", "quarantined", "steps", "rows_per_step", "processes")
_THINKS = """fine-tuned to think before it writes, on trajectories found by reverse-engineered reasoning
(arXiv 2509.06160). It opens its turn with a think block and then answers."""
_ANSWERS = """fine-tuned on answers alone, as the control of a model that thinks before it writes
(arXiv 2509.06160). It answers at once, without a think block."""
_VARIANTS = {
    "final": "",
    "first": ", with the first thinking of each search",
    "blind": ", with a thinking drawn from the query alone",
    "none": ", their answers alone, without thinking",
}


def model_card(config: SftConfig, summary: dict[str, Any], training: Sequence[TrainingExample], dtype: str) -> str:
    """Markdown with the front matter that model hubs read; `summary` is that of summary.json."""
    trajectories = Path(config.data.trajectories)
    merged = "merged into the weights" if config.peft.merge else "not merged: load it on top of the base model"
    adapter = f"{config.peft.method} `{json.dumps(config.peft.args)}`, {merged}"
    thinking = thinking_of(config.mix, config.data)
    frame, thinks = FRAMES[config.layout.name], thinking != "none"
    block = f"{frame.before_thinking}THINKING{frame.after_thinking}" if thinks else ""
    layout = f"{block}{frame.before_answer}ANSWER{frame.after_answer}"
    return _CARD.format(
        name=config.name,
        base=config.model.path,
        revision=f" at revision `{config.model.revision}`" if config.model.revision else "",
        purpose=_THINKS if thinks else _ANSWERS,
        parts="thinking, answer" if thinks else "answer",
        what="rows" if any(e.origin == "general" for e in training) else "trajectories",
        max_length=max_length(config),
        trajectories=trajectories.name,
        sha256=", ".join(sha256(path) for path in files_of(trajectories)),
        sources="\n".join(f"- {source}" for source in _named(e.source for e in training)),
        layout=config.layout.name,
        frame=layout.replace("\n", "\\n"),
        method="All weights" if config.peft.method is None else adapter,
        sharding=_sharding(config),
        best=f" The checkpoint of step {summary['best_step']} was the best." if summary["best_step"] else "",
        variant=_VARIANTS[thinking],
        general=_general(config, training),
        search=_search(trajectories.with_name("manifest.json")),
        seed=config.seed,
        dtype=dtype,
        hyperparameters=json.dumps(config.trainer.args, indent=2),
        software=", ".join(f"{package} {version}" for package, version in versions().items()),
        licences="; ".join(_named(e.licence for e in training)),
        loss=summary["loss"],
        held_out=_held_out(summary["held_out"]),
        too_long=summary["dropped"]["too_long"],
        **{key: summary[key] for key in _COUNTS},
    )


def _named(values: Iterable[str]) -> list[str]:
    """The different values, at most 50 of them."""
    found = sorted({value for value in values if value})
    return (found[:50] + ([f"and {len(found) - 50} more"] if len(found) > 50 else [])) or ["not stated in the data"]


def _sharding(config: SftConfig) -> str:
    stage = ((config.deepspeed.config or {}).get("zero_optimization") or {}).get("stage")
    return f" (DeepSpeed ZeRO-{stage})" if stage is not None else ""


def _general(config: SftConfig, training: Sequence[TrainingExample]) -> str:
    """How much general data is among the rows, and from where; nothing where there is none."""
    if not (rows := sum(example.origin == "general" for example in training)):
        return ""
    general = config.mix.general
    hashes = ", ".join(f"`{path.name}` (sha256 `{sha256(path)}`)" for path in inputs_of(general))
    where = hashes or (f"`{general.hub}`, revision `{general.revision}`" if general.hub else "the same file")
    return f"\n{rows} of the rows are general reasoning data, from {where}."


def _search(manifest: Path) -> str:
    """Who found the trajectories, from the manifest beside them; nothing where they came without one."""
    if not manifest.is_file():
        return ""
    facts = json.loads(manifest.read_text(encoding="utf-8"))
    models = ", ".join(f"{role} `{model.get('model')}`" for role, model in (facts.get("models") or {}).items())
    pairs = ", ".join(f"`{Path(row['path']).name}` (sha256 `{row['sha256']}`)" for row in facts.get("inputs") or [])
    return f"\nFound by reer-synthesize with {models}, in pairs from {pairs}, seed {facts.get('seed')}."


def _held_out(measured: dict[str, Any] | None) -> str:
    if measured is None:
        return "No trajectory was held out to measure on."
    means = f"{measured['nll_answer']:.4f} for the answer given the query"
    if (thinking := measured["nll_thinking"]) is not None:
        means += f" and the thinking, {thinking:.4f} for the thinking given the query"
    return f"On {measured['examples']} held-out trajectories (mean nats per token): {means}."
