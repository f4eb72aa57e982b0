"""Drafts put together passage by passage: whose piece is taken, what it costs, and what is refused."""

import asyncio
import re
from dataclasses import replace
from itertools import product

import pytest
from searching import EXAMPLE, LAYOUT, SETTINGS, Table

from reer.errors import ConfigError
from reer.method.policy import Pool
from reer.method.prompts import Prompt, PromptSet
from reer.method.propose import Proposal, Proposer
from reer.method.search import Search
from reer.types import Response, Score, Scored, Usage

PAIR = replace(EXAMPLE, answer="Snow came down. Wind rose up.")
DRAWN = {"I open": ["I open one.", "I open four."], "I end": ["I end three.", "I end two."]}
NATS = {"one": 1.0, "two": 2.0, "three": 3.0, "four": 4.0}
"""Of the passage in whose place such a piece stands; a passage without one has 5."""


def drafted(*pieces):
    return Proposal(" ".join(filter(None, pieces)), pieces=pieces)


def pool(*drafts):
    """Of two passages; each draft with the nats of both."""
    made = Pool(["Snow came down. ", "Wind rose up."], len)
    made.add([draft for draft, _ in drafts])
    made.scores |= {draft.text: Score(sum(nats) / 9, 9, parts=nats) for draft, nats in drafts}
    return made


def test_each_place_has_the_piece_whose_own_passage_is_likeliest():
    made = pool((drafted("a", "b"), (2.0, 9.0)), (drafted("c", "d"), (3.0, 4.0)))
    assert (made.cuts, made.likeliest()) == ((16,), ("a", "d"))


def test_what_stands_in_several_drafts_counts_by_its_mean_and_what_was_not_scored_not_at_all():
    made = pool((drafted("a", "b"), (1.0, 5.0)), (drafted("a", "d"), (5.0, 6.0)), (drafted("c", ""), (2.0, 1.0)))
    made.add([drafted("z", "z")])
    assert made.likeliest() == ("c", "b")
    assert Pool(["One.", "Two."], len).likeliest() == ("", "")


class ByPassage:
    """Two draws of a piece for each place."""

    async def generate(self, requests):
        return [[Response(text=text.removeprefix(r.prefill), finish_reason="stop") for text in DRAWN[r.prefill]]
                for r in requests]  # fmt: skip


class Passages(Table):
    """Nats by the pieces that stand in the two places; the sum is that of the whole."""

    def _score(self, request):
        before = bytes(i for i in request.ids[: request.start] if i < 256).decode()
        nats = tuple(NATS[found[1]] if (found := re.search(rf"I {place} (\w+)", before)) else 5.0
                     for place in ("open", "end"))  # fmt: skip
        tokens = request.end - request.start
        parts = nats if request.cuts else ()
        return Scored(Score(sum(nats) / tokens, tokens, parts=parts), Usage(calls=1, scored_tokens=tokens))


def search(**changes):
    settings = replace(SETTINGS, **{"max_steps": 0, "compose": True} | changes)
    rewrite = Prompt("{query}{answer}{before}{segment}{after}", (), None)
    prompts = PromptSet(Prompt("{part}", ("I open", "I end"), None), rewrite, "")
    return Search(
        Proposer(ByPassage(), lambda language: prompts, LAYOUT, settings, seed=1), Passages(), LAYOUT, settings
    )


def first(searching, example=PAIR):
    async def collect():
        return [event async for event in searching.run(example)]

    return asyncio.run(collect())[1]


def test_the_best_pieces_of_all_drafts_are_scored_once_more_and_win_by_their_own_score():
    found = first(search())
    texts = ["I open one. I end three.", "I open four. I end two.", "I open one. I end two."]
    assert [candidate.text for candidate in found.candidates] == texts
    tokens = len(PAIR.answer)
    assert [round(candidate.nll * tokens) for candidate in found.candidates] == [4, 6, 3]
    assert (found.kept, found.usage.scored_tokens) == (2, 3 * tokens)
    assert len(first(search(compose=False)).candidates) == 2


def test_what_is_a_draft_already_is_not_scored_again():
    again = first(search(first_rounds=3))  # the same draws each time, and the same pieces are the best of them
    assert [candidate.text for candidate in again.candidates].count("I open one. I end two.") == 1


def test_what_is_a_draft_already_that_a_screen_held_back_is_scored():
    searching = search()
    held = searching._pool(PAIR)
    drafts = [drafted(*pieces) for pieces in product(("I open one.", "I open four."), ("I end three.", "I end two."))]
    held.add(drafts)
    held.asked |= {drafts[0].text, drafts[3].text}
    held.scores |= {drafts[0].text: Score(0.0, 9, parts=(1.0, 3.0)), drafts[3].text: Score(0.0, 9, parts=(4.0, 2.0))}
    [candidate], spent = asyncio.run(searching._composed(PAIR, held))
    assert (candidate.text, spent.calls) == (drafts[1].text, 1) == ("I open one. I end two.", 1)
    assert asyncio.run(searching._composed(PAIR, held)) == ([], Usage())


def test_what_copies_the_answer_once_it_is_put_together_is_refused():
    leaking = search(leak=replace(SETTINGS.leak, longest_run=1))
    found = first(leaking, replace(PAIR, answer="Open one came down. I end two."))
    assert found.candidates[-1].rejected == "leak"


def test_an_answer_of_one_passage_is_searched_as_without():
    assert len(first(search(), replace(PAIR, answer="Snow came down.")).candidates) == 2


@pytest.mark.parametrize("changes", [{"start": "skeleton"}, {}])
def test_drafts_that_are_not_drawn_by_passage_are_refused(changes):
    searching = search(**changes)
    whole = Prompt("{query}{answer}", (), None)
    if not changes:
        searching.proposer.prompts = lambda language: PromptSet(whole, whole, "")
    with pytest.raises(ConfigError, match="drawn passage by passage"):
        first(searching)
