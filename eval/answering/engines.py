"""The models of one evaluation, each built when it is first asked for, and whether answers are of these weights.

Knows backends by their configs; knows nothing of steps.
"""

import json
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from reer.backend import build_generator, build_scorer, describe
from reer.backend.models import fingerprint
from reer.config import (
    BackendConfig,
    EvaluateConfig,
    EvaluationConfig,
    FakeBackendConfig,
    HFBackendConfig,
    VLLMBackendConfig,
)
from reer.errors import ModelError, RunDirError
from reer.run.manifest import write_json
from reer.text import digest
from reer.types import Generator, Scorer

from .lift import LiftEngines


class Engines:
    """The model under test, and the base model that it is compared with."""

    def __init__(self, config: EvaluationConfig) -> None:
        """Raises: ModelError: the model under test is a local folder that does not exist."""
        self.config = config
        self.under_test = model_under_test(config)
        self.learned: dict[str, Any] = {}
        """What those who asked the model under test say of it for the manifest."""

    @property
    def can_score(self) -> bool:
        """Whether the model under test gives log-probabilities of a given text (a chat server does not)."""
        return isinstance(self.under_test, HFBackendConfig | FakeBackendConfig)

    @cached_property
    def generator(self) -> Generator:
        return build_generator(self.under_test)

    @cached_property
    def lift(self) -> LiftEngines:
        base: Scorer = build_scorer(self.config.scorer)
        same = describe(self.under_test) == describe(self.config.scorer)
        return LiftEngines(self.generator, base if same else build_scorer(self.under_test), base)


def model_under_test(config: EvaluationConfig) -> BackendConfig:
    """The backend of the model under test: `evaluate.model_path` takes the place of its model.

    Raises:
        ModelError: that path is a local folder which does not exist.
    """
    backend, path = replaced(config.evaluate), config.evaluate.model_path
    if path and isinstance(backend, HFBackendConfig) and path.count("/") > 1 and not Path(path).is_dir():
        raise ModelError(f"evaluate.model_path={path} does not exist: run reer-sft first, or choose evaluate=base")
    return backend


def replaced(config: EvaluateConfig) -> BackendConfig:
    """The backend with `model_path` in place of its model, where it loads one."""
    backend = config.backend
    if config.model_path is None or not isinstance(backend, HFBackendConfig):
        return backend
    return replace(backend, model=replace(backend.model, path=config.model_path, revision=None))


def weights_of(backend: BackendConfig) -> list[str]:
    """What tells a model in this process from another one of the same name; a server says itself what it serves."""
    if not isinstance(backend, HFBackendConfig | VLLMBackendConfig):
        return []
    model, folder = backend.model, Path(backend.model.path)
    found = [f"dtype={model.dtype}", f"revision={model.revision}"]
    if folder.is_dir():
        found.append(f"weights={fingerprint(folder)[:12]}")
    if isinstance(backend, VLLMBackendConfig) and backend.engine_args:
        found.append(f"engine_args={digest(backend.engine_args)[:12]}")
    return found


def refuse_other_weights(run_dir: Path, under_test: BackendConfig) -> None:
    """Note which weights the run folder's answers come from: a model trained anew has the same path.

    Raises:
        RunDirError: the folder holds answers of other weights.
    """
    if not isinstance(under_test, HFBackendConfig) or not (model := Path(under_test.model.path)).is_dir():
        return
    note, found = run_dir / "weights.json", {"path": str(model), "fingerprint": fingerprint(model)}
    if not note.exists():
        write_json(note, found)
    elif json.loads(note.read_text(encoding="utf-8")) != found:
        raise RunDirError(
            f"{run_dir} holds answers of another model that stood at {model}: delete it, or choose name="
        )
