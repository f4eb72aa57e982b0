"""The benchmark `reasoning`: held-out queries, and five anchored dimensions of the final answer.

The judged text is the answer alone; thinking is stripped before.
"""

from pathlib import Path

from reer.config import BenchmarkConfig
from reer.pairs import Pairs, read_pairs

from ..rubric import REASONING

SAMPLE = "eval_pairs.jsonl"
RUBRIC = REASONING


def load(config: BenchmarkConfig) -> Pairs:
    """Queries with their reference answers.

    Raises:
        DataError: the file is missing or has no usable row.
    """
    return read_pairs(Path(config.path) if config.path else None, config.limit, default=SAMPLE)
