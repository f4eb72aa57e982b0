"""A draft in front of the scorer: which candidates it lets through, what it never decides, what happens without it."""

import asyncio
import logging
from dataclasses import replace

import pytest
from searching import EXAMPLE, LAYOUT, SETTINGS, Script, Table, prompts, run

from reer.backend.fake import FakeTokenizer
from reer.config import FakeBackendConfig, SearchConfig, SynthesizeConfig
from reer.errors import BackendError, ConfigError, ModelError, Unanswered
from reer.layout import Layout
from reer.method.policy import audits
from reer.method.propose import Proposer
from reer.method.screen import Measure, Screen, check, missed
from reer.method.search import Search
from reer.method.state import State
from reer.types import Candidate, Step, Usage

FIRST = "One plan here now. Two plain words."
WORDS = ["One good plan here.", "One good good plan.", "One bad plan.", "One good good good plan."]
STILL = ["Two bad words.", "Two bad bad words.", "Two worse bad words.", "Two more bad words."]
SCREENED = replace(SETTINGS, first_samples=1, candidates=4, screen=2)


class OtherTokenizer(FakeTokenizer):
    """Of another family: a token before each text."""

    special_texts = ("<|draft|>",)

    def encode(self, text):
        return (300, *super().encode(text))


class Draft(Table):
    """As the scorer, but three goods in a row are nonsense to it."""

    tokenizer = OtherTokenizer()

    def _score(self, request):
        self.ids = request.ids
        before = bytes(i for i in request.ids[: request.start] if i < 256).decode()
        found = super()._score(request)
        return replace(found, score=replace(found.score, nll=9.0)) if "good good good" in before else found


def searching(settings=SCREENED, draft=None, scorer=None, weight=0.25, rewrites=WORDS):
    script = Script([FIRST], {"One plan here now.": rewrites, "Two plain words.": STILL})
    draft = draft or Draft()
    screen = Screen(Measure(draft, Layout("think", draft.tokenizer), settings), weight)
    proposer = Proposer(script, prompts, LAYOUT, settings, seed=1)
    return Search(proposer, scorer or Table(), LAYOUT, settings, screen)


def test_the_best_by_the_draft_are_scored_and_the_scorer_alone_decides():
    scorer, draft = Table(), Draft()
    _, first, one, two = run(searching(draft=draft, scorer=scorer))
    assert (first.candidates[0].draft, first.whole) == (None, None)  # one draw: nothing to rank
    assert [c.rejected for c in one.candidates] == [None, None, "screened", "screened"]
    assert [c.nll for c in one.candidates] == [2.5, 2.0, None, None]
    assert [c.draft for c in one.candidates] == [2.5, 2.0, 3.5, 9.0]
    assert (one.kept, one.nll, two.kept) == (1, 2.0, None)  # the scorer never saw the fourth, which is the best
    assert scorer.calls == 1 + 1 + 2 + 2
    assert draft.calls == 4 + 4
    assert 300 in draft.ids  # laid out with its own tokenizer


def test_the_drafts_tokens_stand_apart_and_count_by_its_size():
    plain, screened = run(searching(replace(SCREENED, screen=4)))[2], run(searching(weight=0.25))[2]
    assert plain.usage.draft_tokens == 0
    found = screened.usage
    assert found.scored_tokens == sum(len(ids) for ids in _scored_ids())
    assert found.draft_tokens > 2 * found.scored_tokens * 0.9
    assert found.draft_counted == round(found.draft_tokens / 4)
    assert found.forward_tokens == found.scored_tokens + found.draft_counted


def _scored_ids():
    """What the scorer ran in the first step: y behind each of the two whole trajectories let through."""
    for text in WORDS[:2]:
        encoded = LAYOUT.encode(EXAMPLE.query, f"{text} Two plain words.", EXAMPLE.answer)
        yield encoded.ids[: encoded.end]


def test_every_nth_rewrite_is_scored_whole_and_tells_what_was_missed():
    _, _, *steps = run(searching(replace(SCREENED, audit=2)))
    [audited] = [step for step in steps if step.whole == "audit"]
    assert [step.whole for step in steps if step is not audited] == [None]
    assert [c.rejected for c in audited.candidates] == [None] * 4
    _, _, one, _ = run(searching(replace(SCREENED, audit=1)))
    assert (one.whole, one.kept) == ("audit", 3)
    assert missed(one, 2)
    assert [c.draft for c in one.candidates] == [2.5, 2.0, 3.5, 9.0]


def test_audits_fall_on_early_steps_too_and_on_no_other_operation():
    settings, usage = replace(SCREENED, audit=10), Usage()

    def at(n, *operations):
        state = State()
        state.steps = [Step(segment=0, operation=op, before="", candidates=(), kept=None, nll=1.0, usage=usage)
                       for op in operations]  # fmt: skip
        return audits(state, settings, 0, f"p{n}")

    assert 20 < sum(at(n) for n in range(300)) < 45  # the first rewrite of one in ten
    assert [at(n, "delete", "merge") for n in range(50)] == [at(n) for n in range(50)]
    assert not any(at(n) and at(n, "rewrite") for n in range(50))


def test_what_an_audit_misses_by_hand():
    def audited(kept, *drafts):
        candidates = tuple(Candidate(f"c{n}", 1.0, draft=draft) for n, draft in enumerate(drafts))
        return Step(segment=0, operation="rewrite", before="", candidates=candidates, kept=kept, nll=1.0,
                    whole="audit", usage=Usage())  # fmt: skip

    assert missed(audited(2, 1.0, 2.0, 3.0), keep=2)
    assert not missed(audited(2, 1.0, 2.0, 3.0), keep=3)
    assert not missed(audited(1, 2.0, 2.0, 2.0), keep=2)  # of equals the earlier ones pass
    assert missed(audited(2, 2.0, 2.0, 2.0), keep=2)
    assert not missed(audited(None, 1.0, 2.0, 3.0), keep=1)  # nobody won


@pytest.mark.parametrize("cut", range(5))
def test_it_resumes_at_every_event_with_the_same_events(cut):
    whole = run(searching(replace(SCREENED, audit=2)))
    assert run(searching(replace(SCREENED, audit=2)), whole[:cut]) == whole[cut:]


def test_a_pair_that_is_too_long_for_the_draft_is_scored_whole():
    draft = Draft()
    draft.max_length = 50
    _, _, one, two = run(searching(draft=draft))
    assert (one.whole, two.whole, draft.calls) == ("too_long", "too_long", 0)
    assert (one.kept, [c.rejected for c in one.candidates]) == (3, [None] * 4)


def test_a_text_that_the_drafts_tokenizer_does_not_take_is_left_to_the_scorer():
    _, _, one, _ = run(searching(rewrites=[*WORDS[:3], "One good good good <|draft|> plan."]))
    assert (one.whole, one.kept) == ("not_taken", 3)


@pytest.mark.parametrize("fault", [Unanswered("the server is gone"), ModelError("the server is gone"),
                                   RuntimeError("the server is gone")])  # fmt: skip
def test_a_draft_that_fails_is_told_once_and_everything_is_scored(caplog, fault):
    class Failing(Draft):
        def _score(self, request):
            raise fault

    draft = Failing()
    with caplog.at_level(logging.WARNING):
        _, _, one, two = run(searching(draft=draft))
    assert (one.whole, two.whole, one.kept) == ("failed", "failed", 3)
    assert draft.calls <= 4  # it is not asked again
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "the draft failed (the server is gone)"
    ]


def test_a_draft_that_cannot_rank_now_and_then_is_asked_again_three_in_a_row_and_it_is_not(caplog):
    class Failing(Draft):
        def _score(self, request):
            raise BackendError("no number")

    async def ranked(times):
        return [(await search.screen.rank(EXAMPLE, WORDS, 2, audit=False)).whole for _ in range(times)]

    draft = Failing()
    search = searching(draft=draft)
    assert asyncio.run(ranked(2)) == ["failed"] * 2
    assert not search.screen.failed
    search.screen.draft.scorer = Draft()
    assert asyncio.run(ranked(1)) == [None]
    search.screen.draft.scorer = draft
    assert asyncio.run(ranked(4)) == ["failed"] * 4
    assert draft.calls == 5 * 4
    assert caplog.text.count("the draft failed (no number)") == 1


@pytest.mark.parametrize(
    ("search", "draft", "words"),
    [
        ({"screen": 9}, True, "search.screen=9 is more than there are candidates"),
        ({"screen": 2}, False, "search.screen=2 needs a draft"),
        ({}, True, "backend@draft is given, but nothing asks it"),
        ({"audit": 2}, False, "nothing to audit"),
        ({"screen": 2, "accept": "random"}, True, "has no sense"),
        ({"multi_start": 5, "first_samples": 4}, False, "only 4 first drafts"),
    ],
)
def test_settings_that_contradict_each_other_are_one_sentence(search, draft, words):
    config = SynthesizeConfig(search=SearchConfig(**search), draft=FakeBackendConfig() if draft else None)
    with pytest.raises(ConfigError, match=words) as found:
        check(config)
    assert "\n" not in str(found.value)


def test_what_fits_is_taken():
    check(SynthesizeConfig(search=SearchConfig(screen=2, audit=5), draft=FakeBackendConfig()))
    check(SynthesizeConfig())


def test_draft_and_scorer_are_asked_without_waiting_for_each_other():
    """While the draft ranks one pair, the scorer scores another: each holds on until the other is at work too."""
    at_work = {"draft": asyncio.Event(), "scorer": asyncio.Event()}

    class Meeting:
        def __init__(self, own, other, inner):
            self.own, self.other, self.inner = own, other, inner
            self.tokenizer, self.max_length = inner.tokenizer, inner.max_length

        async def score(self, requests):
            if self.own == "draft" or b"Two good" in bytes(i for i in requests[0].ids if i < 256):
                at_work[self.own].set()
                await asyncio.wait_for(at_work[self.other].wait(), 5)
            return await self.inner.score(requests)

    search = searching(draft=Meeting("draft", "scorer", Draft()), scorer=Meeting("scorer", "draft", Table()))

    async def both():
        ranking = search.screen.rank(EXAMPLE, WORDS, 2, audit=False)
        scoring = Measure(search.scorer, LAYOUT, SCREENED).scores(EXAMPLE, ["Two good words."])
        return await asyncio.gather(ranking, scoring)

    ranked, [scored] = asyncio.run(both())
    assert ranked.sent == tuple(WORDS[:2])
    assert scored.score.nll == 2.5
