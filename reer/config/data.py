"""Where a stage's examples come from, and how they are laid out as one text."""

from dataclasses import dataclass


@dataclass(kw_only=True)
class DataConfig:
    """Where a stage's examples come from."""

    path: str | None = "???"
    """Pairs to search (JSONL, JSON or Parquet); null: the 24 pairs shipped with the package."""
    limit: int | None = None
    """Use only the first so many rows; raising it extends a run."""
    trajectories: str = "???"
    """Trajectories to train on (JSONL or Parquet)."""
    variant: str = "final"
    """What of them is trained on: final (the thinking the search ended with), first (the one it began with), or
    answer_only (no thinking at all)."""


@dataclass(kw_only=True)
class LayoutConfig:
    """How query, thinking and answer become one text."""

    name: str = "think"
    """think: the layout of DeepWriting-20K; answer_tags: the answer inside <answer> tags."""
    instruction: str | None = None
    """A text around the query in the user's turn: null for the query alone, `default` for the text shipped here
    (reer/layout/instructions/LANGUAGE.md), or a path to a file of your own that shows {query}."""
    date: str | None = None
    """The day that chat templates are told which ask for it (YYYY-MM-DD); null: the day the experiment began."""
