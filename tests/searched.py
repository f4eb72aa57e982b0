"""A row as a search leaves it, made by hand."""

from typing import Any

DOMAINS = ("Artistic", "Law", "Finance & Business", "fable")


def trajectory(n: int, **other: Any) -> dict[str, Any]:
    """A row whose final thinking has n + 1 words."""
    return {
        "id": f"t{n}",
        "trajectory": 0,
        "query": f"Ask {n}.",
        "answer": f"The answer {n}.",
        "thinking": " ".join(["word"] * (n + 1)),
        "first": {"thinking": f"A first plan {n}.", "segments": []},
        "worth": {"blind": [{"text": "copied", "nll": None, "rejected": "leak"}, {"text": f"Blind {n}.", "nll": 1.0}]},
        "language": "en",
        "domain": DOMAINS[n % len(DOMAINS)],
        "source": "book",
        "licence": "MIT",
        **other,
    }
