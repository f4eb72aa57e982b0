"""What all benchmarks have in common: pins, samples, what a file on disk is called."""

import json
import re
from pathlib import Path

import pytest

from eval.benchmarks import BENCHMARKS, hellobench, load, longbench_write, writingbench
from eval.benchmarks.fetch import PACKAGED
from reer.config import BenchmarkConfig
from reer.errors import ConfigError, DataError

PINNED = {"longbench_write": longbench_write, "hellobench": hellobench, "writingbench": writingbench}


@pytest.mark.parametrize("name", PINNED)
def test_pins_name_one_version_of_a_file_and_its_bytes(name: str) -> None:
    for pin in PINNED[name].PINS:
        assert re.fullmatch("[0-9a-f]{64}", pin.sha256)
        assert pin.url.startswith("https://")
        assert re.search("/[0-9a-f]{40}/|/[0-9a-f]{60}/", pin.url), "an address at a commit, or by content"


@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_sample_loads_whole(name: str) -> None:
    benchmark = load(BenchmarkConfig(name=name, path="sample"))
    assert len(benchmark.items) == 8
    assert not benchmark.quarantined
    assert benchmark.source.version == ("shipped" if name == "reasoning" else "sample")
    assert all(re.fullmatch("[0-9a-f]{64}", found) for found in benchmark.source.files.values())
    limited = load(BenchmarkConfig(name=name, path="sample", limit=3))
    assert len(limited.items) == 3
    assert (limited.known, limited.version) == (benchmark.known, benchmark.version)


def test_a_limit_spreads_reasoning_over_its_domains(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    domains = ("fable", "fable", "fable", "essay", None, "memoir")
    rows = [{"id": str(n), "query": "Write.", "answer": "So.", "domain": domain} for n, domain in enumerate(domains)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    limited = load(BenchmarkConfig(path=str(path), limit=4))
    assert [item.groups.get("domain") for item in limited.items] == ["fable", "essay", None, "memoir"]


def test_bytes_that_are_not_the_published_ones_are_called_so(tmp_path: Path) -> None:
    path = tmp_path / "longbench_write.jsonl"
    path.write_bytes((PACKAGED / "longbench_write" / "longbench_write.jsonl").read_bytes())
    source = load(BenchmarkConfig(name="longbench_write", path=str(path))).source
    assert source.version == "other than the published files"


def test_an_unknown_benchmark_is_named_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"benchmark.name=arena is unknown \(known: reasoning, longbench_write, "):
        load(BenchmarkConfig(name="arena"))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"prompt": "p", "type": "t"}', "'length' is missing"),
        ('{"prompt": "p", "type": "t", "length": "100"}', "'length' is str"),
        ('{"prompt": "p", "type": "t", "length": 0}', "'length' is not positive"),
        ('{"prompt": " ", "type": "t", "length": 9}', "'prompt' is empty"),
        ("[1]", "not a JSON object"),
        ("{", "broken JSON"),
    ],
)
def test_a_bad_row_is_set_aside_with_its_reason(tmp_path: Path, line: str, reason: str) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text('{"prompt": "Write.", "type": "t", "length": 9}\n' + line + "\n")
    benchmark = load(BenchmarkConfig(name="longbench_write", path=str(path)))
    assert len(benchmark.items) == 1
    [bad] = benchmark.quarantined
    assert (bad.file, bad.row) == ("mine.jsonl", 2)
    assert reason in bad.reason
    path.write_text(line + "\n")
    with pytest.raises(DataError, match="no usable row; row 1"):
        load(BenchmarkConfig(name="longbench_write", path=str(path)))
