"""The page in a real browser: opens from a file, asks the network for nothing, shows model text as text."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from evaluations import OVERALL, write_evaluation

from eval.compare import compare
from reer.files.results import read_evaluations, read_runs
from reer.page.report import write_page

pytestmark = pytest.mark.slow

EVIL = "</details></section><script>document.title = 'owned'</script><img src='https://example.com/x.png'>"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SIZES = [(1280, 900), (390, 844)]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One search of three steps and two evaluated models, with markup in every text a model wrote."""
    root = tmp_path_factory.mktemp("demo")
    first, final = ["The end comes first. ", "Then the middle."], ["The end comes first. ", f"Then this: {EVIL}"]
    step = {"segment": 1, "operation": "rewrite", "before": first[1], "kept": 0, "nll": 2.7}
    candidates = [{"text": final[1], "nll": 2.7, "rejected": None}, {"text": EVIL, "nll": None, "rejected": "leak"}]
    trajectory = {
        "id": "p1", "query": f"Write a tale. {EVIL}", "answer": EVIL, "thinking": "".join(final), "segments": final,
        "first": {"thinking": "".join(first), "segments": first}, "nll": {"none": 3.0, "first": 2.9, "final": 2.7},
        "steps": [step | {"candidates": candidates}] * 3, "leak": {"longest_run": 2, "containment": 0.01},
    }  # fmt: skip
    save(root / "synthesize/trajectories.jsonl", trajectory, trajectory | {"id": "p2"})
    save(root / "sft/metrics.jsonl", {"step": 1, "loss": 3.0}, {"step": 2, "loss": 2.0})
    for model in ("base", "tuned"):
        for benchmark in ("reasoning", "writingbench"):
            folder = root / f"evaluate-{model}" / benchmark
            write_evaluation(folder, model, benchmark, n=6, shift=0.1 * (model == "tuned"), text=EVIL, failed=1)
    evaluated = [root / "evaluate-base", root / "evaluate-tuned"]
    (root / "comparison.json").write_text(json.dumps(compare(read_evaluations(read_runs(evaluated)), seed=0)))
    return write_page([root / "synthesize", root / "sft", *evaluated], root / "report.html")


def save(path: Path, *rows: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture(params=SIZES, ids=["desktop", "phone"])
def opened(request: pytest.FixtureRequest, browser: Any, page_file: Path) -> Iterator[Any]:
    """The page at one screen size; whatever went wrong while it was open fails the test."""
    width, height = request.param
    page = browser.new_page(viewport={"width": width, "height": height})
    troubles: list[str] = []
    page.on("console", lambda message: troubles.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: troubles.append(f"error: {error}"))
    page.on("dialog", lambda dialog: troubles.append(f"dialog: {dialog.message}"))
    page.on(
        "request", lambda sent: troubles.append(f"request: {sent.url}") if sent.url != page_file.as_uri() else None
    )
    page.goto(page_file.as_uri())
    yield page
    page.close()
    assert troubles == []


def test_the_page_opens_and_fits_the_screen(opened: Any) -> None:
    assert opened.title().endswith("REER report")
    assert opened.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    visible = [plot.bounding_box() for plot in opened.locator(".plot svg").all() if plot.is_visible()]
    assert len(visible) == 12  # of each figure the one size that fits
    assert all(box["width"] > 250 and box["height"] > 150 for box in visible)


def test_details_open_and_the_edits_can_be_switched(opened: Any) -> None:
    item = opened.locator("#trajectories details.item").first
    thinking = item.locator(".thinking")
    assert not thinking.is_visible()
    item.locator("summary").first.click()
    assert thinking.is_visible()
    assert "Then the middle." in thinking.inner_text()
    item.get_by_text("Final", exact=True).click()
    assert "Then the middle." not in thinking.inner_text()
    item.get_by_text("First", exact=True).click()
    assert thinking.inner_text().strip() == "The end comes first. Then the middle."


def test_one_button_opens_and_closes_all(opened: Any) -> None:
    button, items = opened.locator("[data-toggle=trajectories]"), opened.locator("#trajectories details.item")
    button.click()
    assert items.evaluate_all("items => items.map(item => item.open)") == [True, True]
    button.click()
    assert items.evaluate_all("items => items.map(item => item.open)") == [False, False]


def test_markup_in_model_text_is_shown_as_text(opened: Any) -> None:
    opened.locator("#answers details.item summary").first.click()
    assert opened.locator("#answers .cell > .text").first.is_visible()
    assert EVIL in opened.locator("#answers .cell").first.inner_text()
    assert opened.title() != "owned"
    assert opened.locator("img").count() == 0


def test_the_page_forbids_scripts_that_are_not_its_own(browser: Any, page_file: Path) -> None:
    """Even if an escape were forgotten somewhere, an injected script would not run."""
    forged = page_file.with_name("forged.html")
    forged.write_text(page_file.read_text(encoding="utf-8").replace("<main>", f"<main>{EVIL}"), encoding="utf-8")
    page = browser.new_page()
    page.goto(forged.as_uri())
    assert page.title() != "owned"
    page.close()


def shown(page: Any) -> list[str]:
    """Ids of the answers that are not filtered out, in order."""
    tags = page.locator("#answers details.item:visible .tags").all_inner_texts()
    return [text.split(" ")[0] for text in tags]


def test_answers_are_filtered_by_benchmark_domain_and_score(opened: Any) -> None:
    form = opened.locator("form.filters")
    assert len(shown(opened)) == 12
    form.locator("[name=benchmark]").select_option("writingbench")
    assert {name[:2] for name in shown(opened)} == {"wr"}
    assert form.locator("output").inner_text() == "6 of 12 shown"
    form.locator("[name=group]").select_option("D Literature & Arts")
    assert sorted(shown(opened)) == ["wr001", "wr004"]
    form.locator("[name=benchmark]").select_option("reasoning")  # whose domains are others: the choice is undone
    assert len(shown(opened)) == 6
    form.locator("[name=state]").select_option("unscored")
    assert shown(opened) == ["re005"]
    form.locator("[name=state]").select_option("")
    form.locator("[name=low]").fill("101")
    assert shown(opened) == []
    form.locator("[name=low]").fill("0")
    assert len(shown(opened)) == 5  # one has no score


def test_answers_are_ordered_by_score_and_found_by_their_words(opened: Any) -> None:
    form = opened.locator("form.filters")
    form.locator("[name=model]").select_option(label="tuned")
    form.locator("[name=order]").select_option("low")
    shares = opened.locator("#answers details.item").evaluate_all("items => items.map(i => i.dataset.shares)")
    scores = [float(share.split(",")[1]) for share in shares if share != ","]
    assert scores == sorted(scores)
    assert shares[-2:] == [",", ","]  # without a score: last
    form.locator("[name=text]").fill("for wr003")
    assert shown(opened) == ["wr003"]
    form.locator("[name=text]").fill("no such words")
    assert shown(opened) == []


def test_a_page_of_200_answers_opens_and_filters(browser: Any, tmp_path: Path) -> None:
    for model in ("base", "tuned"):
        for benchmark in OVERALL:
            write_evaluation(tmp_path / f"evaluate-{model}" / benchmark, model, benchmark, n=25, text=EVIL * 80)
    path = write_page([tmp_path / "evaluate-base", tmp_path / "evaluate-tuned"], tmp_path / "report.html")
    page = browser.new_page()
    page.goto(path.as_uri())
    assert page.locator("#answers .cell").count() == 200
    page.locator("[data-toggle=answers]").click()
    page.locator("[name=text]").fill("for wr003")
    assert shown(page) == ["wr003"]
    page.close()
