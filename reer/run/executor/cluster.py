"""Actors on a Ray cluster: how many are wanted is kept alive, tasks are shared out among them, results come back.

Ray places, watches and replaces processes; it promises at-least-once. Exactly once is made here: every actor is asked
for its reports by one call at a time, which Ray never repeats; a task has a new id whenever it is begun, reports of
another id are not listened to, and a report that does not follow the one before it counts as a lost actor. Whoever
asked then begins again from what is recorded. Ray is imported when it is used. Knows nothing of models.
"""

import asyncio
import itertools
import logging
import os
import signal
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from reer.config import ExecutorConfig
from reer.errors import ClusterError, ConfigError, UserError, WorkerLost
from reer.run.executor.actor import Actor, Report

log = logging.getLogger(__name__)

PLACEMENTS = {"spread": "SPREAD", "pack": "DEFAULT"}
KINDS = ("local", "ray")
STARTS = 5
"""Actors that may die one after the other in one place before they have built their engines."""
PATIENCE = 60.0
"""Seconds after which it is said that an actor is not there yet."""
STORE_BYTES = 100 * 2**20
"""Ray's shared memory where we start it: texts are all that is sent."""


def check_executor(config: ExecutorConfig) -> None:
    """Raises: ConfigError: an unknown kind or placement, an address of the wrong form, or Ray is not installed."""
    if config.kind not in KINDS:
        raise ConfigError(f"executor.kind={config.kind} is unknown (known: {', '.join(KINDS)})")
    if config.kind == "local":
        return
    if config.placement not in PLACEMENTS:
        raise ConfigError(f"executor.placement={config.placement} is unknown (known: {', '.join(PLACEMENTS)})")
    if "://" in (config.address or ""):
        raise ConfigError(
            f"executor.address={config.address}: start the command on a node of the cluster and give auto or HOST:PORT"
        )
    try:
        import ray  # noqa: F401
    except ImportError as error:
        raise ConfigError("executor=ray needs Ray: pip install 'reer[ray]'") from error


@dataclass(eq=False)
class _Place:
    """One actor."""

    actor: Any
    ready: bool = False
    tasks: dict[int, asyncio.Queue[Report | WorkerLost | UserError]] = field(default_factory=dict)


class Cluster:
    """So many actors, used as an asynchronous context."""

    def __init__(self, config: ExecutorConfig, build: str, *given: Any) -> None:
        """Each actor works with what the function `build` (MODULE:NAME) makes of `given`."""
        self._config, self._build, self._given = config, build, given
        self._places: set[_Place] = set()
        self._ids = itertools.count()
        self._changed = asyncio.Event()
        """An actor is ready, has room, or nothing can be done any more."""
        self._mistake: UserError | None = None
        self._keepers: list[asyncio.Task[None]] = []

    @property
    def concurrency(self) -> int:
        return self._config.actors * self._config.concurrency

    @property
    def ready(self) -> int:
        """Actors that have built their engines and are alive, as far as is known."""
        return sum(place.ready for place in self._places)

    async def __aenter__(self) -> "Cluster":
        """Raises: ClusterError: there is no such cluster, or this machine is too small for the actors."""
        _connect(self._config)
        for _ in range(self._config.actors):
            keeper = asyncio.create_task(self._keep())
            keeper.add_done_callback(self._kept)
            self._keepers.append(keeper)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        import ray

        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        ray.shutdown()  # the actors are of this job, and end with it; so does a Ray that was started for it

    async def facts(self) -> Any:
        """What an actor knows of its engines, as soon as one has built them; None if it is lost at that moment.

        Raises:
            UserError: none can.
        """
        from ray.exceptions import RayError

        place = await self._roomiest(any_room=False)
        try:
            return await place.actor.facts.remote()
        except RayError:
            return None

    async def run(self, *given: Any) -> AsyncGenerator[Any]:
        """The results of one task, each once and in order.

        Raises:
            WorkerLost: its actor is gone.
            UserError: no actor can work.
            ReerError: how the task itself ended.
        """
        place = await self._roomiest()
        task, came = next(self._ids), 0
        reports: asyncio.Queue[Report | WorkerLost | UserError] = asyncio.Queue()
        place.tasks[task] = reports
        ended = False
        try:
            place.actor.begin.remote(task, *given)
            while True:
                report = await reports.get()
                if isinstance(report, WorkerLost | UserError):
                    raise report
                if report.n != came:
                    raise WorkerLost(f"result {came} of a task is missing")
                if ended := report.ended:
                    if report.error is not None:
                        raise report.error
                    return
                came += 1
                yield report.result
        finally:
            del place.tasks[task]
            self._changed.set()
            if not ended and place in self._places:
                place.actor.drop.remote(task)

    async def _roomiest(self, *, any_room: bool = True) -> _Place:
        """A ready actor with the fewest tasks; waits for one."""
        while True:
            if self._mistake is not None:
                raise self._mistake
            ready = [place for place in self._places if place.ready]
            place = min(ready, key=lambda place: len(place.tasks), default=None)
            if place is not None and (not any_room or len(place.tasks) < self._config.concurrency):
                return place
            self._changed.clear()
            await self._changed.wait()

    async def _keep(self) -> None:
        """One actor, and another one whenever it dies."""
        from ray.exceptions import RayActorError, RayError

        died = 0
        while died < STARTS:
            place = _Place(self._start())
            self._places.add(place)
            try:
                await self._attend(place)
            except RayActorError as error:
                died = 0 if place.ready else died + 1
                self._lose(place, WorkerLost(f"an actor died ({_one_line(error)})"))
                last = error
            except RayError as error:  # the code of an actor failed, or the head of the cluster is gone
                raise ClusterError(f"the actors of executor=ray cannot work: {_one_line(error)}") from error
        raise ClusterError(f"the actors of executor=ray die as they start: {_one_line(last)}")

    def _start(self) -> Any:
        import ray

        config = self._config
        remote = ray.remote(Actor).options(
            num_cpus=config.cpus_per_actor,
            num_gpus=config.gpus_per_actor,
            resources=config.resources,
            scheduling_strategy=PLACEMENTS[config.placement],
            max_restarts=0,
            max_task_retries=0,
        )
        return remote.remote(self._build, self._given, str(Path.cwd()))

    async def _attend(self, place: _Place) -> None:
        """Pass on what an actor reports, until it dies.

        Raises:
            UserError: it cannot build its engines.
            RayError: it is gone.
        """
        built = asyncio.ensure_future(_result(place.actor.build.remote()))
        if not (await asyncio.wait([built], timeout=PATIENCE))[0]:
            log.warning(
                "%d of %d actors are at work: the models of another one are loading, or no node is free that has %s",
                self.ready,
                self._config.actors,
                _asked(self._config),
            )
        if (mistake := await built) is not None:
            raise mistake
        place.ready = True
        self._changed.set()
        while True:
            for report in await place.actor.reports.remote():
                if report.task in place.tasks:
                    place.tasks[report.task].put_nowait(report)

    def _lose(self, place: _Place, why: WorkerLost) -> None:
        """Its tasks are to be begun elsewhere; should it still be there, it shall do no more."""
        import ray

        self._places.discard(place)
        for reports in place.tasks.values():
            reports.put_nowait(why)
        ray.kill(place.actor)

    def _kept(self, keeper: asyncio.Task[None]) -> None:
        """A keeper ends by mistake alone: then everybody who waits is told."""
        if keeper.cancelled():
            return
        error = keeper.exception()
        self._mistake = error if isinstance(error, UserError) else ClusterError(f"{type(error).__name__}: {error}")
        self._changed.set()
        for place in self._places:
            for reports in place.tasks.values():
                reports.put_nowait(self._mistake)


async def _result(call: Any) -> Any:
    return await call


def _connect(config: ExecutorConfig) -> None:
    """Join the cluster, or start one on this machine.

    Raises:
        ClusterError: there is none, or this machine has not what the actors ask for.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else every start warns of a change to come
    import ray

    quiet = {"logging_level": logging.WARNING, "configure_logging": True}
    before = signal.getsignal(signal.SIGTERM)
    try:
        if config.address is None:
            ray.init("local", include_dashboard=False, object_store_memory=STORE_BYTES, **quiet)
            _refuse_too_much(config, ray.cluster_resources())
        else:
            ray.init(config.address, **quiet)
    except (ConnectionError, ValueError, RuntimeError) as error:
        where = config.address or "this machine"
        raise ClusterError(f"executor.address={where}: no Ray to work with ({_one_line(error)})") from error
    finally:
        signal.signal(signal.SIGTERM, before)  # Ray puts its own there


def _refuse_too_much(config: ExecutorConfig, there: dict[str, float]) -> None:
    """Raises: ClusterError: nobody will add a machine to a Ray that runs for one command."""
    wanted = {"CPU": config.cpus_per_actor, "GPU": config.gpus_per_actor} | config.resources
    for name, each in wanted.items():
        if each * config.actors > there.get(name, 0.0):
            import ray

            ray.shutdown()
            raise ClusterError(
                f"executor.actors={config.actors}: they ask for {_asked(config)} each, and this machine has "
                f"{there.get(name, 0.0):g} {name}"
            )


def _asked(config: ExecutorConfig) -> str:
    wanted = {"CPU": config.cpus_per_actor, "GPU": config.gpus_per_actor} | config.resources
    return ", ".join(f"{amount:g} {name}" for name, amount in wanted.items() if amount)


def _one_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if len(lines) > 3 else "; ".join(lines)
