"""Where a stage's examples come from, and how they are laid out as one text."""

from dataclasses import dataclass, field


@dataclass(kw_only=True)
class DataConfig:
    """Where a stage's examples come from."""

    path: str | None = "???"
    """Pairs to search: a file, a folder or a pattern (JSONL, JSON, CSV, TSV, Parquet, Arrow; also .gz and .zst); null:
    the 24 pairs shipped with the package."""
    columns: dict[str, str] = field(default_factory=dict)
    """Part of a row (query, answer, history, thinking, id, language, domain, source, licence) -> the column that
    holds it, where that has a name of its own."""
    turns: str = "all"
    """Of conversations: all (everything before the answer is the prompt) or last (the last user turn alone)."""
    limit: int | None = None
    """Use only the first so many rows; raising it extends a run."""
    trajectories: str = "???"
    """Trajectories to train on, or any rows that hold thinking (a think block before the answer, say)."""
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
