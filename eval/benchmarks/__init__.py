"""The benchmarks by name. Each is a module with `load(config) -> Benchmark`."""

from collections.abc import Callable
from dataclasses import asdict

from reer.config import BenchmarkConfig
from reer.errors import ConfigError

from . import hellobench, longbench_write, reasoning, writingbench
from .items import Benchmark

BENCHMARKS: dict[str, Callable[[BenchmarkConfig], Benchmark]] = {
    "reasoning": reasoning.load,
    "longbench_write": longbench_write.load,
    "hellobench": hellobench.load,
    "writingbench": writingbench.load,
}


def load(config: BenchmarkConfig) -> Benchmark:
    """The benchmark that the config names.

    Raises:
        ConfigError: there is none of that name, or it takes no rubric or columns.
        DataError: its data cannot be had.
    """
    if config.name not in BENCHMARKS:
        raise ConfigError(f"benchmark.name={config.name} is unknown (known: {', '.join(BENCHMARKS)})")
    if config.rubric and config.name != "reasoning":
        raise ConfigError(f"benchmark.rubric: the criteria of {config.name} come with its data")
    if config.name != "reasoning" and any(asdict(config.columns).values()):
        raise ConfigError(f"benchmark.columns: the data of {config.name} has columns of its own")
    return BENCHMARKS[config.name](config)
