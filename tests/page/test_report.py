"""The page: written from the JSON contracts alone, whatever parts are there, and everything in them as data."""

import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from evaluations import write_evaluation, write_rows

from reer.errors import DataError, RunDirError
from reer.page import report
from reer.page.report import estimate, number, signed, write_page
from reer.page.views import sample

EVIL = "</details></div><script>document.title='owned'</script><img src=x onerror=alert(1)>"
ENGINE = {"model": "smollm2", "revision": None, "dtype": "float32"}


class Text(HTMLParser):
    """Tags and visible text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self._hidden = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for key, value in attrs if key in ("src", "href", "xlink:href", "action")]
        self._hidden += tag in ("style", "script")
        self.text += " " * (tag not in ("ins", "del"))

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("style", "script")

    def handle_data(self, data: str) -> None:
        self.text += data * (not self._hidden)


def write_value(path: Path, value: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def trajectory(name: str, gain: float = 0.3, text: str = "A plain voice.", **fields: Any) -> dict[str, Any]:
    first = [f"{text} The end comes first.\n\n", "Then the middle."]
    final = [f"{text} The end is known first.\n\n", "Then the middle."]
    candidates = [
        {"text": final[0].strip(), "nll": 3.0 - gain, "rejected": None},
        {"text": "Copied words.", "nll": None, "rejected": "leak: 31 words"},
    ]
    row = {
        "id": name,
        "trajectory": 0,
        "query": f"Write a tale for {name}.",
        "answer": f"Once upon a time. {text}",
        "thinking": "".join(final),
        "segments": final,
        "first": {"thinking": "".join(first), "segments": first},
        "nll": {"none": 3.0, "first": 2.95, "final": 3.0 - gain},
        "answer_tokens": 120,
        "leak": {"longest_run": 3, "containment": 0.015},
        "steps": [
            {"segment": 0, "operation": "rewrite", "before": first[0], "candidates": candidates, "kept": 0,
             "nll": 3.0 - gain},
            {"segment": 1, "operation": "rewrite", "before": first[1], "candidates": candidates[1:], "kept": None,
             "nll": 3.0 - gain},
        ],
        "usage": {"calls": 9}, "layout": "think", "generator": ENGINE, "scorer": ENGINE, "source": "A book",
        "licence": "Public domain", "language": "en", "domain": "fable", "seed": 0, "format_version": 1,
    }  # fmt: skip
    return row | fields


def synthesize(folder: Path, rows: list[dict[str, Any]]) -> Path:
    write_rows(folder / "trajectories.jsonl", rows)
    examples = {"input": len(rows) + 2, "done": len(rows), "dropped": {"repetition": 1}, "failed": 0, "quarantined": 1}
    usage = {"calls": 176, "generated_tokens": 21044, "scored_tokens": 90210, "reused_tokens": 0}
    write_value(folder / "summary.json", {"examples": examples, "usage": usage, "seconds": 311.4})
    write_value(
        folder / "manifest.json",
        {"stage": "synthesize", "seed": 41, "inputs": [{"path": "pairs.jsonl", "sha256": "ab12"}],
         "versions": {"torch": "2.13.0"}, "git_commit": "c0ffee"},
    )  # fmt: skip
    (folder / "config.yaml").write_text("search:\n  candidates: 4\n")
    return folder


def sft(folder: Path, held_out: dict[str, float] | None = None) -> Path:
    write_rows(folder / "metrics.jsonl", [{"step": n, "loss": 3.0 / n} for n in range(1, 6)])
    summary = {"examples": 8, "steps": 5, "tokens": 7120, "loss": {"first": 3.0, "last": 0.6}, "held_out": held_out}
    write_value(folder / "summary.json", summary | {"seconds": 96.0, "model": "/somewhere/private/sft/model"})
    return folder


@pytest.fixture
def chain(tmp_path: Path) -> list[Path]:
    """The run folders of a whole experiment."""
    root = tmp_path / "demo"
    return [
        synthesize(root / "synthesize", [trajectory("p1", 0.5), trajectory("p2", -0.25, domain="memoir")]),
        sft(root / "sft"),
        write_evaluation(root / "evaluate-base", "base"),
        write_evaluation(root / "evaluate-tuned", "tuned", shift=0.2),
    ]


def page_of(run_dirs: list[Path]) -> str:
    return write_page(run_dirs, run_dirs[0].parent / "report.html").read_text(encoding="utf-8")


def test_the_whole_chain_stands_on_one_page(chain: list[Path]) -> None:
    page = Text(page_of(chain))
    said = " ".join(page.text.split())
    assert "2 of 4 pairs 1 dropped, 0 failed, 1 quarantined" in said
    assert "no thinking 3.000 first thinking 2.950 final thinking 2.875" in said
    assert "+0.125 ± 0.735" in said  # 1.96 * stdev([0.5, -0.25]) / sqrt(2)
    assert "above zero for 1 of 2 answers" in said
    assert "3.000 → 0.600" in said
    assert "base +0.100 tuned +0.300" in said
    assert "Write a tale for p1." in said
    assert "The end comesis known first." in said  # an edit: deleted and inserted words side by side
    assert "rejected leak: 31 words" in said
    assert "It holds. An answer that holds." in said
    assert "pairs.jsonl ab12" in said
    assert "candidates: 4" in said
    assert page.tags.count("figure") == 7
    assert page.tags.count("ins") == page.tags.count("del") > 0


def test_the_page_says_what_a_search_minimised_and_in_which_unit(tmp_path: Path) -> None:
    folder = synthesize(tmp_path / "synthesize", [trajectory("p1")])
    assert "only if the NLL of the answer falls" in Text(page_of([folder])).text
    summary = json.loads((folder / "summary.json").read_text())
    unit = "1 - mean probability of a token"
    found = {"kind": "mean_prob", "unit": unit, "none": 0.75, "first": 0.7, "final": 0.625}
    write_value(folder / "summary.json", summary | {"objective": found})
    said = " ".join(Text(page_of([folder])).text.split())
    assert "only if what the search minimises falls" in said
    assert f"({unit}; lower is better). Its means: 0.750 without thinking, 0.700 with the first, 0.625 with" in said


def test_the_page_needs_nothing_from_outside(chain: list[Path]) -> None:
    page = page_of(chain)
    assert all(address.startswith("#") for address in Text(page).addresses)
    assert not re.findall(r"url\((?!#)|@import", page)
    assert "default-src 'none'" in page


def test_the_same_folders_give_the_same_bytes(chain: list[Path]) -> None:
    assert page_of(chain) == page_of(chain)


def test_model_text_is_data(tmp_path: Path) -> None:
    plain = [
        synthesize(tmp_path / "a" / "synthesize", [trajectory("p1")]),
        write_evaluation(tmp_path / "a" / "base", "base"),
    ]
    evil = [
        synthesize(tmp_path / "b" / "synthesize", [trajectory("p1", text=EVIL, domain=EVIL, source=EVIL)]),
        write_evaluation(tmp_path / "b" / "base", f"${EVIL}$", text=EVIL),
    ]
    page = Text(page_of(evil))
    tags = set(page.tags)
    assert page.text.count("<script>document.title") > 8
    assert page.tags.count("script") == 1
    assert "img" not in tags
    assert page.tags.count("details") == Text(page_of(plain)).tags.count("details")


@pytest.mark.parametrize("keep", [0, 1, 2, 3])
def test_each_folder_alone_makes_a_page(chain: list[Path], keep: int) -> None:
    assert Text(page_of([chain[keep]])).tags.count("section") >= 2


def test_a_training_shows_what_was_measured_on_the_way(tmp_path: Path) -> None:
    folder = tmp_path / "sft"
    rows = [{"step": n, "loss": 3.0 / n, "nll_answer": 2.0 - n / 10, "nll_thinking": 1.0} for n in (1, 2)]
    write_rows(folder / "metrics.jsonl", rows)
    samples = [{"step": n, "text": f"{EVIL} written at {n}", "loop_rate": True, "truncated": True} for n in (1, 2)]
    write_rows(folder / "samples.jsonl", samples)
    write_value(folder / "summary.json", {"steps": 2, "best_step": 1, "processes": 2, "held_out": None})
    page = Text(page_of([folder]))
    said = " ".join(page.text.split())
    assert page.tags.count("figure") == 2
    assert "Written at step 2, cut at the limit, ends in a loop" in said
    assert "written at 1" not in said
    assert "The model is that of step 1" in said
    assert page.tags.count("script") == 1


def test_missing_parts_are_left_out(tmp_path: Path) -> None:
    bare = trajectory("p1", steps=[], first=None, leak=None, nll={"none": 3.0, "first": None, "final": 2.0})
    folder = synthesize(tmp_path / "synthesize", [bare, trajectory("p2", steps=[])])
    (folder / "summary.json").unlink()
    (folder / "manifest.json").unlink()
    tuned = write_evaluation(tmp_path / "tuned", "tuned")
    (tuned / "verdicts.jsonl").unlink()
    (tuned / "lift.jsonl").unlink()
    results = {"model": "tuned", "benchmarks": {}, "reference_lift": None, "outputs": {"well_formed": None}}
    write_value(tuned / "results.json", results)
    unfinished = tmp_path / "sft"
    write_rows(unfinished / "metrics.jsonl", [{"step": 1, "loss": 2.0}])
    said = Text(page_of([folder, tuned, unfinished])).text
    for phrase in (
        "No refinement step was taken",
        "the search has not finished",
        "No judge’s scores here",
        "No score from a judge",
        "The training has not finished",
        "No manifest in this folder",
    ):
        assert phrase in said


def test_an_empty_search_makes_a_page(tmp_path: Path) -> None:
    assert "No trajectory was kept" in page_of([synthesize(tmp_path / "synthesize", [])])


def test_a_large_run_shows_a_sample_with_its_extremes(tmp_path: Path) -> None:
    rows = [trajectory(f"p{n:03}", gain=n / 1000, steps=[]) for n in range(301)]
    page = page_of([synthesize(tmp_path / "synthesize", rows)])
    said = Text(page).text
    assert "A sample: 200 of 301" in said
    shown = re.findall(r"Write a tale for (p\d+)\.</div><div", page)
    assert len(shown) == 200
    assert shown == sorted(shown, reverse=True)
    assert {f"p{n:03}" for n in (*range(10), *range(291, 301))} <= set(shown)
    assert "+0.150" in said  # the mean is over all 301


def test_a_page_too_large_shows_fewer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [trajectory(f"p{n}", text="word " * 2000, steps=[]) for n in range(40)]
    folder = synthesize(tmp_path / "synthesize", rows)
    monkeypatch.setattr(report, "LARGEST", 400_000)
    page = page_of([folder])
    assert len(page.encode()) <= 400_000
    assert re.search(r"A sample: (25|12|6) of 40", page)


def test_sample_is_ordered_and_stable() -> None:
    assert sample([0.1, 0.3, 0.2], 5) == [1, 2, 0]
    values = [(n * 37) % 101 / 10 for n in range(101)]
    chosen = sample(values, 30)
    assert chosen == sample(values, 30)
    assert len(set(chosen)) == 30
    assert [values[n] for n in chosen] == sorted((values[n] for n in chosen), reverse=True)
    assert [values[n] for n in chosen][:10] == sorted(values, reverse=True)[:10]
    assert len(sample(values, 1)) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (number(3.14159), "3.142"),
        (number(-0.0001), "0.000"),
        (number(-0.5, 1), "−0.5"),
        (number(12345), "12,345"),
        (number(None), "–"),
        (number(True), "–"),
        (signed(0.25), "+0.250"),
        (signed(-0.25), "−0.250"),
        (signed(0.0), "0.000"),
        (estimate(0.875, 0, percent=True), "88%"),
        (estimate(None, 0, percent=True), "–"),
    ],
)
def test_numbers_read_well(text: str, expected: str) -> None:
    assert text == expected


def test_broken_row_names_file_and_row(tmp_path: Path) -> None:
    folder = synthesize(tmp_path / "synthesize", [trajectory("p1")])
    with (folder / "trajectories.jsonl").open("a") as file:
        file.write('{"id": \n')
    with pytest.raises(DataError, match=r"trajectories\.jsonl, row 2: broken JSON"):
        page_of([folder])


def test_unfinished_last_row_is_left_out(tmp_path: Path) -> None:
    folder = write_evaluation(tmp_path / "base", "base")
    with (folder / "answers.jsonl").open("a") as file:
        file.write('{"id": "e9", "prom')
    assert "All 8 prompts" in Text(page_of([folder])).text


def test_a_folder_without_results_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RunDirError, match="holds no results"):
        write_page([tmp_path], tmp_path / "report.html")


def run_command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["reer-report", *arguments])
    with pytest.raises(SystemExit) as stopped:
        report.main()
    return int(stopped.value.code or 0)


def test_the_command_writes_beside_the_run_folders(
    chain: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(monkeypatch, *map(str, chain)) == 0
    target = chain[0].parent / "report.html"
    said = capsys.readouterr().out
    assert said.splitlines()[-1].split() == ["pages", str(target)]
    assert "trajectories kept" in said
    assert "<h1>demo</h1>" in target.read_text()


def test_the_command_takes_a_target_and_a_title(
    chain: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    target = tmp_path / "elsewhere" / "page.html"
    assert run_command(monkeypatch, str(chain[1]), "--out", str(target), "--title", "A & B") == 0
    assert "<h1>A &amp; B</h1>" in target.read_text()


def test_the_command_complains_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(monkeypatch, str(tmp_path / "nowhere")) == 1
    said = capsys.readouterr().err
    assert "holds no results" in said
    assert said.count("\n") == 1
