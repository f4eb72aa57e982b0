"""Where a stage's examples come from, and how they are laid out as one text."""

from dataclasses import dataclass, field


@dataclass(kw_only=True)
class ColumnsConfig:
    """Which column holds a part of a row, where it has a name that is in no table; null: by the tables."""

    query: str | None = None
    """What is asked: a text, or the turns of a chat that end with a user turn."""
    answer: str | None = None
    context: str | None = None
    """What the query is about: put behind it, with an empty line between."""
    messages: str | None = None
    """A whole chat, whose last turn is the answer."""
    history: str | None = None
    """The turns before the query."""
    system: str | None = None
    thinking: str | None = None
    id: str | None = None
    language: str | None = None
    domain: str | None = None
    source: str | None = None
    licence: str | None = None


@dataclass(kw_only=True)
class DataConfig:
    """Where a stage's examples come from."""

    path: str | None = "???"
    """Pairs to search: a file, a folder or a pattern (JSONL, JSON, CSV, TSV, Parquet, Arrow; also .gz and .zst); null:
    the 24 pairs shipped with the package."""
    columns: ColumnsConfig = field(default_factory=ColumnsConfig)
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
