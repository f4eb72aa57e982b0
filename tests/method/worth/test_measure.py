"""Starts without sight of the answer, and what is measured once a search is over: resumed, or asked for later."""

import asyncio
import json

import pytest
from hydra import compose, initialize_config_module

from reer import synthesize
from reer.backend.fake import FakeTokenizer
from reer.config import SearchConfig, SegmentConfig, SynthesizeConfig, WorthConfig, load, register
from reer.errors import BackendError, PromptError
from reer.layout import Layout
from reer.method.prompts import Prompt, PromptSet, load_set
from reer.method.propose import Proposer
from reer.method.search import Search
from reer.run.estimate import estimate, predict
from reer.run.launch import DONE, PARTIAL
from reer.run.ledger import Ledger, decode
from reer.types import Example, Response, Score, Scored, Step, Usage, Worth

EXAMPLE = Example(id="e", query="Write.", answer="Rain fell on the tin roof all night.")
LAYOUT = Layout("think", FakeTokenizer())
BOTH = ("search.worth.blind=2", "search.worth.decorative=0.01")


class Writer:
    """Keeps what it was asked; whole trajectories, a rewrite, or what somebody writes who sees the query alone."""

    def __init__(self, blind=("Something good here.", "Nothing much here.")):
        self.blind, self.asked = blind, []

    async def generate(self, requests):
        self.asked += requests
        return [[Response(text=self._text(r, n), finish_reason="stop") for n in range(len(r.seeds))] for r in requests]

    def _text(self, request, n):
        prompt = request.messages[0].content
        if prompt.startswith("blind"):
            return self.blind[n % len(self.blind)]
        return "A good plan. It is good so. Done now." if prompt.startswith("initial") else "One more good word."


class Scale:
    """3 nats without thinking, 0.5 less for each `good` and 0.001 less for each `so`."""

    tokenizer, max_length = FakeTokenizer(), 10_000

    async def score(self, requests):
        return [self._score(request) for request in requests]

    def _score(self, request):
        before = bytes(i for i in request.ids[: request.start] if i < 256).decode()
        if "much" in before:
            raise BackendError("no finite log-probability")
        nll = 3.0 - 0.5 * before.count("good") - 0.001 * before.count("so.")
        return Scored(Score(nll, request.end - request.start), Usage(calls=1, scored_tokens=request.end))


def searching(writer, **changes):
    settings = SearchConfig(**({"first_samples": 1, "max_steps": 1, "candidates": 1,
                                "segment": SegmentConfig(min_tokens=5, max_tokens=15)} | changes))  # fmt: skip
    prompts = PromptSet(
        Prompt("initial {query} {answer}", (), None),
        Prompt("rewrite {query} {answer} {before} [{segment}] {after}", (), None),
        "",
        blind=Prompt("blind {query}", (), None),
    )
    return Search(Proposer(writer, lambda language: prompts, LAYOUT, settings, seed=1), Scale(), LAYOUT, settings)


def events(search, recorded=()):
    async def collect():
        return [event async for event in search.run(EXAMPLE, recorded)]

    return asyncio.run(collect())


def test_the_last_event_holds_blind_thinkings_and_what_each_segment_adds():
    writer = Writer()
    *before, step, worth = events(searching(writer, worth=WorthConfig(blind=2, decorative=0.01)))
    assert isinstance(worth, Worth)
    assert isinstance(step, Step)
    assert [(c.nll, (c.rejected or "").partition(":")[0]) for c in worth.blind] == [(2.5, ""), (None, "not_scored")]
    # "One more good word. It is good so. Done now.", 1.999 nats
    assert worth.removals == pytest.approx((0.5, 0.501, 0.0))
    assert worth.usage.calls == 1 + 3
    assert before[0].usage.calls == 1
    [asked] = [request for request in writer.asked if request.messages[0].content.startswith("blind")]
    assert asked.messages[0].content == "blind Write."
    assert len(set(asked.seeds)) == 2


def test_without_the_only_segment_there_is_no_thinking():
    [*_, worth] = events(searching(Writer(), max_steps=0, segment=SegmentConfig(min_tokens=99, max_tokens=99),
                                   worth=WorthConfig(decorative=0.01)))  # fmt: skip
    assert worth.removals == (pytest.approx(1.001),)
    assert worth.blind == ()


def test_nothing_is_measured_unless_asked_for_and_a_search_that_was_measured_is_over():
    plain = events(searching(Writer()))
    measured = events(searching(Writer(), worth=WorthConfig(blind=1)))
    assert [type(event) for event in measured] == [*map(type, plain), Worth]
    assert events(searching(Writer(), worth=WorthConfig(blind=1)), plain) == measured[-1:]
    assert events(searching(Writer(), max_steps=9, worth=WorthConfig(blind=3)), measured) == []
    body = json.loads(json.dumps(measured[-1], default=lambda value: {n: getattr(value, n) for n in value.__slots__}))
    assert decode("Worth", body) == measured[-1]


def test_a_blind_start_sees_no_answer_and_its_rewrites_do():
    writer = Writer(blind=["A good plan. Another part here. Done now."])
    found = events(searching(writer, start="blind"))
    asked = [request.messages[0].content for request in writer.asked]
    assert asked[0] == "blind Write."
    assert EXAMPLE.answer in asked[1]
    assert found[1].candidates[0].text.startswith("A good plan.")


def test_the_guards_hold_for_blind_thinkings_too():
    copied, spoken = f"I write: {EXAMPLE.answer} {EXAMPLE.answer}", "I hope this helps you with the plan."
    [*_, worth] = events(searching(Writer(blind=(copied, spoken)), max_steps=0, worth=WorthConfig(blind=2)))
    assert [candidate.rejected for candidate in worth.blind] == ["leak", "echo"]


def config(folder, *overrides):
    register()
    given = ["experiment=fake", "data.limit=3", f"run_dir={folder}", *overrides]
    with initialize_config_module("reer.conf", version_base="1.3"):
        return load(compose("synthesize", overrides=given), SynthesizeConfig)


def rows(folder):
    return [json.loads(line) for line in (folder / "trajectories.jsonl").read_text().splitlines()]


def summary(folder):
    return json.loads((folder / "summary.json").read_text())


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("measured")
    assert synthesize.run(config(folder, *BOTH)) == DONE
    return folder


def test_rows_summary_and_cost_tell_what_was_measured(measured):
    found = rows(measured)
    for row in found:
        worth, nll = row["worth"], row["nll"]
        nlls = [c["nll"] for c in worth["blind"] if c["nll"] is not None]
        assert len(worth["blind"]) == 2
        assert worth["gain_over_blind"] == pytest.approx(sum(nlls) / len(nlls) - nll["final"])
        assert worth["a_prob"] == pytest.approx((nll["none"] - nll["final"]) / nll["none"])
        assert len(worth["decorative"]["removals"]) == len(row["segments"])
        assert worth["usage"]["scored_tokens"] > 0
    told = summary(measured)
    assert told["worth"]["decorative"]["n"] == told["worth"]["a_lex"]["n"] == 3
    spent = sum(row["usage"]["scored_tokens"] + row["worth"]["usage"]["scored_tokens"] for row in found)
    assert told["usage"]["scored_tokens"] == spent


def test_a_run_that_was_killed_before_it_measured_gives_the_same_rows(measured, tmp_path):
    folder = tmp_path / "killed"
    assert synthesize.run(config(folder)) == DONE
    ledger = Ledger(folder / "ledger.db")
    ledger._db.execute("UPDATE outcomes SET status = 'open'")
    ledger.close()
    assert synthesize.run(config(folder, *BOTH)) == DONE
    assert (folder / "trajectories.jsonl").read_bytes() == (measured / "trajectories.jsonl").read_bytes()


def test_what_is_asked_for_later_is_measured_of_finished_searches_and_nothing_is_searched_again(
    measured, tmp_path, capsys
):
    folder = tmp_path / "later"
    assert synthesize.run(config(folder)) == DONE
    assert summary(folder)["worth"]["gain_over_blind"] == {"mean": None, "n": 0, "missing": 3, "draws": {}}
    ledger = Ledger(folder / "ledger.db")
    before = {row["id"]: ledger.events(row["id"]) for row in rows(folder)}
    ledger.close()
    capsys.readouterr()
    assert synthesize.run(config(folder, *BOTH)) == DONE
    assert "3 rows searched before, whose trajectories are measured now (search.worth)" in capsys.readouterr().out
    assert (folder / "trajectories.jsonl").read_bytes() == (measured / "trajectories.jsonl").read_bytes()
    ledger = Ledger(folder / "ledger.db")
    for name, recorded in before.items():
        assert ledger.events(name)[:-1] == recorded
    ledger.close()
    # measured once: another number of blind thinkings later adds none, another epsilon needs no model
    assert synthesize.run(config(folder, "search.worth.blind=4", "search.worth.decorative=9")) == DONE
    assert {len(row["worth"]["blind"]) for row in rows(folder)} == {2}
    assert {row["worth"]["decorative"]["share"] for row in rows(folder)} == {1.0}


def test_a_measurement_that_fails_loses_no_finished_search(tmp_path, monkeypatch):
    folder = tmp_path / "failing"
    assert synthesize.run(config(folder)) == DONE
    before = rows(folder)

    async def down(self, requests):
        raise BackendError("the server is down")

    with monkeypatch.context() as patch:
        patch.setattr("reer.backend.fake.FakeGenerator.generate", down)
        assert synthesize.run(config(folder, "search.worth.blind=1")) == DONE
    assert rows(folder) == before
    assert summary(folder)["worth"]["gain_over_blind"]["missing"] == 3
    assert synthesize.run(config(folder, "search.worth.blind=1")) == DONE
    assert summary(folder)["worth"]["gain_over_blind"]["missing"] == 0


def test_a_search_whose_measurement_fails_is_finished_and_measured_by_the_next_run(tmp_path, monkeypatch, caplog):
    folder = tmp_path / "refusing"

    async def refused(self, example, n, occasion):
        raise BackendError("refused")

    with monkeypatch.context() as patch:
        patch.setattr(Proposer, "blind", refused)
        assert synthesize.run(config(folder, "search.worth.blind=1")) == DONE
    assert "what its thinking is worth could not be measured (refused)" in caplog.text
    before = rows(folder)
    assert [row["worth"]["gain_over_blind"] for row in before] == [None] * 3
    assert synthesize.run(config(folder, "search.worth.blind=1")) == DONE
    assert summary(folder)["worth"]["gain_over_blind"]["missing"] == 0
    assert [row["thinking"] for row in rows(folder)] == [row["thinking"] for row in before]


def test_a_dry_run_knows_what_measuring_costs(tmp_path):
    pairs = [Example(id="e", query="Write of rain.", answer="Rain fell. " * 40)]
    plain, blind, both = (predict(pairs, config(tmp_path, *more)) for more in ((), BOTH[:1], BOTH))
    assert blind.generated_tokens > plain.generated_tokens
    assert both.scored_tokens > blind.scored_tokens > plain.scored_tokens
    assert both.generated_tokens == blind.generated_tokens
    assert "tokens" in estimate(pairs, config(tmp_path, *BOTH, "search.start=blind"))


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("name", ["brief", "compact", "plain", "standard"])
def test_every_shipped_set_has_a_prompt_that_does_not_see_the_answer(language, name):
    prompts = load_set(name, language, "blind")
    text = prompts.blind.render(query="<<query>>", opener="<<opener>>")
    assert "<<query>>" in text
    assert "{" not in text
    assert (prompts.blind.openers, prompts.blind.reply_tag) == (prompts.initial.openers, prompts.initial.reply_tag)
    assert prompts.blind.by_opener == prompts.initial.by_opener
    assert load_set(name, language).blind is None


def test_a_set_without_it_is_refused_where_it_is_needed(tmp_path):
    for role, text in (("initial", "{query} {answer}"), ("rewrite", "{query} {answer} {before} {segment} {after}")):
        (tmp_path / f"{role}.md").write_text(f"# user\n{text}")
    mine = str(tmp_path)
    before = load_set(mine, "en").sha256
    with pytest.raises(PromptError, match=rf"^search.start=blind needs blind.md, which prompts.set={mine} lacks"):
        load_set(mine, "en", "blind")
    with pytest.raises(PromptError, match=r"^search.worth.blind needs blind.md"):
        load_set(mine, "en", blind=True)
    (tmp_path / "blind.md").write_text("# user\n{query} {answer}")
    with pytest.raises(PromptError, match=r"blind.md: unknown placeholder \{answer\}"):
        load_set(mine, "en", "blind")
    (tmp_path / "blind.md").write_text("# user\n{query} {opener}")
    with pytest.raises(PromptError, match=r"blind.md: \{opener\} needs a section '# openers'"):
        load_set(mine, "en", "blind")
    assert load_set(mine, "en").sha256 == before


def test_a_run_whose_prompts_lack_it_ends_with_one_sentence(tmp_path, capsys):
    (tmp_path / "set").mkdir()
    for role, text in (("initial", "{query} {answer}"), ("rewrite", "{query} {answer} {before} {segment} {after}")):
        (tmp_path / "set" / f"{role}.md").write_text(f"# user\n{text}")
    with pytest.raises(PromptError, match=r"search.start=blind needs blind.md"):
        synthesize.run(config(tmp_path / "run", "search=blind", f"prompts.set={tmp_path / 'set'}"))


def test_a_real_model_measures(tiny_model, tmp_path):
    overrides = ["backend@generator=hf", "backend@scorer=hf", f"model.path={tiny_model}", "search=blind",
                 "prompts=compact", "search.attempts=9", "search.first.max_tokens=12", "data.limit=1",
                 "search.segment={min_tokens: 2, max_tokens: 12}", "search.echo.enabled=false", *BOTH]  # fmt: skip
    register()
    with initialize_config_module("reer.conf", version_base="1.3"):
        given = [*overrides, f"run_dir={tmp_path / 'real'}"]
        code = synthesize.run(load(compose("synthesize", overrides=given), SynthesizeConfig))
    assert code in (DONE, PARTIAL)
    [row] = rows(tmp_path / "real")
    assert len(row["worth"]["blind"]) >= 2
    assert all(change is not None for change in row["worth"]["decorative"]["removals"])
    assert row["worth"]["usage"]["generated_tokens"] > 0
