"""Which rows are written, and on which side: a mixture of domains, a held-out split by source document."""

import math
from collections.abc import Iterable, Mapping

from reer.text import seed_of


def is_held_out(document: str, share: float, seed: int) -> bool:
    """The same for every row of a document, and for the same seed whatever else is collected."""
    return seed_of(seed, "held out", document) < share * 2**63


def wanted(there: Mapping[str, int], mixture: Mapping[str, float], size: int | None) -> dict[str, int]:
    """Rows of each domain: as the mixture says, without one as they are there.

    `size` None: every row, or with a mixture the most that keeps its shares exact. A domain with fewer rows than its
    part of `size` gives what it has.
    """
    parts: Mapping[str, float] = mixture or there
    total = sum(parts.values())
    shares = {domain: part / total for domain, part in parts.items() if part > 0}
    if size is None:
        most = min((there.get(domain, 0) / share for domain, share in shares.items()), default=0.0)
        size = math.floor(most + 1e-9)
    return {domain: min(count, there.get(domain, 0)) for domain, count in apportioned(shares, size).items()}


def apportioned(shares: Mapping[str, float], size: int) -> dict[str, int]:
    """`size` divided by shares that add up to 1, by largest remainders."""
    counts = {domain: math.floor(share * size + 1e-9) for domain, share in shares.items()}
    left = size - sum(counts.values())
    by_remainder = sorted(shares, key=lambda domain: (counts[domain] - shares[domain] * size, domain))
    for domain in by_remainder[:left]:
        counts[domain] += 1
    return counts


def drawn(rows: Iterable[tuple[str, str]], counts: Mapping[str, int], seed: int) -> set[str]:
    """Ids of the rows that are taken, of (id, domain) each: so many of a domain, by seed and id alone."""
    ranked = sorted((seed_of(seed, "sample", name), name, domain) for name, domain in rows)
    left, taken = dict(counts), set()
    for _, name, domain in ranked:
        if left.get(domain, 0) > 0:
            left[domain] -= 1
            taken.add(name)
    return taken
