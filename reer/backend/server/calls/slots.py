"""How many requests a server has at once: as many as allowed until it shows that they are too many.

Fewer where it says that it is busy or does not end a reply in time, then one more for every round of answers: the
additive increase and multiplicative decrease by which TCP shares a line. Knows numbers and times; sends nothing.
"""

import time

FEWER, COOL = 0.7, 1.0
"""What is left of the limit after a sign that it is too high, and seconds after which another one counts: a burst of
refusals that come back at once says one thing."""


class Slots:
    """Of one server."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.limit = float(most)
        self.taken = 0
        self._cut = float("-inf")

    @property
    def free(self) -> int:
        """May be negative, after a cut."""
        return int(self.limit) - self.taken

    def answered(self) -> None:
        """A request came back: a full round of such makes room for one more."""
        self.limit = min(float(self.most), self.limit + 1 / self.limit)

    def pressed(self, begun: float) -> None:
        """A request that was begun then (`time.monotonic`) met a busy server. Those that were in flight at a cut tell
        of the limit before it, and do not count again."""
        if begun > self._cut + COOL:
            self.limit, self._cut = max(1.0, self.limit * FEWER), time.monotonic()
