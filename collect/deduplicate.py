"""Near-duplicates: MinHash signatures by rensa, found by bands, decided by exact Jaccard of shingles.

Of two rows that are alike the earlier one stays. Between the passes no text is held, and of each row 32 numbers.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .check.grams import Hashes, hashes_of, jaccard, shingles

SLOTS, BANDS, SEED = 256, 32, 1
"""At a true similarity of 0.8 a pair shares a band with probability 0.997."""


def near_duplicates(
    keys: NDArray[np.uint64], text_of: Callable[[int], str], threshold: float
) -> dict[int, tuple[int, float]]:
    """Row -> the earlier row that stays in its place, and their similarity.

    `keys` are the signatures of all rows in order, [rows, BANDS]. `text_of` reads one text again.
    """
    kept: dict[int, dict[int, list[int]]] = defaultdict(dict)
    gone: dict[int, tuple[int, float]] = {}
    for row, bands in _suspects(keys).items():
        own = shingles(hashes_of(text_of(row)))
        earlier = {other for band in bands for other in kept[band].get(int(keys[row, band]), ())}
        for other in sorted(earlier):
            if (alike := jaccard(own, shingles(hashes_of(text_of(other))))) >= threshold:
                gone[row] = (other, round(alike, 3))
                break
        else:
            for band in bands:
                kept[band].setdefault(int(keys[row, band]), []).append(row)
    return gone


def signed(sets: Sequence[Hashes]) -> NDArray[np.uint64]:
    """One number per set of runs and band, [sets, BANDS]: equal where all slots of the band are."""
    import rensa

    if not sets:
        return np.empty((0, BANDS), dtype=np.uint64)
    factors = np.arange(1, 2 * SLOTS // BANDS, 2, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    offsets = [0, *np.cumsum([len(one) for one in sets]).tolist()]
    matrix: Any = rensa.RMinHash.digest_matrix_from_flat_token_hashes(np.concatenate(sets), offsets, SLOTS, SEED)
    slots = np.array(matrix.to_rows(), dtype=np.uint64).reshape(len(sets), BANDS, SLOTS // BANDS)
    keys: NDArray[np.uint64] = (slots * factors).sum(axis=2, dtype=np.uint64)
    return keys


def _suspects(keys: NDArray[np.uint64]) -> dict[int, list[int]]:
    """Rows, in order, with the bands in which another row has the same number."""
    bands_of: dict[int, list[int]] = defaultdict(list)
    for band in range(BANDS):
        _, back, counts = np.unique(keys[:, band], return_inverse=True, return_counts=True)
        for row in np.flatnonzero(counts[back] > 1).tolist():
            bands_of[row].append(band)
    return dict(sorted(bands_of.items()))
