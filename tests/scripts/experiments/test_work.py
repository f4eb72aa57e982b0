"""Stages run once, keep how they ended, and one that fails stops nobody but those that read it."""

import json
from dataclasses import replace

import pyarrow as pa
import pytest
from experiments import work
from experiments.stages import Stage
from experiments.work import Workplace, forked, is_done, run_all, unmet
from pyarrow import parquet

STUB = """#!/bin/sh
echo "$0 $@" >> calls
for word in "$@"; do case $word in name=*) name=${word#name=};; search.*) budget=$word;; esac; done
mkdir -p runs/$name/synthesize
cp usage.parquet runs/$name/synthesize/trajectories.parquet
[ -e fails ] && { echo "reer-synthesize: nothing to read" >&2; exit 1; }
[ -e dies ] && kill -9 $$
exit 0
"""

MEETING = """#!/bin/sh
for word in "$@"; do case $word in name=*) name=${word#name=};; esac; done
mkdir -p met runs/$name/synthesize && touch met/$(basename $name)
while [ $(ls met | wc -l) -lt 2 ]; do sleep 0.05; done
"""
"""Ends only where another one is at work."""


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(work, "BIN", tmp_path)
    for name in ("reer-collect", "reer-synthesize"):
        (tmp_path / name).write_text(STUB)
        (tmp_path / name).chmod(0o755)
    usage = {"generated_tokens": 5, "prefilled_tokens": 2, "scored_tokens": 3, "calls": 9}
    parquet.write_table(pa.Table.from_pylist([{"usage": usage}]), tmp_path / "usage.parquet")
    return Workplace("reproduce/smoke")


COLLECT = Stage("collect", "aa", ("x=1",), {})
SEARCH = Stage("synthesize", "bb", (), {"collect": COLLECT})


def calls(tmp_path):
    return (tmp_path / "calls").read_text().splitlines()


def test_a_stage_runs_once_and_links_to_what_it_reads(workplace, tmp_path):
    for _ in range(2):
        workplace.run(COLLECT, "main/deepwriter")
        workplace.run(SEARCH, "main/deepwriter")
    assert len(calls(tmp_path)) == 2
    assert "name=reproduce/smoke/collect-aa tracking.group=main/deepwriter" in calls(tmp_path)[0]
    assert (workplace.path / "synthesize-bb/collect").resolve() == (workplace.path / "collect-aa/collect").absolute()
    record = workplace.record("synthesize-bb")
    assert is_done(record)
    assert record["inputs"] == {"collect": "aa"}


@pytest.mark.parametrize(
    ("fault", "said"),
    [("fails", "reer-synthesize: nothing to read"), ("dies", "reer-synthesize: killed by signal 9")],
)
def test_a_failed_stage_keeps_its_reason_and_is_tried_again(workplace, tmp_path, fault, said):
    workplace.run(COLLECT, "a/b")
    (tmp_path / fault).touch()
    workplace.run(SEARCH, "a/b")
    assert workplace.record("synthesize-bb")["error"] == said
    later = Stage("sft", "cc", (), {"synthesize": SEARCH})
    assert unmet(later, workplace) is SEARCH
    (tmp_path / fault).unlink()
    workplace.run(SEARCH, "a/b")
    assert unmet(later, workplace) is None


def test_a_budget_is_what_the_other_search_took_for_a_pair(workplace):
    workplace.run(SEARCH, "a/b")
    limited = Stage("synthesize", "dd", (), {}, budget_of=SEARCH)
    assert workplace.command(limited, "a/c")[-1] == "search.max_tokens=10"
    assert [stage.key for stage in limited.with_inputs()] == ["aa", "bb", "dd"]


def test_a_budget_of_nothing_is_a_failed_stage_and_the_rest_goes_on(workplace, tmp_path):
    workplace.run(COLLECT, "a/b")
    workplace.run(SEARCH, "a/b")
    found = workplace.path / "synthesize-bb/synthesize/trajectories.parquet"
    parquet.write_table(parquet.read_table(found).slice(0, 0), found)
    limited, alone = Stage("synthesize", "dd", (), {}, budget_of=SEARCH), Stage("collect", "ee", (), {})
    run_all([COLLECT, SEARCH, limited, alone], workplace, lambda stage: "a/b", jobs=1)
    assert "has no trajectory" in workplace.record("synthesize-dd")["error"]
    assert is_done(workplace.record("collect-ee"))


def test_what_a_finished_stage_has_read_may_not_be_made_anew_unseen(workplace):
    workplace.run(COLLECT, "a/b")
    workplace.run(SEARCH, "a/b")
    record = workplace.record("synthesize-bb")
    assert workplace.outdated(record) is None
    (workplace.path / "collect-aa/stage.json").unlink()
    assert workplace.outdated(record) is None
    workplace.run(COLLECT, "a/b")
    assert workplace.outdated(record) == "collect-aa"
    assert workplace.outdated({"inputs": {"collect": "aa"}}) is None  # of a former version


def test_an_evaluation_of_which_rows_failed_is_run_again_when_asked(workplace, tmp_path):
    (tmp_path / "reer-evaluate").write_text(STUB.replace("exit 0", "exit 2"))
    (tmp_path / "reer-evaluate").chmod(0o755)
    judged = Stage("evaluate-x", "ee", (), {}, benchmarks=("reasoning",))
    for place in (workplace, workplace, replace(workplace, retry=True)):
        place.run(judged, "a/b")
    assert len(calls(tmp_path)) == 2


def test_benchmarks_are_asked_in_one_process(workplace):
    words = workplace.command(Stage("evaluate-x", "ee", (), {}, benchmarks=("hellobench", "reasoning")), "a/b")
    assert words[0] == "reer-evaluate"
    assert words[-2:] == ["-m", "benchmark=hellobench,reasoning"]


def test_the_record_says_by_which_version(workplace):
    import reer

    workplace.run(COLLECT, "a/b")
    record = json.loads((workplace.path / "collect-aa/stage.json").read_text())
    assert (record["reer"], record["format_version"], record["row"]) == (reer.__version__, 1, "a/b")


def test_stages_run_side_by_side_each_after_what_it_reads(workplace, tmp_path, capsys):
    (tmp_path / "reer-synthesize").write_text(MEETING)
    others = [Stage("synthesize", key, (), {"collect": COLLECT}) for key in ("s1", "s2")]
    last = Stage("collect", "zz", (), {"synthesize": others[1]})
    run_all([COLLECT, *others, last], workplace, lambda stage: "a/b", jobs=2)
    assert all(is_done(workplace.record(stage.id)) for stage in (COLLECT, *others, last))
    assert "collect-zz" in calls(tmp_path)[-1]


def test_what_reads_a_failed_stage_is_left_out_and_the_rest_goes_on(workplace, tmp_path, capsys):
    (tmp_path / "reer-synthesize").write_text("#!/bin/sh\nexit 1\n")
    reader = Stage("sft", "cc", (), {"synthesize": SEARCH})
    alone = Stage("collect", "dd", (), {})
    run_all([COLLECT, SEARCH, reader, alone], workplace, lambda stage: "a/b", jobs=2)
    assert "not run: sft-cc needs synthesize-bb" in capsys.readouterr().out
    assert is_done(workplace.record("collect-dd"))


def test_after_an_interrupt_no_further_stage_begins(workplace, tmp_path):
    (tmp_path / "reer-synthesize").write_text("#!/bin/sh\nexit 130\n")
    stages = [Stage("synthesize", "s1", (), {}), COLLECT, Stage("collect", "dd", (), {})]
    with pytest.raises(KeyboardInterrupt):
        run_all(stages, workplace, lambda stage: "a/b", jobs=1)
    assert not (tmp_path / "calls").exists()


def test_a_forked_command_is_the_command(tmp_path):
    """Its words are in the log and its exit code is that of the command line."""
    with (tmp_path / "log.txt").open("w") as log:
        code = forked(["reer-report", str(tmp_path / "nothing")], log)
    assert code == 1
    assert (tmp_path / "log.txt").read_text().startswith("reer-report: ")
