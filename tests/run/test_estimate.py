"""A dry run: its arithmetic grows with what it is asked to do, and after a pilot it says what the run will cost."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module

from reer import synthesize
from reer.config import SynthesizeConfig, load, register
from reer.files.pairs import read_pairs
from reer.method.cost import assumed, cost, tokens
from reer.run.estimate import estimate, find_pilot, predict

EXAMPLE = read_pairs(None, 1).examples[0]
COMPACT = ("prompts=compact", "search.segment.min_tokens=30", "search.segment.max_tokens=60")
BUDGET = ("search.max_tokens=60000", "search.sweeps=60", "search.max_steps=100")


def config(*overrides):
    register()
    with initialize_config_module("reer.conf", version_base="1.3"):
        return load(compose("synthesize", overrides=["experiment=fake", *overrides]), SynthesizeConfig)


def used(*overrides, example=EXAMPLE):
    return cost(example, config(*overrides))


@pytest.fixture(scope="module")
def pilot_dir(tmp_path_factory):
    """A run of eight packaged pairs."""
    folder = tmp_path_factory.mktemp("pilot")
    synthesize.run(config(f"run_dir={folder}", "data.limit=8"))
    return folder


def test_tokens_count_words_and_characters():
    assert tokens("one two three four") == 5
    assert tokens("大雪三日") == 4


@pytest.mark.parametrize(
    "more",
    [
        ["search.first_samples=9"],
        ["search.first_rounds=2"],
        ["search.candidates=9"],
        ["search.start=skeleton"],
        ["search.max_steps=20", "search.sweeps=2"],
    ],
    ids=lambda more: more[0],
)
def test_what_draws_or_rewrites_more_costs_more(more):
    base, changed = used(), used(*more)
    assert changed.generated_tokens > base.generated_tokens
    assert changed.prefilled_tokens + changed.scored_tokens > base.prefilled_tokens + base.scored_tokens


@pytest.mark.parametrize("part", ["query", "answer"])
@pytest.mark.parametrize("overrides", [(), COMPACT, ("search.start=skeleton",), ("search=attribution",)], ids=str)
def test_longer_texts_cost_more(part, overrides):
    longer = replace(EXAMPLE, **{part: getattr(EXAMPLE, part) * 2})
    base, more = used(*overrides), used(*overrides, example=longer)
    assert more.scored_tokens > base.scored_tokens
    assert more.prefilled_tokens >= base.prefilled_tokens
    assert more.generated_tokens >= base.generated_tokens


def test_an_order_by_attribution_scores_every_segment_once_more_in_each_sweep():
    sweeps = ("search.sweeps=2", "search.max_steps=100")
    plain, ordered = used(*sweeps), used("search=attribution", *sweeps)
    assert ordered.calls - plain.calls == 2 * assumed("en", config()).segments
    assert ordered.generated_tokens == plain.generated_tokens


def test_an_edit_is_a_step_of_one_score():
    steps = 2 * assumed("en", config()).segments
    edits = used("search.edits=[delete]", f"search.max_steps={steps}")
    plain = used(f"search.max_steps={steps // 2}")
    assert edits.calls - plain.calls == steps // 2
    assert edits.generated_tokens == plain.generated_tokens
    assert edits.prefilled_tokens == plain.prefilled_tokens


def test_prompts_by_part_show_each_opener_its_share_of_the_answer():
    drawn = used(*COMPACT, "search.max_steps=0", "search.first_samples=1")
    assert drawn.calls == 1 + 4 + 1  # a score without thinking, an ask for each opener, a score
    assert drawn.prefilled_tokens < used("search.max_steps=0", "search.first_samples=1").prefilled_tokens
    short = used(*COMPACT, "search.max_steps=0", "search.first_samples=1", example=replace(EXAMPLE, answer="It ends."))
    assert short.calls == 1 + 1 + 1  # one sentence has no more shares


def test_a_skeleton_is_one_more_request_and_every_sample_is_expanded_by_its_own():
    direct, skeleton = (used("search.max_steps=0", f"search.start={start}") for start in ("direct", "skeleton"))
    samples = config().search.first_samples
    assert skeleton.calls - direct.calls == samples


def test_an_instruction_around_the_query_is_scored_each_time():
    plain, wrapped = used("search.max_steps=0"), used("search.max_steps=0", "layout.instruction=default")
    assert wrapped.scored_tokens > plain.scored_tokens
    assert wrapped.prefilled_tokens == plain.prefilled_tokens


def test_what_is_put_together_costs_a_score_a_round():
    drawn, composed = (used(*COMPACT, f"search={name}") for name in ("best_of_n", "compose"))
    assert (composed.calls, composed.generated_tokens) == (drawn.calls + 4, drawn.generated_tokens)
    assert composed.scored_tokens / drawn.scored_tokens == pytest.approx(
        20 / 16, rel=0.03
    )  # beside y without thinking


def test_our_own_engine_runs_what_the_candidates_share_once_and_a_server_reads_the_prompt_for_each():
    local = cost(EXAMPLE, config("backend@scorer=hf", "+model@scorer.model=smollm2"))
    assert local.scored_tokens + local.reused_tokens == pytest.approx(used().scored_tokens, rel=0.001)
    assert local.reused_tokens > 0
    server = cost(EXAMPLE, config("backend@generator=openai", "generator.model_name=any"))
    assert server.prefilled_tokens > used().prefilled_tokens


@pytest.mark.parametrize("budget", [40_000, 80_000])
@pytest.mark.parametrize("overrides", [(), COMPACT, ("search=attribution",), ("search.max_steps=0",)], ids=str)
def test_a_budget_of_tokens_is_about_what_is_spent(budget, overrides):
    endless = ("search.sweeps=1000", "search.max_steps=1000", "search.first_samples=1")
    endless = ("search.first_rounds=1000",) if overrides == ("search.max_steps=0",) else endless
    spent = used(*endless, *overrides, f"search.max_tokens={budget}")
    assert spent.forward_tokens == pytest.approx(budget, rel=0.15)


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        (*BUDGET, "search=attribution"),
        pytest.param(("search=best_of_n", BUDGET[0], "search.first_rounds=60"), marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_a_pilot_of_eight_predicts_the_other_sixteen(tmp_path, overrides):
    """Prefilled and scored tokens within 10 %, generated ones within 25 %.

    Without a budget a search is as long as its thinking has segments, and those of eight examples are a matter of
    luck: the packaged pairs with their seeds are what is checked, not every draw of eight.
    """
    everything = config(f"run_dir={tmp_path}", *overrides)
    synthesize.run(config(f"run_dir={tmp_path}", *overrides, "data.limit=8"))
    examples = read_pairs(None).examples
    pilot, _ = find_pilot(examples, everything)
    ahead = predict(examples, everything, pilot)
    synthesize.run(everything)
    whole = json.loads((tmp_path / "summary.json").read_text())["usage"]
    real = {key: n - getattr(pilot.used, key) for key, n in whole.items()}
    read = real["prefilled_tokens"] + real["scored_tokens"]
    assert ahead.prefilled_tokens + ahead.scored_tokens == pytest.approx(read, rel=0.1)
    assert ahead.generated_tokens == pytest.approx(real["generated_tokens"], rel=0.25)


def test_what_is_done_counts_with_what_it_cost(pilot_dir, capsys):
    run = config(f"run_dir={pilot_dir}", "data.limit=8", "dry_run=true")
    before = {path: path.read_bytes() for path in pilot_dir.iterdir()}
    assert synthesize.run(run) == 0
    said = capsys.readouterr().out
    usage = json.loads((pilot_dir / "summary.json").read_text())["usage"]
    line = next(line for line in said.splitlines() if line.startswith("scored"))
    assert line.split() == ["scored", "tokens", f"{usage['scored_tokens']:,}", "0"]
    assert f"from the 8 examples searched in {pilot_dir}" in said
    assert {path: path.read_bytes() for path in pilot_dir.iterdir()} == before


def test_dropped_and_refused_examples_of_a_pilot_are_done_too(tmp_path):
    examples = read_pairs(None, 10).examples
    run = config(f"run_dir={tmp_path}", "filter.min_words=130")
    synthesize.run(replace(run, data=replace(run.data, limit=6)))
    kept = len((tmp_path / "trajectories.jsonl").read_text().splitlines())
    assert 0 < kept < 6
    pilot, source = find_pilot(examples, run)
    assert pilot.ids == {example.id for example in examples[:6]}
    assert source.startswith("the 6 examples")


def test_seconds_follow_the_pilots(pilot_dir):
    examples, run = read_pairs(None).examples, config(f"run_dir={pilot_dir}")
    pilot, _ = find_pilot(examples, run)
    assert "seconds" in estimate(examples, run)
    assert "seconds" not in estimate(examples, config("run_dir=nowhere"))
    timed = replace(pilot, sizes=replace(pilot.sizes, seconds=0.001))  # the fake engine takes no time
    ahead = predict(examples, run, timed)
    assert ahead.seconds == pytest.approx(ahead.forward_tokens / 1000)
    hasty = replace(run, search=replace(run.search, max_seconds=50.0))
    assert cost(examples[0], hasty, timed.sizes).forward_tokens == pytest.approx(50_000, rel=0.01)


@pytest.mark.parametrize(
    ("overrides", "why"),
    [(["search.candidates=2", "seed=1"], "other seed and search"), (["data.limit=4"], "other pairs")],
)
def test_another_search_is_no_pilot(pilot_dir, overrides, why):
    run = config(f"run_dir={pilot_dir}", *overrides)
    examples = read_pairs(None, run.data.limit).examples
    said = estimate(examples, run)
    assert f"from word counts: {pilot_dir} was made with {why}" in said
    assert find_pilot(examples, run)[0] is None


def test_the_text_says_that_it_is_an_estimate():
    said = estimate([EXAMPLE] * 3, config(f"run_dir={Path('nowhere')}"))
    assert said.startswith("3 examples, up to 10 steps of 4 rewrites")
    assert "an estimate from word counts; nothing was run or written" in said
