"""What reer-evaluate reads: the model under test, the benchmark, the judges, and a validation of these."""

from dataclasses import dataclass, field

from reer.config.data import ColumnsConfig, LayoutConfig
from reer.config.engines import BackendConfig
from reer.config.run import ExecutorConfig, RunConfig

STEPS = ("respond", "judge", "summarise")
"""Of reer-evaluate."""


@dataclass(kw_only=True)
class PriceConfig:
    """What a judge's provider charges, in dollars per million tokens; none is shipped, since they change."""

    input: float | None = None
    output: float | None = None
    cached_input: float | None = None
    """Of input that the provider had in its own cache; null: as `input`."""
    as_of: str | None = None
    """The day on which these prices were read, shown with every cost."""


@dataclass(kw_only=True)
class JudgeConfig:
    """Base of the judges."""

    kind: str = "???"


@dataclass(kw_only=True)
class ModelJudgeConfig(JudgeConfig):
    """What every judge that is one model has."""

    backend: BackendConfig = field(default_factory=BackendConfig)
    repeats: int = 1
    """Verdicts per answer."""
    attempts: int = 1
    """Calls for one verdict, until one is usable. Calls that met an error are not counted, but repeated by the next
    run of the same command."""
    max_calls: int | None = None
    """Stop once this run folder holds so many calls; the same command with a higher number goes on."""
    price: PriceConfig = field(default_factory=PriceConfig)
    max_cost: float | None = None
    """The same in dollars; needs `price`. A call that might pass it is not made; docs/evaluation.md says what it does
    not see."""
    cache: bool = True
    """Remember replies across runs, by content hash (in ~/.cache/reer/cache.db)."""
    anchors: bool = False
    """Judge the frozen anchor answers too, to see a judge drift."""
    baseline: str | None = None
    """anchors.jsonl of an earlier run, which the shift is measured from."""


@dataclass(kw_only=True)
class LikelihoodJudgeConfig(ModelJudgeConfig):
    """Any local model: the expected score over the tokens of the levels. One repeat says all there is."""

    kind: str = "likelihood"


@dataclass(kw_only=True)
class OpenAIJudgeConfig(ModelJudgeConfig):
    """A chat model that writes reasons and scores as strict JSON."""

    kind: str = "openai"
    max_tokens: int = 2048
    temperature: float = 0.5


@dataclass(kw_only=True)
class PanelConfig(JudgeConfig):
    """Several judges, each by a name of its own; scores are the mean of theirs."""

    kind: str = "panel"
    judges: dict[str, JudgeConfig] = field(default_factory=dict)


@dataclass(kw_only=True)
class BenchmarkConfig:
    """What the model under test is asked, and how it answers."""

    name: str = "reasoning"
    path: str | None = None
    """File or folder with the benchmark's data; `sample`: the few rows shipped with the package; null: the published
    files, fetched once and checked (reasoning: the 8 held-out pairs shipped with the package)."""
    columns: ColumnsConfig = field(default_factory=ColumnsConfig)
    """Which column of your pairs holds a part, where it has a name that is in no table (reasoning alone)."""
    limit: int | None = None
    """Ask only so many prompts, spread evenly over tasks or domains; raising it extends a run."""
    rubric: str | None = None
    """YAML file with criteria of your own (reasoning alone)."""
    max_tokens: int = 4096
    """For thinking and answer together."""
    thinking_tokens: int = 2048
    """For each thinking sampled to measure reference lift."""
    thoughts: int = 1
    """How many of them for each prompt. One overstates the NLL of a model that thinks; several come nearer to it by
    their mean probability (log-mean-exp). 0: the model answers without thinking, which is exact and scored once."""
    temperature: float = 0.7
    top_p: float = 0.95


@dataclass(kw_only=True)
class ValidateConfig:
    """Human ratings that the judge is measured against, instead of an evaluation."""

    data: str | None = None
    """Folder of TTCW, or JSONL of ratings (id, text, rater, criterion, score); null: evaluate."""
    rubric: str | None = None
    """YAML file with the questions and anchors behind a JSONL of ratings."""
    limit: int | None = None
    """Only so many texts."""
    run_dir: str = "runs/${name}/validate"
    """Where verdicts and validation.json go; evaluations of the experiment find it there."""


@dataclass(kw_only=True)
class EvaluateConfig:
    """Which model is under test."""

    label: str = "tuned"
    """Its name in results and pages."""
    model_path: str | None = None
    """Replaces backend.model.path; null: the model as it was before training."""
    training_data: str | None = None
    """Trajectories that it was trained on; answers are searched for verbatim overlap with their answers."""
    backend: BackendConfig = field(default_factory=BackendConfig)


@dataclass(kw_only=True)
class EvaluationConfig(RunConfig):
    """What reer-evaluate reads."""

    scorer: BackendConfig = field(default_factory=BackendConfig)
    layout: LayoutConfig = field(default_factory=LayoutConfig)
    benchmark: BenchmarkConfig = field(default_factory=BenchmarkConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    judge: JudgeConfig = field(default_factory=JudgeConfig)
    executor: ExecutorConfig = field(default_factory=ExecutorConfig)
    steps: list[str] = field(default_factory=lambda: list(STEPS))
    """Which of respond, judge and summarise to take."""
    answers: str | None = None
    """JSONL of answers to judge, from whatever model; null: the model under test answers."""
    validate: ValidateConfig = field(default_factory=ValidateConfig)


@dataclass(kw_only=True)
class ValidationConfig(RunConfig):
    """What a validation of the judge reads."""

    judge: JudgeConfig = field(default_factory=JudgeConfig)
    executor: ExecutorConfig = field(default_factory=ExecutorConfig)
    validate: ValidateConfig = field(default_factory=ValidateConfig)


JUDGES: dict[str, type[JudgeConfig]] = {
    "likelihood": LikelihoodJudgeConfig,
    "openai": OpenAIJudgeConfig,
    "panel": PanelConfig,
}
