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
    upload: list[str] = field(default_factory=lambda: ["results", "page", "tables"])
    """Which files go there too: results (summary.json or results.json), page (report.html), tables (of up
    to 200 texts), trajectories, model."""


@dataclass(kw_only=True)
class ExecutorConfig:
    """Who works on examples; changes no result."""

    kind: str = "local"
    """local (this process) or ray (actors on a cluster, each with engines of its own: docs/cluster.md)."""
    concurrency: int = 16
    """Examples in flight; with ray, in each actor."""
    address: str | None = None
    """ray: null starts Ray on this machine for this run alone, auto takes the cluster that `ray start` made this
    machine a node of, HOST:PORT names the head of one."""
    actors: int = 1
    """ray: how many, each built with the engines of the stage; one that dies is replaced."""
    cpus_per_actor: float = 1.0
    """ray: as Ray counts them; an actor's torch has so many threads."""
    gpus_per_actor: float = 0.0
    """ray: an actor sees these alone."""
    resources: dict[str, float] = field(default_factory=dict)
    """ray: of the cluster's own names (`ray start --resources`), for each actor."""
    placement: str = "spread"
    """ray: spread (over the nodes) or pack (few of them)."""


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
