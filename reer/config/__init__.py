"""The schema of every config group, and `load()`, which turns a composed config into plain dataclasses.

One module per stage, and what they share: `data`, `engines`, `run`. One root schema (`root`) serves the whole chain;
each stage reads only the keys of its own view of it (`CollectConfig`, `SynthesizeConfig`, `SftConfig`,
`PlanningConfig`, `EvaluationConfig`). After `load()` no DictConfig travels further. Never imports torch, so
that `--help` answers at once.
"""

from reer.config.collect import (
    CollectConfig,
    DecontaminateConfig,
    QualityConfig,
    SampleConfig,
    SourceConfig,
)
from reer.config.data import ColumnsConfig, DataConfig, LayoutConfig
from reer.config.engines import (
    BACKENDS,
    BackendConfig,
    FakeBackendConfig,
    HFBackendConfig,
    ModelConfig,
    OpenAIBackendConfig,
    VLLMBackendConfig,
)
from reer.config.evaluate import (
    JUDGES,
    STEPS,
    BenchmarkConfig,
    EvaluateConfig,
    EvaluationConfig,
    JudgeConfig,
    LikelihoodJudgeConfig,
    ModelJudgeConfig,
    OpenAIJudgeConfig,
    PanelConfig,
    PriceConfig,
    ValidateConfig,
    ValidationConfig,
)
from reer.config.load import flatten, load, load_frozen, load_search, one_line
from reer.config.root import ReerConfig, register
from reer.config.run import ExecutorConfig, RunConfig, TrackingConfig
from reer.config.sft import (
    DeepSpeedConfig,
    LaunchConfig,
    PeftConfig,
    PlanConfig,
    PlanningConfig,
    SamplesConfig,
    SftConfig,
    TrainerConfig,
)
from reer.config.synthesize import (
    EchoConfig,
    FilterConfig,
    LeakConfig,
    ObjectiveConfig,
    PromptsConfig,
    SamplingConfig,
    SearchConfig,
    SegmentConfig,
    SynthesizeConfig,
    WorthConfig,
)

__all__ = [
    "BACKENDS",
    "BackendConfig",
    "BenchmarkConfig",
    "CollectConfig",
    "ColumnsConfig",
    "DataConfig",
    "DecontaminateConfig",
    "DeepSpeedConfig",
    "EchoConfig",
    "EvaluateConfig",
    "EvaluationConfig",
    "ExecutorConfig",
    "FakeBackendConfig",
    "FilterConfig",
    "HFBackendConfig",
    "JUDGES",
    "JudgeConfig",
    "LaunchConfig",
    "LayoutConfig",
    "LeakConfig",
    "LikelihoodJudgeConfig",
    "ModelConfig",
    "ModelJudgeConfig",
    "ObjectiveConfig",
    "OpenAIBackendConfig",
    "OpenAIJudgeConfig",
    "PanelConfig",
    "PeftConfig",
    "PlanConfig",
    "PlanningConfig",
    "PriceConfig",
    "PromptsConfig",
    "QualityConfig",
    "ReerConfig",
    "RunConfig",
    "STEPS",
    "SampleConfig",
    "SamplesConfig",
    "SamplingConfig",
    "SearchConfig",
    "SegmentConfig",
    "SftConfig",
    "SourceConfig",
    "SynthesizeConfig",
    "TrackingConfig",
    "TrainerConfig",
    "VLLMBackendConfig",
    "ValidateConfig",
    "ValidationConfig",
    "WorthConfig",
    "flatten",
    "load",
    "load_frozen",
    "load_search",
    "one_line",
    "register",
]
