"""What reer-collect reads: a source, what is asked about its texts, what is kept, and how that is divided."""

from dataclasses import dataclass, field

from reer.config.data import ColumnsConfig, LayoutConfig
from reer.config.engines import BackendConfig
from reer.config.run import ExecutorConfig, RunConfig
from reer.config.synthesize import EchoConfig, LeakConfig, SamplingConfig


@dataclass(kw_only=True)
class SourceConfig:
    """Where pairs come from."""

    kind: str = "files"
    """files (pairs), dataset (pairs of the Hugging Face hub), or texts (their passages get their queries here)."""
    path: str | None = None
    """A file, a folder or a pattern. files: null is the sample shipped with the package. dataset: a local copy of it;
    null fetches it. texts: .txt, .md, .epub, .html, .pdf."""
    limit: int | None = None
    """Use only the first so many pairs, or passages; raising it extends a run."""
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
    min_words: int = 150
    """texts: least words of a passage (Chinese: characters); a shorter section is set aside."""
    max_words: int = 900
    """texts: most words of a passage; a longer section is cut at scenes, stanzas or paragraphs, at worst between
    sentences."""


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
class AskConfig:
    """How the query of a passage is written backwards, and what it has to pass (source=texts, source=books)."""

    queries: int = 1
    """Wanted of each passage."""
    attempts: int = 3
    """Draws for each query wanted."""
    prompts: str = "standard"
    """standard, small (for small models), or a path to a folder of your own with query.md and fit.md."""
    sampling: SamplingConfig = field(default_factory=lambda: SamplingConfig(max_tokens=256))
    min_words: int = 6
    """Of a query; a shorter one asks nothing in particular."""
    leak: LeakConfig = field(default_factory=lambda: LeakConfig(longest_run=8, containment=0.25))
    """How much of the passage may stand in its query; containment: the share of the query's n-grams."""
    echo: EchoConfig = field(default_factory=EchoConfig)
    min_fit: int | None = 4
    """A second call says from 1 to 5 how well the passage answers the query; the least that is kept. null: no call."""
    likelihood: bool | None = None
    """Keep a query only if the scorer finds the passage likelier under it than under another passage's query. null:
    where the scorer runs in this process."""


@dataclass(kw_only=True)
class TagConfig:
    """Which of the 25 categories a row belongs to: 13 of the paper and 12 of ours (collect/tag/categories.py)."""

    by: str = "none"
    """none (rows keep the domain they bring), rules (the domain they bring, else key words), or generator (it is
    asked)."""


@dataclass(kw_only=True)
class SampleConfig:
    """What of the rows that passed is written, and how it is divided."""

    size: int | None = None
    """Rows in all; null: every row, or with a mixture as many as its scarcest category allows."""
    mixture: dict[str, float] = field(default_factory=dict)
    """Domain -> its share; empty: as they come. One of our own categories that it does not name counts as that of the
    paper's which it is a part of."""
    held_out: float = 0.02
    """Share of the source documents whose rows go to held_out.jsonl instead."""


@dataclass(kw_only=True)
class CollectConfig(RunConfig):
    """What reer-collect reads."""

    source: SourceConfig = field(default_factory=SourceConfig)
    quality: QualityConfig = field(default_factory=QualityConfig)
    decontaminate: DecontaminateConfig = field(default_factory=DecontaminateConfig)
    ask: AskConfig = field(default_factory=AskConfig)
    tag: TagConfig = field(default_factory=TagConfig)
    sample: SampleConfig = field(default_factory=SampleConfig)
    generator: BackendConfig = field(default_factory=BackendConfig)
    scorer: BackendConfig = field(default_factory=BackendConfig)
    layout: LayoutConfig = field(default_factory=LayoutConfig)
    executor: ExecutorConfig = field(default_factory=ExecutorConfig)
