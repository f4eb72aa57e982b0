"""What every stage has: a name, a folder, a seed, where metrics go, and how its examples are worked on."""

from dataclasses import dataclass, field


@dataclass(kw_only=True)
class TrackingConfig:
    """Where metrics go besides the run folder."""

    kind: str = "none"
    """none or wandb."""
    project: str = "reer"
    entity: str | None = None
    group: str | None = None
    """What runs are grouped by; null: the experiment's name."""
    mode: str | None = None
    """online, offline, or null: online where a key is found, else offline."""
    upload: list[str] = field(default_factory=lambda: ["results", "page"])
    """Which files go there too: results (summary.json or results.json), page (report.html), trajectories, model."""


@dataclass(kw_only=True)
class ExecutorConfig:
    """How examples are worked on; changes no result."""

    concurrency: int = 16
    """Examples in flight."""


@dataclass(kw_only=True)
class RunConfig:
    """What every stage has."""

    name: str = "default"
    """Names the experiment: its stages live in runs/NAME/."""
    stage: str = "???"
    run_dir: str = "???"
    """The stage's folder; the same command on the same folder resumes."""
    seed: int = 0
    dry_run: bool = False
    """Estimate the work and stop."""
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
