"""What an evaluation read and made, for a tracker: the model, the prompts and the judges, to answers and verdicts."""

import json
from pathlib import Path

from reer.backend import describe, known_weights
from reer.config import BackendConfig, EvaluationConfig
from reer.run.tracking import Lineage
from reer.run.tracking.records import Item, engine_item, file_item, stage_lineage

from ..answering.engines import replaced
from .judge import judges_of


def lineage_of(config: EvaluationConfig, run_dir: Path) -> Lineage:
    """Verdicts come of the answers and of the judges' models; a step that was not taken made nothing."""
    judges = [_model(judge.backend) for judge in judges_of(config.judge).values()]
    under_test = [] if config.answers else [_model(replaced(config.evaluate))]
    given = [*stage_lineage(run_dir, (), models=under_test).inputs, *_prompts(run_dir)]
    outputs: dict[Item, list[Item]] = {}
    for name, before in (("answers.jsonl", given), ("verdicts.jsonl", [*given, *judges])):
        if (run_dir / name).stat().st_size:
            outputs[file_item(run_dir / name)] = [*before, *outputs]
    return Lineage(list(dict.fromkeys([*given, *judges])), outputs)


def _model(engine: BackendConfig) -> Item:
    return engine_item(describe(engine), known_weights(engine))


def _prompts(run_dir: Path) -> list[Item]:
    """The benchmark's files as the manifest has them."""
    files = json.loads((run_dir / "manifest.json").read_text(encoding="utf-8"))["data"]["files"]
    return [Item("data", name, hash_) for name, hash_ in files.items()]
