"""The same ids under the same weights are scored once; whatever happens to the file, scores stay right."""

import asyncio
import logging

import pytest

from reer.backend import build_scorer
from reer.backend.cache import CachedScorer
from reer.backend.fake import FakeScorer
from reer.backend.packed.scorer import PackedScorer
from reer.config import FakeBackendConfig, HFBackendConfig, ModelConfig
from reer.types import ScoreRequest


class Counting(FakeScorer):
    def __init__(self):
        super().__init__(FakeBackendConfig())
        self.asked = []

    async def score(self, requests):
        self.asked += requests
        return await super().score(requests)


def request(text, **changes):
    ids = tuple(text.encode())
    return ScoreRequest(**{"ids": ids, "start": 3, "end": len(ids)} | changes)


def score(scorer, *requests):
    return asyncio.run(scorer.score(list(requests)))


A, B = request("the rain fell"), request("the rain came")


def test_a_repeat_is_not_scored_again_and_reports_what_it_once_cost(tmp_path):
    first = score(CachedScorer(Counting(), "m", tmp_path / "c" / "cache.db"), A, B, A)
    inner = Counting()
    later = score(CachedScorer(inner, "m", tmp_path / "c" / "cache.db"), B, A)
    assert inner.asked == []
    assert [later[1], later[0], later[1]] == first
    inner = Counting()
    score(CachedScorer(inner, "m", tmp_path / "fresh.db"), A, A, B)
    assert inner.asked == [A, B]


def test_a_score_in_parts_is_not_kept_and_not_taken_for_one_without(tmp_path):
    parted = request("the rain fell", cuts=(4,))
    for _ in range(2):
        inner = Counting()
        [whole, in_parts] = score(CachedScorer(inner, "m", tmp_path / "cache.db"), A, parted)
        assert parted in inner.asked
        assert (len(in_parts.score.parts), whole.score.parts) == (2, ())


@pytest.mark.parametrize(
    "other",
    [request("the rain fall"), request("the rain fell", start=4), request("the rain fell", end=9),
     request("the rain fell", skip=2), request("the rain fell", clip=2.0), request("the rain fell", kind="mean_prob")],
    ids=["ids", "start", "end", "skip", "clip", "kind"],
)  # fmt: skip
def test_whatever_changes_the_number_is_another_entry(tmp_path, other):
    score(CachedScorer(Counting(), "m", tmp_path / "cache.db"), A)
    for identity, asked in (("m", other), ("other weights", A)):
        inner = Counting()
        score(CachedScorer(inner, identity, tmp_path / "cache.db"), asked)
        assert inner.asked == [asked]


def test_what_follows_the_span_does_not_matter(tmp_path):
    score(CachedScorer(Counting(), "m", tmp_path / "cache.db"), request("the rain fell", end=8))
    inner = Counting()
    score(CachedScorer(inner, "m", tmp_path / "cache.db"), request("the rain came", end=8))
    assert inner.asked == []


@pytest.mark.parametrize("fault", ["no folder", "no database", "dropped"])
def test_a_file_that_cannot_be_used_costs_a_warning_and_no_score(tmp_path, fault, caplog):
    path = tmp_path / "cache.db"
    if fault == "no folder":
        (tmp_path / "file").write_text("")
        path = tmp_path / "file" / "cache.db"
    elif fault == "no database":
        path.write_text("This is no database. " * 100)
    scorer = CachedScorer(Counting(), "m", path)
    if fault == "dropped":
        scorer._table._db.execute("DROP TABLE scores")
    with caplog.at_level(logging.WARNING):
        assert score(scorer, A, B) == score(Counting(), A, B)
        assert score(scorer, A) == score(Counting(), A)
    assert caplog.text.count("scores are made anew") <= 1


def test_a_model_with_a_name_is_remembered_where_the_config_says_so(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setenv("REER_CACHE", str(tmp_path))
    model = ModelConfig(path=str(tiny_model), device="cpu")
    assert isinstance(build_scorer(HFBackendConfig(model=model)), PackedScorer)
    remembered = build_scorer(HFBackendConfig(model=model, score_cache=True))
    ids = remembered.tokenizer.encode("the rain fell on the roof")
    [one] = score(remembered, ScoreRequest(ids, 3, len(ids)))
    [two] = score(build_scorer(HFBackendConfig(model=model, score_cache=True)), ScoreRequest(ids, 3, len(ids)))
    assert two.score == one.score
    assert (one.usage.seconds > 0, two.usage.seconds) == (True, 0.0)
