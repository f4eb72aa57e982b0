"""What an actor does, in this process; and executor=ray where it cannot be."""

import asyncio
import sys

import pytest

from reer.config import ExecutorConfig, FakeBackendConfig, SynthesizeConfig
from reer.errors import ConfigError
from reer.run.executor.actor import Actor
from reer.run.executor.cluster import check_executor
from reer.synthesize import Searching

FAKE = SynthesizeConfig(generator=FakeBackendConfig(), scorer=FakeBackendConfig())


def test_reports_name_their_task_and_their_number_and_the_end_says_how_many_there_were(pairs, tmp_path):
    async def work():
        actor = Actor("reer.synthesize:Searching", (FAKE,), str(tmp_path / "nowhere"))
        assert await actor.build() is None
        for task, pair in enumerate(pairs[:2]):
            await actor.begin(task, pair, [])
        found = []
        while sum(report.ended for report in found) < 2:
            found += await actor.reports()
        return found

    async def here(pair):
        return [event async for event in Searching(FAKE).run(pair)]

    found = asyncio.run(work())
    for task, pair in enumerate(pairs[:2]):
        mine = [report for report in found if report.task == task]
        assert [report.n for report in mine] == list(range(len(mine)))
        assert mine[-1].ended
        assert mine[-1].error is None
        assert [report.result for report in mine[:-1]] == asyncio.run(here(pair))


def test_without_ray_one_sentence_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    check_executor(ExecutorConfig())
    with pytest.raises(ConfigError, match=r"executor=ray needs Ray: pip install 'reer\[ray\]'"):
        check_executor(ExecutorConfig(kind="ray"))


@pytest.mark.parametrize(("key", "value"), [("placement", "heap"), ("kind", "dask"), ("address", "ray://head:10001")])
def test_a_value_that_cannot_be_is_named(key, value):
    with pytest.raises(ConfigError, match=f"executor.{key}={value}"):
        check_executor(ExecutorConfig(**{"kind": "ray", key: value}))
