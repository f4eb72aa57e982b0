"""One date per experiment: settled once, found again by the same stage and by the stages after it."""

from dataclasses import replace
from datetime import date

import pytest

from reer.config import EvaluationConfig, LayoutConfig, SftConfig, SynthesizeConfig
from reer.errors import ConfigError, RunDirError
from reer.layout import day
from reer.run import day as run_day
from reer.run.day import dated
from reer.run.launch import open_run_dir


@pytest.fixture(autouse=True)
def calendar(monkeypatch):
    """Days that pass: `turn("2031-06-07")` makes it that day."""
    before = list(day._settled)

    class Calendar(date):
        now = date(2031, 6, 7)

        @classmethod
        def today(cls):
            return cls.now

    monkeypatch.setattr(run_day, "date", Calendar)
    yield Calendar
    day._settled[:] = before


def synthesis(run_dir, **layout):
    return SynthesizeConfig(name="x", stage="synthesize", run_dir=str(run_dir), layout=LayoutConfig(**layout))


def test_the_same_stage_and_the_stages_after_it_go_on_with_the_day_it_began(tmp_path, calendar):
    first = dated(synthesis(tmp_path / "x/synthesize"))
    assert first.layout.date == "2031-06-07" == day.strftime("%Y-%m-%d")
    open_run_dir(first)
    calendar.now = date(2031, 7, 1)
    again = dated(synthesis(tmp_path / "x/synthesize"))
    assert again == first
    assert day.strftime("%d %b %Y") == "07 Jun 2031"
    open_run_dir(again)  # no other settings
    trained = dated(SftConfig(name="x", stage="sft", run_dir=str(tmp_path / "x/sft")))
    judged = tmp_path / "x/evaluate-tuned/reasoning"
    evaluated = dated(EvaluationConfig(name="x", stage="evaluate", run_dir=str(judged)))
    assert trained.layout.date == evaluated.layout.date == "2031-06-07"
    assert dated(synthesis(tmp_path / "y/synthesize")).layout.date == "2031-07-01"


def test_a_name_with_a_slash_and_the_points_of_a_sweep_are_one_experiment(tmp_path, calendar):
    root = tmp_path / "fables" / "first"
    began = replace(synthesis(root / "synthesize"), name="fables/first")
    open_run_dir(dated(began))
    calendar.now = date(2031, 7, 1)
    for folder in ("sft", "seed=1/evaluate-tuned/reasoning"):
        later = EvaluationConfig(name="fables/first", stage="evaluate", run_dir=str(root / folder))
        assert dated(later).layout.date == "2031-06-07"


def test_what_a_stage_works_on_tells_the_day_it_was_scored(tmp_path, calendar):
    open_run_dir(dated(synthesis(tmp_path / "search")))
    calendar.now = date(2031, 7, 1)
    trained = SftConfig(name="x", stage="sft", run_dir=str(tmp_path / "elsewhere"))
    assert dated(trained, None, str(tmp_path / "search/trajectories.jsonl")).layout.date == "2031-06-07"
    assert dated(trained, str(tmp_path / "nowhere/mine.jsonl")).layout.date == "2031-07-01"


def test_a_date_of_ones_own_counts_and_another_one_is_another_run(tmp_path):
    open_run_dir(dated(synthesis(tmp_path / "x", date="2030-01-02")))
    assert dated(synthesis(tmp_path / "x")).layout.date == "2030-01-02"
    with pytest.raises(RunDirError, match=r"layout.date \(was 2030-01-02, now 2030-01-03\)"):
        open_run_dir(dated(synthesis(tmp_path / "x", date="2030-01-03")))
    with pytest.raises(ConfigError, match="layout.date=tomorrow is no date"):
        dated(synthesis(tmp_path / "x", date="tomorrow"))


def test_a_folder_from_before_dates_were_kept_goes_on(tmp_path):
    frozen = tmp_path / "config.yaml"
    open_run_dir(dated(synthesis(tmp_path)))
    frozen.write_text(frozen.read_text().replace("  date: '2031-06-07'\n", ""))
    assert "date:" not in frozen.read_text()
    open_run_dir(dated(synthesis(tmp_path)))
    assert "date: '2031-06-07'" in frozen.read_text()
