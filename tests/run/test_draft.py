"""A stage with a draft and several starts: its files, its account, its dry run, and what it refuses at once."""

import json
from dataclasses import asdict

import pytest
from hydra import compose, initialize_config_module

from reer import synthesize
from reer.config import FakeBackendConfig, SynthesizeConfig, load, load_search, register
from reer.config.keys import is_text
from reer.errors import ConfigError
from reer.files.pairs import read_pairs
from reer.files.trajectories import arithmetic
from reer.method.cost import cost
from reer.page.overview import told_of_draft
from reer.run.estimate import predict
from reer.types import Usage

PAIRS = read_pairs(None, 3).examples
DRAFT = ("backend@draft=fake", "search.screen=2", "search.audit=2")


def config(*overrides):
    register()
    with initialize_config_module("reer.conf", version_base="1.3"):
        overrides = ["experiment=fake", "data.limit=3", *overrides]
        return load(compose("synthesize", overrides=overrides), SynthesizeConfig)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("draft")
    assert synthesize.run(config(f"run_dir={folder}", "search=multi_start", *DRAFT)) == 0
    return folder


def read(run_dir, name):
    return json.loads((run_dir / name).read_text())


def trajectories(run_dir):
    return [json.loads(line) for line in (run_dir / "trajectories.jsonl").read_text().splitlines()]


def test_the_account_tells_the_draft_apart(run_dir):
    summary = read(run_dir, "summary.json")
    rows = trajectories(run_dir)
    assert summary["usage"]["draft_tokens"] == sum(row["usage"]["draft_tokens"] for row in rows) > 0
    assert summary["usage"]["draft_counted"] == summary["usage"]["draft_tokens"]  # nobody knows its size
    assert summary["arithmetic"] == {"generator": None, "scorer": None, "draft": None}
    draft = summary["draft"]
    assert draft["screened"] == summary["rejected"]["screened"] > 0
    assert draft["audit"]["steps"] > 0
    assert draft["audit"]["share"] == draft["audit"]["missed"] / draft["audit"]["steps"]
    assert read(run_dir, "manifest.json")["models"]["draft"]["model"] == "fake"


def test_the_page_tells_of_the_draft(run_dir):
    page = (run_dir / "report.html").read_text()
    assert f"tokens: {told_of_draft(read(run_dir, 'summary.json'))}." in page
    assert "Ranked for it by" in page


def test_a_row_holds_the_steps_of_the_start_it_comes_from(run_dir):
    for row in trajectories(run_dir):
        assert row["nll"]["final"] == (row["steps"][-1]["nll"] if row["steps"] else row["nll"]["first"])
        segments = list(row["first"]["segments"])
        for step in row["steps"]:
            assert step["before"] == segments[step["segment"]]
            if step["kept"] is not None:
                segments[step["segment"]] = step["candidates"][step["kept"]]["text"]
        assert segments == row["segments"]
        assert row["draft"] == {"model": "fake", "revision": None, "dtype": None}


def test_the_frozen_config_gives_the_engines_back(run_dir):
    frozen = load_search(run_dir / "config.yaml")
    assert isinstance(frozen.draft, FakeBackendConfig)
    assert asdict(frozen)["search"] == asdict(config("search=multi_start", *DRAFT))["search"]


def test_its_paths_are_texts_on_the_command_line():
    assert is_text("draft.model.path")
    assert is_text("draft.tokenizer")


def test_a_dry_run_knows_the_draft_and_after_a_pilot_says_what_it_cost(run_dir, capsys):
    used = cost(PAIRS[0], config(*DRAFT))
    plain = cost(PAIRS[0], config())
    assert plain.draft_tokens == 0
    assert used.scored_tokens < plain.scored_tokens
    assert used.draft_tokens == used.draft_counted > 0
    whole = cost(PAIRS[0], config(*DRAFT[:2], "search.audit=1"))
    assert whole.scored_tokens == pytest.approx(plain.scored_tokens, abs=20)
    ahead = predict(PAIRS, config("search=multi_start", *DRAFT))
    done = Usage(**read(run_dir, "summary.json")["usage"])
    assert ahead.draft_tokens == pytest.approx(done.draft_tokens, rel=0.9)
    synthesize.run(config(*DRAFT, "dry_run=true"))
    assert "draft tokens" in capsys.readouterr().out
    synthesize.run(config("dry_run=true"))
    assert "draft" not in capsys.readouterr().out


def test_a_mistake_is_told_before_a_folder_is_made(tmp_path):
    with pytest.raises(ConfigError, match="needs a draft"):
        synthesize.run(config("search.screen=2", f"run_dir={tmp_path / 'r'}"))
    assert not (tmp_path / "r").exists()


def test_arithmetic_is_parameters_times_tokens_where_both_are_known():
    usage = Usage(generated_tokens=2, prefilled_tokens=3, scored_tokens=7, draft_tokens=11, draft_counted=4)
    models = {"generator": {"parameters": None}, "scorer": {"parameters": 100}, "draft": {"parameters": 10}}
    assert arithmetic(usage, models) == {"generator": None, "scorer": 700, "draft": 110}
    assert arithmetic(usage, {"scorer": {"model": "old"}}) == {"scorer": None}


def test_what_a_draft_was_worth_is_one_line():
    found = {"ranked": 8, "screened": 4, "too_long": 1, "not_taken": 0, "failed": 2,
             "audit": {"steps": 5, "kept": 4, "missed": 1, "share": 0.2}}  # fmt: skip
    assert told_of_draft({"draft": found}) == (
        "4 of 8 ranked candidates were not scored; in 1 of 5 audited steps the winner was not among its best; "
        "1 pair too long for it; 2 times it gave no answer"
    )
    assert told_of_draft({}) == told_of_draft({"draft": None}) == ""
