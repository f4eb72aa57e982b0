"""The search itself, with scripted proposals and a scorer whose numbers are known."""

import asyncio
from dataclasses import replace

import pytest
from searching import EXAMPLE, SETTINGS, Script, Table, run, searching

from reer.config import LeakConfig, ObjectiveConfig, SearchConfig, SegmentConfig
from reer.errors import BackendError, ExampleError, Unanswered
from reer.method.state import State
from reer.types import Baseline, Example, Failed, First, Score, Scored, Step, Usage


class Disagreeing(Table):
    """The objective falls with every `good`, and the NLL rises with it."""

    def __init__(self):
        super().__init__()
        self.requests = []

    def _score(self, request):
        self.requests.append(request)
        found = super()._score(request)
        score = Score(6.0 - found.score.nll, found.score.tokens, found.score.nll / 2)
        return Scored(score, found.usage)


SCRIPT = {
    "first": ["One bad plan here. Two plain words.", "One plan here now. Two plain words."],
    "rewrites": {
        "One plan here now.": ["One good plan here.", "One bad plan."],
        "Two plain words.": ["Two bad words.", "Two worse bad words."],
    },
}


def test_every_score_is_kept_only_if_it_is_lower():
    baseline, first, one, two = run(searching(Script(**SCRIPT)))
    assert isinstance(baseline, Baseline)
    assert baseline.nll == 3.0
    assert baseline.answer_tokens == len(EXAMPLE.answer)
    assert isinstance(first, First)
    assert (first.kept, first.nll, first.segments) == (1, 3.0, ("One plan here now. ", "Two plain words."))
    assert isinstance(one, Step)
    assert (one.kept, one.nll, [c.nll for c in one.candidates]) == (0, 2.5, [2.5, 3.5])
    assert (two.kept, two.nll) == (None, 2.5)
    state = State.of([baseline, first, one, two])
    assert state.trajectory.text == "One good plan here. Two plain words."
    assert state.nll == 2.5
    assert state.rejections_in_a_row == 1


@pytest.mark.parametrize("cut", range(5))
def test_recorded_events_are_continued_not_repeated(cut):
    whole = run(searching(Script(**SCRIPT)))
    assert run(searching(Script(**SCRIPT)), whole[:cut]) == whole[cut:]


def test_it_stops_at_the_threshold_the_step_cap_and_when_patience_ends():
    def steps(**changes):
        settings = SearchConfig(**(vars(SETTINGS) | changes))
        return len(run(searching(Script(**SCRIPT), settings))) - 2

    assert steps(threshold=2.6) == 1
    assert steps(max_steps=1) == 1
    assert steps(max_steps=0) == 0
    still = Script(SCRIPT["first"], {s: ["Two bad words."] * 2 for s in SCRIPT["rewrites"]})
    assert len(run(searching(still, SearchConfig(**(vars(SETTINGS) | {"patience": 1}))))) - 2 == 1


def test_unusable_proposals_carry_their_reason_and_are_never_scored():
    copied = "good good good rain fell on the tin roof"
    script = Script(["One plan here.", "</think> good good"], {"One plan here.": [copied, "One plan here."]})
    scorer = Table()
    _, first, step = run(searching(script, scorer=scorer))
    assert [c.rejected for c in first.candidates] == [None, "tags"]
    assert [c.rejected for c in step.candidates] == ["leak", "identical"]
    assert step.kept is None
    assert scorer.calls == 2  # the baseline and one first trajectory


def test_a_copy_is_accepted_with_the_guard_off():
    copied = "good good good rain fell on the tin roof"
    script = Script(["One plan here.", "One plan here."], {"One plan here.": [copied, "One plan here."]})
    settings = SearchConfig(**(vars(SETTINGS) | {"leak": LeakConfig(enabled=False)}))
    assert run(searching(script, settings))[2].kept == 0


def test_equal_proposals_are_scored_once():
    script = Script(["One plan here."] * 2, {"One plan here.": ["One good plan."] * 2})
    scorer = Table()
    run(searching(script, scorer=scorer))
    assert scorer.calls == 3


def test_a_failed_score_is_a_reason_not_a_number():
    script = Script(["One plan here."] * 2, {"One plan here.": ["explode good good", "One good plan."]})
    step = run(searching(script))[2]
    assert step.candidates[0].nll is None
    assert step.candidates[0].rejected == "not_scored: no finite log-probability"
    assert step.kept == 1


class Away(Table):
    """A server that does not answer where a text holds `explode`, or at all."""

    def __init__(self, alone, word="explode"):
        super().__init__()
        self.alone, self.word = alone, word

    def _score(self, request):
        if self.word in bytes(i for i in request.ids[: request.start] if i < 256).decode():
            raise Unanswered("gone", alone=self.alone)
        return super()._score(request)


def test_a_step_is_not_decided_without_a_candidate_that_nobody_could_score():
    """The next run scores it; where the server answered others meanwhile, it is this text that it cannot stand."""
    script = Script(["One plan here."] * 2, {"One plan here.": ["explode good good", "One good plan."]})
    with pytest.raises(Unanswered):
        run(searching(script, scorer=Away(alone=False)))
    step = run(searching(script, scorer=Away(alone=True)))[2]
    assert [one.rejected for one in step.candidates] == ["not_scored: gone", None]


@pytest.mark.parametrize("alone", [False, True])
def test_a_pair_whose_answer_nobody_could_score_is_not_given_up(alone):
    script = Script(["One plan here."] * 2, {})
    with pytest.raises(Unanswered):
        run(searching(script, scorer=Away(alone, word="Write.")))


CLIPPED = SearchConfig(**(vars(SETTINGS) | {"objective": ObjectiveConfig(clip=2.0, skip_opening=True)}))


def test_an_objective_decides_and_the_nll_recorded_beside_it_is_the_raw_one():
    script = Script(["One bad plan here.", "One plan here."], {"One plan here.": ["One bad plan.", "One good plan."]})
    scorer = Disagreeing()
    whole = run(searching(script, CLIPPED, scorer))
    baseline, first, step = whole
    assert (baseline.nll, baseline.objective) == (3.0, 1.5)
    assert [(c.nll, c.objective) for c in first.candidates] == [(2.5, 1.75), (3.0, 1.5)]
    assert (first.kept, first.nll, first.objective) == (1, 3.0, 1.5)
    assert [(c.nll, c.objective) for c in step.candidates] == [(2.5, 1.75), (3.5, 1.25)]
    assert (step.kept, step.nll, step.objective) == (1, 3.5, 1.25)
    state = State.of(whole)
    assert (state.nll, state.value) == (3.5, 1.25)
    # one line of 36 bytes: the authors' rule leaves its last token
    assert {(r.skip, r.clip, r.kind) for r in scorer.requests} == {(len(EXAMPLE.answer) - 1, 2.0, "mean_nll")}
    for cut in range(4):
        assert run(searching(script, CLIPPED, Disagreeing()), whole[:cut]) == whole[cut:]


def test_what_is_not_kept_leaves_the_objective_as_it_was_and_the_threshold_is_one_of_the_objective():
    script = Script(["One good plan."] * 2, {"One good plan.": ["One plan.", "One bad plan."]})
    step = run(searching(script, CLIPPED, Disagreeing()))[2]
    assert (step.kept, step.nll, step.objective) == (None, 3.5, 1.25)
    below = SearchConfig(**(vars(CLIPPED) | {"threshold": 1.3}))
    assert len(run(searching(script, below, Disagreeing()))) == 2
    above = SearchConfig(**(vars(CLIPPED) | {"threshold": 1.2}))
    assert len(run(searching(script, above, Disagreeing()))) == 3


def test_without_an_objective_nothing_is_skipped_or_clipped():
    class Plain(Table):
        def _score(self, request):
            assert not request.has_objective
            return super()._score(request)

    assert {event.objective for event in run(searching(Script(**SCRIPT), scorer=Plain()))[1:]} == {None}


def editing(words, **changes):
    """Segments with a model that has nothing new to say, so that only edits can change something."""
    texts = [f"{word} stands here.\n\n" for word in words]
    rewrites = {text.strip(): [text.strip()] * 2 for text in [*texts, "Good stands here. Bad stands here."]}
    script = Script(["".join(texts).strip()] * 2, rewrites)
    settings = SearchConfig(**(vars(SETTINGS) | {"edits": ["delete", "merge"]} | changes))
    return searching(script, settings)


def test_a_segment_is_deleted_if_the_answer_is_likelier_without_it():
    whole = run(editing(["One", "bad", "Two"]))
    taken = [(e.segment, e.operation, e.kept) for e in whole[2:]]
    assert taken == [
        (0, "rewrite", None), (0, "delete", None), (0, "merge", None),
        (1, "rewrite", None), (1, "delete", 0),
        (1, "rewrite", None), (1, "delete", None),
    ]  # fmt: skip
    state = State.of(whole)
    assert state.trajectory.text == "One stands here.\n\nTwo stands here."
    assert (state.nll, state.ids) == (3.0, (0, 2))


def test_a_deletion_at_the_end_leaves_no_white_space_and_an_only_segment_stays():
    assert State.of(run(editing(["One", "bad"]))).trajectory.text == "One stands here."
    only = run(editing(["bad"]))
    assert [step.operation for step in only[2:]] == ["rewrite"]


def test_a_merge_that_helps_makes_one_paragraph_of_two():
    class Joined(Table):
        def _score(self, request):
            joined = b"here. Bad" in bytes(i for i in request.ids if i < 256)
            return Scored(Score(2.0 if joined else 3.0, 9), Usage(calls=1))

    search = editing(["Good", "Bad", "Last"], edits=["merge"])
    search.scorer = Joined()
    whole = run(search)
    assert State.of(whole).trajectory.segments == ("Good stands here. Bad stands here.\n\n", "Last stands here.")
    taken = [(e.segment, e.operation, e.kept) for e in whole[2:]]
    assert taken == [(0, "rewrite", None), (0, "merge", 0), (1, "rewrite", None)]
    assert whole[3].before == "Good stands here.\n\nBad stands here.\n\n"


def test_sentences_of_one_paragraph_are_not_merged_and_an_edit_asks_no_generator():
    search = editing(["One", "Two"], segment=SegmentConfig(min_tokens=5, max_tokens=20))
    search.proposer.generator.first = ["One stands here. Two stands here."] * 2
    steps = [(e.segment, e.operation) for e in run(search)[2:]]
    assert steps == [(0, "rewrite"), (0, "delete"), (1, "rewrite"), (1, "delete")]
    assert len(search.proposer.generator.requests) == 1 + 2  # the first trajectories, and a rewrite of each segment


@pytest.mark.parametrize(("limit", "rounds"), [(0.5, 1), (5.0, 1), (5.1, 2), (7.0, 2), (7.1, 3), (99.0, 5)])
def test_a_budget_ends_the_rounds_of_first_trajectories_where_it_is_nearest(limit, rounds):
    class Slow(Table):
        """The baseline takes two seconds, and so does the score of each round."""

        def _score(self, request):
            return Scored(super()._score(request).score, Usage(calls=1, seconds=2.0))

    changes = {"first_samples": 1, "first_rounds": 5, "max_steps": 0, "max_seconds": limit}
    settings = SearchConfig(**(vars(SETTINGS) | changes))
    first = run(searching(Script(["One plan here."], {}), settings, Slow()))[1]
    assert len(first.candidates) == rounds
    assert first.usage.seconds == 2.0 * rounds


def test_a_later_draw_rescues_an_example_and_more_rounds_than_attempts_are_all_drawn():
    class Late(Script):
        def _texts(self, request):
            return self.first if len(self.requests) == 3 else ["", "</think>"]

    script = Late(["One plan here.", "One good plan here."], {})
    settings = SearchConfig(**(vars(SETTINGS) | {"max_steps": 0}))
    first = run(searching(script, settings))[1]
    assert ([c.rejected for c in first.candidates], first.kept) == (["empty", "tags", "empty", "tags", None, None], 5)
    more = SearchConfig(**(vars(SETTINGS) | {"first_rounds": 5}))
    with pytest.raises(ExampleError, match="no usable first trajectory in 10 draws"):
        run(searching(Script(["</think>", ""], {}), more))
    with pytest.raises(ExampleError, match="no usable first trajectory in 6 draws"):  # three attempts, then the budget
        run(searching(Script(["</think>", ""], {}), replace(more, max_tokens=1)))


def test_without_a_usable_first_trajectory_the_example_is_refused_with_the_reasons():
    script = Script(["</think>", ""], {})
    with pytest.raises(ExampleError, match=r"no usable first trajectory in 6 draws \(empty, tags\)"):
        run(searching(script))
    assert len({seed for request in script.requests for seed in request.seeds}) == 6


def test_an_example_whose_every_draw_failed_is_no_refused_one():
    class Away(Script):
        async def generate(self, requests):
            kinds = ("no_json: <html>", "refused: no", "broken_off: abort")
            return [[Failed(faults=(kinds[seed % 3],)) for seed in r.seeds] for r in requests]

    with pytest.raises(BackendError, match=r"no usable first trajectory in 6 draws \(.*refused: no"):
        run(searching(Away([], {})))


def test_draws_that_failed_are_candidates_with_their_reasons():
    class Shaky(Script):
        async def generate(self, requests):
            [drawn] = await super().generate(requests)
            return [[replace(drawn[0], faults=("no_json: <html>",)), Failed(faults=("no_text: {}", "refused: no"))]]

    settings = SearchConfig(**(vars(SETTINGS) | {"max_steps": 0}))
    first = run(searching(Shaky(["One plan here.", "Another plan."], {}), settings))[1]
    assert [c.rejected for c in first.candidates] == [None, "refused: no", "no_json: <html>", "no_text: {}"]
    assert first.kept == 0


def test_a_pair_that_cannot_be_laid_out_is_refused():
    async def first():
        broken = Example(id="e", query="q", answer="y <|end|>")
        return [event async for event in searching(Script(**SCRIPT)).run(broken)]

    with pytest.raises(ExampleError, match="control token"):
        asyncio.run(first())
