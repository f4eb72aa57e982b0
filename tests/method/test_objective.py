"""What a search minimises: the authors' objective, which leaves tokens out, and probabilities in place of nats."""

import asyncio
import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reer.backend.fake import FakeGenerator, FakeScorer, FakeTokenizer
from reer.config import FakeBackendConfig, ObjectiveConfig, SearchConfig, SegmentConfig
from reer.errors import ConfigError
from reer.layout import Layout
from reer.method.objective import SEGMENT, opening_of, skipped_tokens
from reer.method.prompts import load_set
from reer.method.propose import Proposer
from reer.method.search import Search
from reer.method.state import State
from reer.types import Example

SKIP = ObjectiveConfig(skip_opening=True)
LONG, LONGER = "Rain fell. " * 10, "Snow came down in the night. " * 5  # 110 and 145 characters
SHORT = "A door opened."


@pytest.mark.parametrize(
    ("answer", "opening"),
    [
        (f"{LONG}\n\n{LONGER}", f"{LONG}\n\n"),
        (f"{LONG}\n \n\n{LONGER}\n\n{LONGER}", f"{LONG}\n \n\n"),
        (LONGER * 3, LONGER * 3),
        (f"{SHORT}\n\n{SHORT}\n\n{LONG}\n\n{LONGER}", f"{SHORT}\n\n{SHORT}\n\n{LONG}\n\n"),
        (f"{LONG}\n\n{SHORT}", f"{LONG}\n\n{SHORT}"),
        (f"{LONG}\n\n{LONGER}\n\n{SHORT}", f"{LONG}\n\n"),
        (f"{LONG}\n\n" + f"{SHORT}\n\n" * 8, f"{LONG}\n\n"),
        (SHORT, SHORT),
        (f"{LONG}\n{LONGER}", f"{LONG}\n"),
        (f"{SHORT}\n{SHORT}\n{LONG}\n{LONGER}", f"{SHORT}\n{SHORT}\n{LONG}\n"),
        (f"{LONG}\n{LONGER}\n\n{SHORT}", f"{LONG}\n"),
        (f"\n\n{LONG}\n\n{LONGER}", f"\n\n{LONG}\n\n"),
        ("雪" * 99 + "\n\n" + "山" * 100 + "\n\n" + "水" * 100, "雪" * 99 + "\n\n" + "山" * 100 + "\n\n"),
        ("雪" * 100 + "\n\n" + "山" * 99, "雪" * 100 + "\n\n" + "山" * 99),
    ],
    ids=[
        "two paragraphs", "wide gap", "one paragraph is all", "short ones join the next", "a short rest is not alone",
        "a short last one belongs to the second", "short ones make a rest together", "a line",
        "lines where nothing is blank", "short lines join the next", "one paragraph by blank lines: lines",
        "leading lines", "99 characters are too few", "a rest of 99 is short",
    ],
)  # fmt: skip
def test_the_opening_is_the_authors_first_segment(answer, opening):
    assert opening_of(answer) == opening


@given(st.lists(st.sampled_from([LONG, SHORT, "\n", "\n\n", " ", "雪夜。"]), max_size=12).map("".join))
def test_an_opening_begins_the_answer_and_leaves_a_whole_segment_or_nothing(answer):
    opening = opening_of(answer)
    assert answer.startswith(opening)
    assert opening == answer or min(len(opening.strip()), len(answer[len(opening) :].strip())) >= SEGMENT


def test_nothing_is_left_out_by_default():
    assert skipped_tokens(f"{LONG}\n\n{LONGER}", FakeTokenizer(), ObjectiveConfig(clip=2.0)) == 0


def test_the_tokens_of_the_opening_are_left_out():
    assert skipped_tokens(f"{LONG}\n\n{LONGER}", FakeTokenizer(), SKIP) == 112


@pytest.mark.parametrize("answer", [SHORT, LONGER, "x", f"{LONG}\n\n{SHORT}"])
def test_an_answer_of_one_segment_keeps_its_last_token(answer):
    assert skipped_tokens(answer, FakeTokenizer(), SKIP) == len(answer) - 1


def test_a_token_that_crosses_the_border_counts():
    class Words(FakeTokenizer):
        """One token for every word, and for the two line breaks together with the word after them."""

        def encode(self, text):
            return tuple(hash(word) for word in text.split(" "))

    text = f"{LONG.strip()}\n\n{LONGER.strip()}"
    assert skipped_tokens(text, Words(), SKIP) == len(LONG.split()) - 1


PAIR = Example(
    id="e",
    query="Write about a ferry that leaves before dawn, with three passengers and one secret.",
    answer="The ferry slid from the quay before anybody had counted the passengers.\n\nThree, the boy said.",
)


def searched(recorded=(), **changes):
    """The events of a search of the fake backend, and how often each kind of request was scored."""
    kinds = Counter()

    class Noting(FakeScorer):
        def _score(self, request):
            kinds[request.kind] += 1
            return super()._score(request)

    config = SearchConfig(segment=SegmentConfig(min_tokens=20, max_tokens=200), **changes)
    scorer = Noting(FakeBackendConfig())
    layout = Layout("think", scorer.tokenizer)
    proposer = Proposer(FakeGenerator(FakeBackendConfig()), lambda _: load_set("standard", "en"), layout, config, 5)

    async def collect():
        return [event async for event in Search(proposer, scorer, layout, config).run(PAIR, recorded)]

    return asyncio.run(collect()), kinds


def test_probabilities_decide_at_every_step_and_the_nll_is_recorded_beside_them():
    probable = {"objective": ObjectiveConfig(kind="mean_prob"), "threshold": 0.0}
    whole, kinds = searched(**probable)
    assert kinds.keys() == {"mean_prob"}
    for event in whole:
        assert event.objective == pytest.approx(1 - math.exp(-event.nll))  # of the fake scorer, which has one number
    values = [event.objective for event in whole]
    assert values[1:] == sorted(values[1:], reverse=True)
    assert values[-1] < values[0]
    for cut in range(len(whole)):
        assert searched(whole[:cut], **probable)[0] == whole[cut:]


@pytest.mark.parametrize("kind", ["mean_nll", "mean_prob"])
def test_a_search_stops_once_it_has_gained_the_share_that_was_asked_for(kind):
    settings = {"objective": ObjectiveConfig(kind=kind), "threshold": 0.0}
    whole, _ = searched(**settings)
    gains = [State.of(whole[:n]).relative_gain for n in range(2, len(whole) + 1)]
    assert gains[0] < gains[-1]
    for wanted in (gains[0] + 1e-9, gains[-1]):
        [stopped, _] = searched(relative_threshold=wanted, **settings)
        reached = next(n for n, gain in enumerate(gains, start=2) if gain >= wanted)
        assert stopped == whole[:reached]
    assert searched(relative_threshold=1.0, **settings)[0] == whole


def test_an_unknown_objective_is_refused():
    with pytest.raises(ConfigError, match=r"search.objective.kind=probability is unknown: .* mean_nll, mean_prob"):
        searched(objective=ObjectiveConfig(kind="probability"))
