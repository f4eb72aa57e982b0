"""What reer-collect reads: a source, what is kept of it, and how that is divided."""

from dataclasses import dataclass, field

from reer.config.data import ColumnsConfig
from reer.config.run import RunConfig


@dataclass(kw_only=True)
class SourceConfig:
    """Where pairs come from."""

    kind: str = "files"
    """files, or dataset (of the Hugging Face hub)."""
    path: str | None = None
    """A file, a folder or a pattern. files: null is the sample shipped with the package. dataset: a local copy of it;
    null fetches it."""
    limit: int | None = None
    """Use only the first so many pairs; raising it extends a run."""
    hub: str | None = None
    """dataset: its id on the hub."""
    subset: str | None = None
    split: str = "train"
    revision: str | None = None
    """Commit of the dataset; null: the newest, which is recorded nowhere."""
    columns: ColumnsConfig = field(default_factory=ColumnsConfig)
    turns: str = "all"
    """Of conversations: all, or last (the last user turn alone)."""
    score: str | None = None
    """Column with votes or a rating, for quality.min_score."""
    source: str | None = None
    """What rows say of their origin that do not say it themselves; null: the file's name."""
    licence: str | None = None
    """The same of their licence; null: `unknown`."""
    language: str | None = None
    """The same of their language; null: found in the text."""


@dataclass(kw_only=True)
class QualityConfig:
    """Which rows are set aside, by name (collect/check/filters.py); null: the filter is off."""

    languages: list[str] = field(default_factory=list)
    """Two-letter codes that are kept; empty: all. The language is detected in the answer."""
    min_words: int | None = 50
    """Of the answer (Chinese: characters)."""
    max_words: int | None = 8000
    boilerplate: float | None = 0.2
    """Largest share of the answer's lines that are notices of copyright, cookies, subscriptions, navigation."""
    repetition: float | None = 0.3
    """Largest share of the answer's trigrams that stood before."""
    min_score: float | None = None
    """Least value of the column source.score."""
    mask: bool = False
    """Replace what looks like an e-mail address, a telephone number, an IP address or a card number by its kind.
    Patterns find no names and no postal addresses."""
    near_duplicates: float | None = 0.8
    """Jaccard similarity of shingles (5 words, or 5 Chinese characters) from which the later of two rows goes."""


@dataclass(kw_only=True)
class DecontaminateConfig:
    """Texts that may not be trained on, besides the held-out pairs shipped with the package. This filter cannot be
    switched off."""

    paths: list[str] = field(default_factory=list)
    """Files of your own evaluation prompts: pairs, or rows with `prompt` or `query`, in any form that data.path takes;
    a .txt counts one prompt a line."""


@dataclass(kw_only=True)
class SampleConfig:
    """How the rows that passed are divided."""

    held_out: float = 0.02
    """Share of the source documents whose rows go to held_out.jsonl instead."""


@dataclass(kw_only=True)
class CollectConfig(RunConfig):
    """What reer-collect reads."""

    source: SourceConfig = field(default_factory=SourceConfig)
    quality: QualityConfig = field(default_factory=QualityConfig)
    decontaminate: DecontaminateConfig = field(default_factory=DecontaminateConfig)
    sample: SampleConfig = field(default_factory=SampleConfig)
