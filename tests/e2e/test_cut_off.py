"""Two bots on hosts of their own: the one whose cables are pulled in the middle of a run loses it to the other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.e2e.hosts import DATABASE, REST, hosts
from tests.e2e.stage import Stage, billed_usd, open_stage, until
from tests.e2e.test_many_bots import (
    TAKEN_OVER_WITHIN_SECONDS,
    TAKEOVER,
    assert_one_of_everything,
    taken_from,
    the_one_at_work,
    works_on,
)
from tests.loopback import Script
from tests.postgresql import Cluster

pytestmark = [pytest.mark.slow, pytest.mark.namespaces, pytest.mark.postgresql, pytest.mark.xdist_group("postgresql")]


@pytest.fixture
async def stage(tmp_path: Path, cluster: Cluster) -> AsyncIterator[Stage]:
    async with open_stage(tmp_path, Script(tasks=2), postgresql=cluster.new_database(), config=TAKEOVER) as opened:
        yield opened


@pytest.mark.parametrize("cables", [(DATABASE,), (DATABASE, REST)], ids=["database", "everything"])
async def test_a_host_that_is_cut_off_loses_its_run_within_a_minute_and_changes_nothing_when_it_is_back(
    stage: Stage, tmp_path: Path, cables: tuple[str, ...]
) -> None:
    # given two hosts, on one of which a bot waits for the fifth answer
    scene = await stage.scene()
    async with AsyncExitStack() as stack:
        (tmp_path / "s").mkdir()
        machines = await stack.enter_async_context(hosts(stage, tmp_path / "s", 2))
        bots = [
            await stack.enter_async_context(stage.bot({"PORT": str(host.port)}, within=host.within))
            for host in machines
        ]
        stage.models.hold_after(4)
        asked = await scene.command()
        lost, taker = await the_one_at_work(bots, asked)
        await until(lambda: len(stage.models.journal) == 5, "the fifth question")
        finished, calls = stage.finished_tasks(), len(stage.models.journal)
        host = machines[bots.index(lost)]
        # when
        host.pull(*cables)
        stage.models.release()
        await until(lambda: works_on(taker, asked.run_id), "the takeover", TAKEN_OVER_WITHIN_SECONDS)
        await asked.reacted("rocket")
        await asked.settled()
        writes = scene.writes()
        host.plug(*cables)
        # then
        await until(lambda: taken_from(lost), "its giving in")
        assert scene.writes() == writes
        assert_one_of_everything(asked)
        assert finished.isdisjoint(stage.generated(stage.models.journal[calls:]))
        report = await taker.report(asked.run_id)
        assert report["budget"]["spent_usd"] >= billed_usd(stage.models.journal) > 0
        assert stage.reserved() == 0
        # and it takes part again
        assert lost.process.returncode is None
        assert (await lost.get("/readyz")).json() == {"status": "ready"}
