import json
from pathlib import Path

import pytest

from eval.benchmarks.fetch import packaged
from eval.benchmarks.writingbench import DOMAINS, load
from reer.config import BenchmarkConfig
from reer.errors import DataError

QUERIES, LENGTH = packaged("writingbench")


def config(path: Path | str) -> BenchmarkConfig:
    return BenchmarkConfig(name="writingbench", path=str(path))


def copy(folder: Path, **changed: list[dict[str, object]]) -> Path:
    for path in (QUERIES, LENGTH):
        (folder / path.name).write_bytes(path.read_bytes())
    for name, rows in changed.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_six_domains_five_criteria_five_bands_and_who_asks_for_a_length() -> None:
    benchmark = load(config("sample"))
    assert {item.groups["domain"][0] for item in benchmark.items} == set(DOMAINS.values())
    for item in benchmark.items:
        assert not item.rubric.one_call
        assert len(item.rubric.criteria) == 5
        for criterion in item.rubric.criteria:
            assert criterion.scale == tuple(range(1, 11))
            assert [anchor.label for anchor in criterion.anchors] == ["1-2", "3-4", "5-6", "7-8", "9-10"]
            assert all(anchor.text for anchor in criterion.anchors)
    assert {item.id for item in benchmark.items if "length" in item.requirements} == {"187", "214", "249"}


def test_queries_alone_have_no_requirements() -> None:
    assert not any(item.requirements for item in load(config(QUERIES)).items)


def test_a_criterion_without_an_anchor_is_quarantined_by_name(tmp_path: Path) -> None:
    rows = [json.loads(line) for line in QUERIES.read_text(encoding="utf-8").splitlines()]
    del rows[0]["checklist"][2]["5-6"]
    name = rows[0]["checklist"][2]["name"]
    benchmark = load(config(copy(tmp_path, benchmark_all=rows)))
    assert len(benchmark.items) == len(rows) - 1
    assert benchmark.quarantined[0].reason == f"criterion {name!r} has no anchor for 5-6"


def test_a_subset_that_names_a_criterion_which_the_query_lacks(tmp_path: Path) -> None:
    folder = copy(tmp_path, length_subset_C=[{"index": 187, "checklist": [{"name": "Number of words"}]}])
    benchmark = load(config(folder))
    assert "the length subset names a criterion 'Number of words'" in benchmark.quarantined[0].reason


def test_a_folder_without_queries(tmp_path: Path) -> None:
    (tmp_path / LENGTH.name).write_bytes(LENGTH.read_bytes())
    with pytest.raises(DataError, match=r"holds no file named benchmark_all\*.jsonl"):
        load(config(tmp_path))
