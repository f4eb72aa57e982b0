"""What a training set is made of, what its rows may be used for, and the form in which it goes out."""

from dataclasses import dataclass, field

from reer.config.data import ColumnsConfig, DataConfig
from reer.config.run import RunConfig


@dataclass(kw_only=True)
class GeneralConfig:
    """Public reasoning data beside the trajectories; without a path or a hub id there is none."""

    path: str | None = None
    """A file, a folder or a pattern, in every form that data.path takes; wins over `hub`."""
    hub: str | None = None
    """Id of a dataset on the Hugging Face hub."""
    subset: str | None = None
    split: str = "train"
    revision: str | None = None
    """Commit of the dataset; null: the newest, which is recorded nowhere."""
    schema: str | None = None
    """openthoughts, s1k, limo or marco_o1; null: columns as in data.trajectories."""
    columns: ColumnsConfig = field(default_factory=ColumnsConfig)
    """Where no schema is named: which column holds what."""
    ratio: float | None = None
    """Rows per row of the trajectories that are taken; null: all there are."""
    source: str | None = None
    """What rows say of their origin that do not say it themselves; null: the hub's id or the file's name."""
    licence: str | None = None
    """The same of their licence; null: unknown."""


@dataclass(kw_only=True)
class MixConfig:
    """Which rows a model is trained on, and on which thinking. Nothing set: every trajectory, as it is."""

    thinking: str | None = None
    """final (the search ended with it), first (it began with it), blind (drawn from the query alone), none (the answer
    alone); null: as data.variant says."""
    languages: list[str] = field(default_factory=list)
    """Two-letter codes that are kept; empty: all."""
    domains: list[str] = field(default_factory=list)
    """Of the trajectories, those of these domains; empty: all."""
    without_domains: list[str] = field(default_factory=list)
    """Of the trajectories, none of these domains."""
    length: str | None = None
    """Of the trajectories, long or short: those with a thinking above, or below, the median of their language, as many
    of the one as there would be of the other; null: all."""
    min_words: int | None = None
    """Of the thinking (Chinese: characters); rows without thinking have none."""
    max_words: int | None = None
    rows: int | None = None
    """At most so many in all, the general ones among them; drawn by seed."""
    seed: int | None = None
    """null: that of the run."""
    use: str = "research"
    """research or commercial: rows whose licence forbids it are refused."""
    general: GeneralConfig = field(default_factory=GeneralConfig)


@dataclass(kw_only=True)
class LicenceConfig:
    """What happens to rows whose licence nobody knows."""

    unknown: str = "refuse"
    """refuse or allow."""


@dataclass(kw_only=True)
class MixingConfig(RunConfig):
    """What reer-mix reads; reer-sft mixes in the same way."""

    data: DataConfig = field(default_factory=DataConfig)
    mix: MixConfig = field(default_factory=MixConfig)
    licence: LicenceConfig = field(default_factory=LicenceConfig)


@dataclass(kw_only=True)
class ExportConfig:
    """In which form rows go out."""

    form: str = "dataset"
    """dataset (all columns), answers (without thinking), deepwriting (the columns of DeepWriting-20K) or verl."""
    title: str | None = None
    """Heading of the card; null: the run's name."""
    shard_rows: int = 10_000
    """Rows of a Parquet file at most."""
    held_out: float = 0.0
    """Share of the source documents whose rows go to the split `test` instead."""
    steps: bool = True
    """dataset: with every step of the search and its candidates, most of the bytes."""


@dataclass(kw_only=True)
class ExportingConfig(RunConfig):
    """What reer-export reads."""

    data: DataConfig = field(default_factory=DataConfig)
    export: ExportConfig = field(default_factory=ExportConfig)
