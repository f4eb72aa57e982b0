"""What the page shows of a collection, whole or at work, and that its texts are data."""

import json

from evaluations import write_rows

from reer.files.results import read_run, read_runs
from reer.page.collected import PAIRS, REFUSED, collection_view
from reer.page.overview import overview
from reer.page.report import write_page

EVIL = "</details><script>document.title='owned'</script>"


def collection(folder, pairs=30, refused=7):
    write_rows(folder / "pairs.jsonl", [{"id": f"p{n}", "query": f"Tell {n}.", "answer": "x"} for n in range(pairs)])
    rows = [{"reason": "leaked", "why": {"run": 9}, "row": {"id": f"r{n}", "query": EVIL, "answer": "y" * 2000}}
            for n in range(refused)]  # fmt: skip
    write_rows(folder / "rejected.jsonl", rows)
    summary = {
        "pairs": {"read": 38, "written": pairs, "quarantined": 1, "masked": 0}, "rejected": {"judged": 0, "leaked": 7},
        "queries": {"passages": 0, "answered": 0, "drawn": 0}, "written": {"split": {}, "licence": {"MIT": pairs}},
    }  # fmt: skip
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def test_some_of_the_pairs_and_some_of_every_reason_are_shown(tmp_path):
    folder = collection(tmp_path / "collect")
    view = collection_view(read_run(folder))
    assert len({row["id"] for row in view["pairs"]}) == PAIRS
    assert view == collection_view(read_run(folder))
    [(name, n, rows)] = view["reasons"]
    assert (name, n, len(rows)) == ("leaked", 7, REFUSED)
    assert rows[0]["answer"] == "y" * 1500 + " …"
    page = write_page([folder], tmp_path / "page.html").read_text(encoding="utf-8")
    assert EVIL not in page
    assert "<small>of 38 rows</small>" in page
    assert overview(read_runs([folder])) == "pairs written              30 of 38 rows"


def test_a_collection_at_work_is_no_search(tmp_path):
    folder = tmp_path / "collect"
    folder.mkdir()
    (folder / "config.yaml").write_text("stage: collect\nname: mine\n")
    (folder / "ledger.db").touch()
    assert read_run(folder).stage == "collect"
    assert "The collection has not finished." in write_page([folder], tmp_path / "page.html").read_text()
