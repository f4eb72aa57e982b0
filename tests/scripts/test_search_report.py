"""What scripts/search/search_results.py and scripts/search/search_report.py make of the files of a comparison."""

import importlib.util
import json
import random
import sys
from dataclasses import asdict
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest

from reer.run.ledger import Ledger
from reer.types import Attribution, Baseline, Candidate, First, Start, Step, Usage, Worth

SCRIPTS = Path(__file__).parents[2] / "scripts" / "search"


def load(name):
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # the report imports the results by this name
    spec.loader.exec_module(module)
    return module


results, report = load("search_results"), load("search_report")
suppression = load("suppression")


def result(none=3.0, first=2.9, final=2.8, **controls):
    row = {"id": "a", "thinking": "I begin.", "layout": "think", "steps": []}
    return results.Result(row, {"none": none, "first": first, "final": final, **controls}, np.zeros((1, 3)))


def named(*finals):
    return {str(n): result(final=final) for n, final in enumerate(finals)}


def test_interval_agrees_with_an_independent_bootstrap():
    values = [0.1 * n - 0.4 + 0.03 * (n % 3) for n in range(15)]
    draw = random.Random(7)
    means = sorted(fmean(draw.choices(values, k=len(values))) for _ in range(20_000))
    found = results.estimate(values)
    assert found.mean == pytest.approx(fmean(values))
    # expanded for few values: with 15, the tail is Phi(-sqrt(15 / 14) * 2.1448) = 1.32 % on either side
    assert found.low == pytest.approx(means[264], abs=0.01)
    assert found.high == pytest.approx(means[19_735], abs=0.01)
    assert results.estimate(values) == found


def test_presets_are_compared_on_the_pairs_both_have():
    mine = {"a": result(final=2.5), "b": result(final=2.0), "c": result(final=9.0)}
    theirs = {"b": result(final=2.25), "a": result(final=2.0), "d": result(final=1.0)}
    assert results.paired(mine, theirs) == [0.5, -0.25]


def test_a_difference_needs_both_numbers():
    found = {"a": result(other=3.5), "b": result()}
    assert results.differences(found, "other", "final") == [pytest.approx(0.7)]
    assert results.differences(found, "second none", "final") == []


@pytest.mark.parametrize("seed", [f"p{n}" for n in range(20)])
def test_shuffled_is_another_order_with_the_white_space_in_place(seed):
    segments = ["One.\n\n", "Two, ", "two. ", "Three."]
    mixed = results.shuffled(segments, seed)
    assert mixed != "".join(segments)
    assert sorted(mixed.split()) == sorted("".join(segments).split())
    assert mixed.count("\n\n") == 1
    assert not mixed.endswith(" ")
    assert results.shuffled(segments, seed) == mixed


def test_what_has_no_other_order_is_not_shuffled():
    assert results.shuffled(["Alone."], "p") is None
    assert results.shuffled(["Again. ", "Again."], "p") is None


def test_first_person_and_endings_are_shares_of_sentences():
    thinking = "I begin. He saw us! Dr. Illy met It in the US. Let’s end\nSo be it"
    assert results.first_person(thinking) == 3 / 5
    assert results.ended(thinking) == 3 / 5


def test_budget_sentence_names_who_is_off():
    equal = report.budget({"none": 10, "forward": 1000, "backward": 1040, "official": 951})
    assert "backward +4.0%, official −4.9% (all within ±5%)" in equal
    assert "(not within ±5%: official)" in report.budget({"forward": 1000, "backward": 1040, "official": 940})


def test_verdict_asks_for_both_rivals():
    low, high = named(1.0, 1.1, 1.2, 1.0), named(2.0, 2.1, 2.3, 2.0)
    assert "by: backward." in report.verdict({"forward": high, "best_of_n": high, "backward": low})
    told = report.verdict({"forward": low, "best_of_n": high, "backward": low})
    assert "by: no other preset. Between the two: forward beats best_of_n." in told


def usage(tokens, seconds):
    return Usage(generated_tokens=tokens // 2, scored_tokens=tokens - tokens // 2, seconds=seconds)


EVENTS = [
    Baseline(nll=3.0, answer_tokens=9, usage=usage(10, 1.0)),
    First(
        candidates=(Candidate("x", None, "leak"), Candidate("y", 2.9), Candidate("z", 2.95), Candidate("v", 2.5)),
        kept=3, segments=("a",), nll=2.5, usage=usage(40, 4.0),
    ),
    Attribution(changes=(0.1,), usage=usage(5, 0.5)),
    Step(segment=0, operation="rewrite", before="a", candidates=(), kept=0, nll=2.4, usage=usage(20, 2.0)),
    Worth(removals=(0.1,), usage=usage(1000, 9.0)),
]  # fmt: skip


def test_path_adds_up_what_the_events_cost():
    path = results.path_of((type(event).__name__, asdict(event)) for event in EVENTS)
    assert path[:, 0].tolist() == [0, 10, 20, 30, 40, 50, 55, 75]
    assert path[:, 1] == pytest.approx([0, 1, 2, 3, 4, 5, 5.5, 7.5])
    assert path[:, 2] == pytest.approx([0, 0, 0, -0.1, -0.1, -0.5, -0.5, -0.6])


def test_path_of_several_starts_is_that_of_the_best():
    others = (Start(kept=0, segments=("b",), nll=2.6),)
    drawn, cost = (Candidate("x", 2.6), Candidate("y", 2.5)), usage(20, 2.0)
    first = First(candidates=drawn, kept=1, segments=("a",), nll=2.5, others=others, usage=cost)
    steps = [Step(segment=0, operation="rewrite", before="a", candidates=(), kept=0, nll=nll, start=start, usage=cost)
             for start, nll in ((1, 2.55), (0, 2.45), (1, 2.3), (0, 2.4))]  # fmt: skip
    events = [Baseline(nll=3.0, answer_tokens=9, usage=usage(10, 1.0)), first, *steps]
    path = results.path_of((type(event).__name__, asdict(event)) for event in events)
    assert path[-4:, 2] == pytest.approx([-0.5, -0.55, -0.7, -0.7])


def test_how_soon_the_others_stand_where_forward_ends():
    def ran(*points):
        return {"a": results.Result({}, {}, np.array([(0, 0, 0.0), *points]))}

    told = report.catching_up({
        "forward": ran((1000, 1, -0.2), (2000, 2, -0.4)),
        "draft4": ran((500, 1, -0.1), (1500, 2, -0.5)),
        "none": ran((100, 1, -0.1)),
    })  # fmt: skip
    assert told.endswith("where forward ends: draft4 0.75; never: none.")


def test_mean_curve_holds_the_last_value_of_a_search_that_is_over():
    long, short = np.array([[0, 0, 0.0], [100, 1, -1.0]]), np.array([[0, 0, 0.0], [50, 1, -3.0]])
    grid, mean = results.mean_curve([long, short], 0)
    assert (grid[0], grid[-1], mean[0], mean[-1]) == (0, 100, 0, -2)
    assert mean[np.searchsorted(grid, 75)] == -1.5


def test_a_torn_row_is_left_out(tmp_path):
    (tmp_path / "scores.jsonl").write_text('{"text": "a\u2028b"}\n{"a":', encoding="utf-8")
    assert results.read_rows(tmp_path / "scores.jsonl") == [{"text": "a\u2028b"}]
    assert results.read_rows(tmp_path / "none.jsonl") == []


def worth(blind):
    """Of three segments, of which one reflects; two are decorative."""
    counts = {"reflecting": {"segments": 1, "decorative": 1}, "plain": {"segments": 2, "decorative": 1}}
    drawn = [{"text": "z", "nll": blind, "rejected": None if blind else "leak"}]
    return {"a_lex": 0.25, "a_prob": 0.2, "blind": drawn, "decorative": counts}


@pytest.fixture
def folder(tmp_path):
    """A comparison of two presets on three pairs, as the searches leave it."""
    for preset, layout in (("forward", "think"), ("official", "answer_tags")):
        run = tmp_path / "unseen" / preset
        run.mkdir(parents=True)
        ledger = Ledger(run / "ledger.db")
        rows = []
        for name in "abc":
            for n, event in enumerate(EVENTS):
                ledger.commit(name, n, event)
            segments = [f"I say {name}. ", "I end."]
            rows.append({
                "id": name, "query": "q", "answer": "y", "thinking": "".join(segments), "segments": segments,
                "first": {"thinking": "I say.", "segments": ["I say."]}, "layout": layout, "domain": "fable",
                "nll": {"none": 3.0, "first": 2.5, "final": 2.4}, "language": "en",
                "leak": {"longest_run": 3, "containment": 0.25},
                "worth": worth(None if name == "b" else 2.75),
                "steps": [{"kept": 0}], "source": "dolly" if name == "a" else "Grimm",
                "usage": {"generated_tokens": 5, "prefilled_tokens": 6, "scored_tokens": 7},
            })  # fmt: skip
        ledger.close()
        (run / "trajectories.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return tmp_path


def test_what_is_scored(folder):
    found = results.tasks(results.read_sets(folder, ["unseen", "seen"], ["none", "forward", "official"]))
    keys = [task.key for task in found]
    assert len(keys) == len(set(keys))
    kinds = {(key.preset, key.scorer): set() for key in keys}
    for key in keys:
        kinds[key.preset, key.scorer].add(key.kind)
    assert kinds == {
        ("forward", "base"): {"shuffled", "other"},
        ("official", "base"): {"shuffled", "other", "first", "final"},
        ("forward", "second"): {"final", "other"},
        ("official", "second"): {"final", "other"},
        (None, "second"): {"none"},
        (None, "base"): {"itself", "words"},
    }
    texts = {task.key: task.thinking for task in found}
    assert texts["unseen", "forward", "c", "other", "base"] == "I say a. I end."
    assert texts["unseen", "forward", "a", "shuffled", "base"] == "I end. I say a."
    assert texts["unseen", None, "a", "none", "second"] is None
    assert texts["unseen", None, "a", "itself", "base"] == "y"
    without_second = results.tasks(results.read_sets(folder, ["unseen"], ["forward"]), [])
    assert {task.key.scorer for task in without_second} == {"base"}


def test_content_words_are_the_rarer_half_of_the_answer_in_no_order():
    frequencies = results.Frequencies()
    answers = ["The old man kept many small bees behind the house", "The dog in the house", "The house, the sea"]
    rows = [{"id": str(n), "query": "", "answer": text, "language": "en"} for n, text in enumerate(answers)]
    for row in rows:
        frequencies.add(results._example(row))
    words = results.content_words(rows[0], frequencies).split()
    assert sorted(words) == ["bees", "behind", "kept", "man", "many", "old", "small"]
    assert words not in (sorted(words), ["old", "man", "kept", "many", "small", "bees", "behind"])
    alone = results.Frequencies()
    alone.add(results._example(rows[2]))
    assert sorted(results.content_words(rows[2], alone).split()) == ["house", "sea", "the"]


@pytest.mark.parametrize(("name", "language"), [(n, code) for n in ("standard", "plain") for code in ("en", "zh")])
def test_prompts_without_suppression_lack_those_words_and_no_others(tmp_path, name, language):
    folder = suppression.without(name, language, tmp_path / "free")
    source = Path(suppression.prompts.__file__).parent / language / name
    changed = {path.name for path in folder.iterdir() if path.read_text() != (source / path.name).read_text()}
    assert changed == {"initial.md", "rewrite.md"}
    freed = "".join((folder / file).read_text() for file in changed)
    for word in ("do not take over", "do not quote", "不要搬用", "不要引用"):
        assert word not in freed
    suppression.prompts.load_set(str(folder), language)


def test_prompts_that_suppress_nothing_have_no_variant(tmp_path):
    assert suppression.without("compact", "en", tmp_path / "free") is None
    assert not (tmp_path / "free").exists()


def test_page_and_plot(folder):
    sets, presets = ["unseen", "seen"], ["none", "forward", "official"]
    scores = [
        task.key._asdict() | {"nll": 2.0 + 0.1 * n / 20}
        for n, task in enumerate(results.tasks(results.read_sets(folder, sets, presets)))
    ]
    (folder / "scores.jsonl").write_text("".join(json.dumps(row) + "\n" for row in scores), encoding="utf-8")
    page = folder / "results.md"
    page.write_text("before\n<!-- search:begin -->\nold\n<!-- search:end -->\nafter\n", encoding="utf-8")
    report.update(folder, sets, presets, page, "search", folder / "search.svg")
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n<!-- search:begin -->\nFrom ")
    assert text.endswith("\n<!-- search:end -->\nafter\n")
    assert "3 pairs: public domain 2, dolly 1." in text
    gains = "+0.600 [+0.600, +0.600] | +0.350 [+0.350, +0.350]"
    assert f"| forward | 3 | 3.000 | 2.500 | 2.400 | {gains} | 100% | 3 of 3 |" in text
    assert "| forward | 5 | 25.0% | 0% | 6 of 9 | 3 of 3 |" in text
    assert "| thinking that has not seen the answer | 2.750 | +0.250 [+0.250, +0.250] |" in text
    assert "| forward | 18 | 5 | 6 | 7 | 7.5 |" in text
    assert "as counted" not in text
    assert "old" not in text
    assert "nan" not in text
    rows = results.read_rows(folder / "unseen" / "forward" / "trajectories.jsonl")
    drafted = "".join(json.dumps(row | {"usage": row["usage"] | {"draft_counted": 4}}) + "\n" for row in rows)
    (folder / "unseen" / "forward" / "trajectories.jsonl").write_text(drafted, encoding="utf-8")
    report.update(folder, sets, presets, page, "search", folder / "search.svg")
    text = page.read_text(encoding="utf-8")
    assert "| forward | 22 | 5 | 6 | 7 | 7.5 | 4 |" in text
    drawing = (folder / "search.svg").read_text(encoding="utf-8")
    assert drawing.startswith("<svg")
    assert "official" in drawing
    report.update(folder, sets, presets, page, "search", folder / "search.svg")
    assert (page.read_text(encoding="utf-8"), (folder / "search.svg").read_text(encoding="utf-8")) == (text, drawing)
