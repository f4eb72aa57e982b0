"""How well a saved model predicts trajectories it never saw. Knows token ids and the scorer, nothing of training."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from reer.backend import build_scorer
from reer.config import HFBackendConfig, ModelConfig
from reer.types import ScoreRequest

from ..examples.data import TrainingExample


def measure(model: Path, held_out: Sequence[TrainingExample], max_length: int, device: str) -> dict[str, Any]:
    """Mean over held-out trajectories of NLL(answer | query, thinking) and NLL(think block | query), nats per token.

    Scored from the saved folder by the very scorer that the search uses.
    """
    saved = ModelConfig(path=str(model), dtype="auto", device=device, max_length=max_length)
    encoded = [example.encoded for example in held_out]
    thinking = [ScoreRequest(e.ids, e.thinking, e.answer) for e in encoded if e.thinking < e.answer]
    scorer = build_scorer(HFBackendConfig(model=saved))
    scored = asyncio.run(scorer.score([*(e.score_request() for e in encoded), *thinking]))
    nll = [result.score.nll for result in scored]
    half = len(encoded)
    return {
        "examples": half,
        "nll_answer": fmean(nll[:half]),
        "nll_thinking": fmean(nll[half:]) if thinking else None,  # trained on answers alone
    }
