"""Who answers queries and measures reference lift: the models in this process, or actors on a cluster that have them.

Knows what both steps ask of one prompt, and the cluster; knows no files.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from functools import cached_property
from types import TracebackType
from typing import Any

from reer.backend import served
from reer.config import EvaluationConfig
from reer.errors import WorkerLost
from reer.run.executor.cluster import Cluster
from reer.run.executor.examples import LOSSES
from reer.types import Example

from ..benchmarks.items import Item
from ..store import Row
from .engines import Engines
from .lift import Lifting, Measure
from .respond import Answer, Respondent, reply_parser

log = logging.getLogger(__name__)


class Evaluating:
    """The models of one process, each built when it is first asked for."""

    def __init__(self, config: EvaluationConfig) -> None:
        """Raises: ModelError: the model under test is a local folder that does not exist."""
        self._config, self._engines = config, Engines(config)

    async def run(self, given: Item | Example) -> AsyncGenerator[Row]:
        """An actor's task, of one result: the answer to a query, or the lift of a reference.

        Raises:
            BackendError: a model call failed.
        """
        if isinstance(given, Item):
            yield await self.respondent.answer(given)
        else:
            yield await self.lifting.measure(given)

    def facts(self) -> dict[str, Any]:
        """What the manifest says of the model under test."""
        return served(self._engines.under_test)

    @cached_property
    def respondent(self) -> Respondent:
        return Respondent(self._engines.generator, reply_parser(self._config.layout), **self._asked)

    @cached_property
    def lifting(self) -> Lifting:
        return Lifting(self._engines.lift, self._config.layout, **self._asked)

    @property
    def _asked(self) -> dict[str, Any]:
        config = self._config
        return {"label": config.evaluate.label, "benchmark": config.benchmark, "seed": config.seed}


class Workers:
    """Models here or on a cluster, as an asynchronous context; nothing is started before it is needed."""

    def __init__(self, config: EvaluationConfig) -> None:
        self._config, self._stack, self._opening = config, AsyncExitStack(), asyncio.Lock()
        self._cluster: Cluster | None = None
        self._here = Evaluating(config)

    async def __aenter__(self) -> "Workers":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @property
    def concurrency(self) -> int:
        """Rows in flight."""
        executor = self._config.executor
        return executor.concurrency * (executor.actors if self._far else 1)

    @property
    def _far(self) -> bool:
        return self._config.executor.kind == "ray"

    def answering(self) -> Answer:
        """Who answers."""
        return self._elsewhere if self._far else self._here.respondent.answer

    def lifting(self) -> Measure:
        """Who measures."""
        return self._elsewhere if self._far else self._here.lifting.measure

    async def _elsewhere(self, given: Item | Example) -> Row:
        """A row from an actor; asked again where it is lost.

        Raises:
            BackendError: a model call failed, or too many actors were lost over it.
        """
        cluster = await self._open()
        for _ in range(LOSSES - 1):
            try:
                return await _only(cluster.run(given))
            except WorkerLost as error:
                log.warning("%s is asked again: %s", given.id, error)
        return await _only(cluster.run(given))

    async def facts(self) -> dict[str, Any]:
        """What is known of the model under test by whoever asked it."""
        return (await self._cluster.facts() if self._cluster else None) or self._here.facts()

    async def _open(self) -> Cluster:
        async with self._opening:
            if self._cluster is None:
                cluster = Cluster(self._config.executor, "eval.answering.workers:Evaluating", self._config)
                self._cluster = await self._stack.enter_async_context(cluster)
            return self._cluster


async def _only(rows: AsyncGenerator[Row]) -> Row:
    [row] = [row async for row in rows]
    return row
