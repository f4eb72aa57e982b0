"""What judging costs, and a cap that it never passes.

Prices are the user's; none is known here. Before a call is made, the most it can cost is set aside; what it did cost
takes its place afterwards. Knows rows and usage; knows nothing of judges.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from reer.config import ModelJudgeConfig, PriceConfig
from reer.errors import BackendError, ConfigError
from reer.types import Usage

from ..store import Row


class CapReached(BackendError):
    """The next call might pass the cap, so it was not made."""


def dollars(usage: Usage, price: PriceConfig) -> float | None:
    """Of the given usage; None without prices."""
    if price.input is None or price.output is None:
        return None
    cached = price.input if price.cached_input is None else price.cached_input
    tokens = (
        usage.prefilled_tokens * price.input + usage.reused_tokens * cached + usage.generated_tokens * price.output
    )
    return tokens / 1e6


def usage_of(rows: Iterable[Row]) -> Usage:
    """All that stored verdicts used."""
    return sum((Usage(**row["usage"]) for row in rows), Usage())


def cost_of(rows: Iterable[Row], config: ModelJudgeConfig) -> dict[str, Any]:
    """The cost block of one judge in results.json; what came from the reply cache cost nothing."""
    kept = list(rows)
    used = usage_of(row for row in kept if not row["cached"])
    price = config.price
    return {
        "calls": used.calls,
        "cached": sum(row["cached"] for row in kept),
        "input_tokens": used.prefilled_tokens + used.scored_tokens,
        "cached_input_tokens": used.reused_tokens,
        "output_tokens": used.generated_tokens,
        "dollars": dollars(used, price),
        "price": vars(price) if dollars(used, price) is not None else None,
    }


def refuse_cap_without_price(name: str, config: ModelJudgeConfig) -> None:
    """Raises: ConfigError: a cap in dollars, and no prices to count them by."""
    if config.max_cost is not None and dollars(Usage(), config.price) is None:
        raise ConfigError(f"max_cost of {name} needs its price: price.input and price.output, in $ per 1M tokens")


class Budget:
    """The caps of one judge in one run folder."""

    def __init__(self, name: str, config: ModelJudgeConfig, rows: Iterable[Row]) -> None:
        """`rows`: this judge's verdicts so far."""
        self.name, self._config = name, config
        used = usage_of(row for row in rows if not row["cached"])
        self._calls, self._cost = used.calls, dollars(used, config.price) or 0.0
        self._in_flight = 0
        self._changed = asyncio.Condition()

    @property
    def capped(self) -> bool:
        return self._config.max_calls is not None or self._config.max_cost is not None

    @asynccontextmanager
    async def room(self, worst: Usage) -> AsyncIterator[list[Usage]]:
        """Set aside what a call may cost at most; what is put into the list that is given is what it did cost.

        Raises:
            CapReached: there is no room for it, not even once all calls in flight have come back.
        """
        if not self.capped:
            yield []
            return
        cost = dollars(worst, self._config.price) or 0.0
        async with self._changed:
            await self._changed.wait_for(lambda: self._fits(worst.calls, cost) or not self._in_flight)
            if not self._fits(worst.calls, cost):
                raise CapReached(f"{self.name} has reached its cap ({self._caps()})")
            self._take(worst.calls, cost, 1)
        paid: list[Usage] = []
        try:
            yield paid
        finally:
            used = sum(paid, Usage()) if paid else worst  # cancelled in flight: it may have been charged in full
            async with self._changed:
                self._take(used.calls - worst.calls, (dollars(used, self._config.price) or 0.0) - cost, -1)
                self._changed.notify_all()

    def _fits(self, calls: int, cost: float) -> bool:
        config = self._config
        within_calls = config.max_calls is None or self._calls + calls <= config.max_calls
        return within_calls and (config.max_cost is None or self._cost + cost <= config.max_cost)

    def _take(self, calls: int, cost: float, in_flight: int) -> None:
        self._calls += calls
        self._cost += cost
        self._in_flight += in_flight

    def _caps(self) -> str:
        caps = {"max_calls": self._config.max_calls, "max_cost": self._config.max_cost}
        return ", ".join(f"{key}={value}" for key, value in caps.items() if value is not None)
