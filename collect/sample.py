"""Which side of the held-out split a row is on: by its source document, so that no document is on both."""

from reer.text import seed_of


def is_held_out(document: str, share: float, seed: int) -> bool:
    """The same for every row of a document, and for the same seed whatever else is collected."""
    return seed_of(seed, "held out", document) < share * 2**63
