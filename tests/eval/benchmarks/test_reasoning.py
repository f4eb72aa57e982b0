"""Your own held-out pairs: the forms and columns that a search reads, by names of your own where no table has them."""

from pathlib import Path

import pytest
from evaluating import FOLDER, evaluate

from eval.benchmarks import load
from reer.config import BenchmarkConfig, ColumnsConfig
from reer.errors import ConfigError, DataError
from reer.run.launch import DONE, MISTAKE

COLUMNS = ColumnsConfig(query="title", answer="body")


def posts(folder: Path) -> Path:
    path = folder / "posts.csv"
    path.write_text("title,body,likes\nWrite a line.,A line.,3\nWrite two.,,4\n", encoding="utf-8")
    return path


def test_columns_of_any_name_are_taken_for_what_they_are_named(tmp_path: Path) -> None:
    found = load(BenchmarkConfig(path=str(posts(tmp_path)), columns=COLUMNS))
    assert [(item.query, item.reference and item.reference.answer) for item in found.items] == [
        ("Write a line.", "A line.")
    ]
    assert found.told == ["benchmark     posts.csv: title -> query, body -> answer (1 row)"]
    assert [row.row for row in found.quarantined] == [2]


def test_a_chat_is_a_query_with_what_came_before_it(tmp_path: Path) -> None:
    path = tmp_path / "chats.jsonl"
    turns = '[{"role": "system", "content": "Rhyme."}, {"role": "user", "content": "Sing."}, '
    path.write_text(f'{{"talk": {turns}{{"role": "assistant", "content": "La."}}]}}\n', encoding="utf-8")
    [item] = load(BenchmarkConfig(path=str(path), columns=ColumnsConfig(messages="talk"))).items
    assert (item.query, [turn.content for turn in item.history]) == ("Sing.", ["Rhyme."])


def test_the_pairs_of_the_package_say_nothing() -> None:
    assert load(BenchmarkConfig()).told == []


def test_a_column_that_is_not_there_is_named_by_the_key_it_was_given_with(tmp_path: Path) -> None:
    path = posts(tmp_path)
    with pytest.raises(
        DataError, match=r"benchmark.columns.query=titel: no row of .* \(there are: title, body, likes\)"
    ):
        load(BenchmarkConfig(path=str(path), columns=ColumnsConfig(query="titel", answer="body")))
    with pytest.raises(DataError, match=r"benchmark.columns.query=NAME says which"):
        load(BenchmarkConfig(path=str(path)))
    with pytest.raises(ConfigError, match=r"benchmark.columns: the data of hellobench has columns of its own"):
        load(BenchmarkConfig(name="hellobench", path="sample", columns=COLUMNS))


def test_it_is_told_once_and_a_mistake_leaves_no_folder(tmp_path: Path) -> None:
    path = posts(tmp_path)
    named = (f"benchmark.path={path}", "benchmark.columns.answer=body")
    process = evaluate(tmp_path, *named, "benchmark.columns.query=titel")
    assert process.returncode == MISTAKE
    assert "benchmark.columns.query=titel: no row of" in process.stderr
    assert not (tmp_path / "runs").exists()
    process = evaluate(tmp_path, *named, "benchmark.columns.query=title", "dry_run=true")
    assert process.returncode == DONE, process.stderr
    assert process.stdout.count("title -> query, body -> answer (1 row)") == 1
    assert not (tmp_path / FOLDER).exists()
