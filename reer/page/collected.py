"""What the page shows of a collection: what went where, of what the pairs are, and texts of both.

Knows results; knows nothing of HTML. Samples are seeded: the same folder gives the same page.
"""

import random
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from reer.files.results import Row, Run

PAIRS, REFUSED = 8, 3
"""Texts that a page holds at most: of the pairs, and of what each filter refused."""
SHOWN = 1_500
"""Characters of a text."""
FACTS = ("licence", "domain", "language", "source")


def collection_view(run: Run) -> dict[str, Any]:
    """Counts from summary.json; some pairs, and some rows of every reason."""
    refused: dict[str, list[Row]] = defaultdict(list)
    for row in run.rows("rejected.jsonl"):
        if len(refused[row["reason"]]) < REFUSED:
            refused[row["reason"]].append({"why": row.get("why"), **_shown(row["row"])})
    written = run.summary.get("written", {})
    return {
        "run": run,
        "summary": run.summary,
        "reasons": [(name, n, refused[name]) for name, n in run.summary.get("rejected", {}).items() if n],
        "facts": [(name, list(written.get(name, {}).items())) for name in FACTS if written.get(name)],
        "pairs": [_shown(row) for row in _drawn(run.rows("pairs.jsonl"))],
    }


def _drawn(rows: Iterable[Row]) -> list[Row]:
    """A seeded sample, of which no more is held at any time."""
    draw, kept = random.Random(0), list[Row]()
    for n, row in enumerate(rows):
        if n < PAIRS:
            kept.append(row)
        elif (place := draw.randrange(n + 1)) < PAIRS:
            kept[place] = row
    return kept


def _shown(row: Row) -> Row:
    """A row with its texts cut."""
    texts = {name: str(row.get(name) or "") for name in ("query", "answer")}
    return row | {name: text if len(text) <= SHOWN else text[:SHOWN] + " …" for name, text in texts.items()}
