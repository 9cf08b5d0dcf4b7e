"""The clock jumps by a day, or back by an hour, while a run is in progress or the bot is down: nothing waits for it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.clocks import DAY, HOUR, Clock
from tests.e2e.command_line import two_modules
from tests.e2e.stage import Asked, Stage, billed_usd, open_stage, until
from tests.e2e.test_many_bots import assert_one_of_everything, the_one_at_work, works_on
from tests.postgresql import Cluster

pytestmark = [pytest.mark.slow, pytest.mark.faketime]

JUMPS = pytest.mark.parametrize("jump", [DAY, -HOUR], ids=["a day ahead", "an hour back"])
# The shortest retention that there is.
CONFIG = "keep_days: 8\nbudgets:\n  org: 50\n"


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with open_stage(tmp_path, two_modules(), config=CONFIG) as opened:
        yield opened


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path / "clock")


def assert_it_ended_once(stage: Stage, asked: Asked) -> None:
    assert_one_of_everything(asked)
    assert stage.reserved() == 0
    ((spent,),) = stage.rows(f"SELECT spent FROM accounts WHERE id = 'run:{asked.run_id}'")
    assert int(spent) / 10**12 == pytest.approx(billed_usd(stage.models.journal))


@JUMPS
async def test_a_run_in_progress_ends_as_if_the_clock_had_not_jumped_and_so_does_the_next_one(
    stage: Stage, clock: Clock, jump: int
) -> None:
    scene = await stage.scene()
    async with stage.bot(clock.environment):
        stage.models.hold_after(4)
        asked = await scene.command()
        await until(lambda: len(stage.models.journal) == 5, "the fifth question")
        began = time.monotonic()
        clock.jump(jump)
        stage.models.release()
        await asked.reacted("rocket")
        await asked.settled()
        assert_it_ended_once(stage, asked)
        # A new repository needs a new token, which the App signs for by its own clock.
        other = await (await stage.scene()).command()
        await other.reacted("rocket")
        assert time.monotonic() - began < 150


@JUMPS
async def test_a_run_goes_on_when_the_clock_jumped_while_the_bot_was_down(
    stage: Stage, clock: Clock, jump: int
) -> None:
    scene = await stage.scene()
    async with stage.bot(clock.environment) as bot:
        stage.models.hold_after(4)
        asked = await scene.command()
        await until(lambda: len(stage.models.journal) == 5, "the fifth question")
        await bot.kill()
    finished, calls = stage.finished_tasks(), len(stage.models.journal)
    clock.jump(jump)
    stage.models.release()
    async with stage.bot(clock.environment):
        await asked.reacted("rocket")
        await asked.settled()
    assert_one_of_everything(asked)
    assert finished.isdisjoint(stage.generated(stage.models.journal[calls:]))
    assert stage.reserved() == 0


@pytest.mark.postgresql
@pytest.mark.xdist_group("postgresql")
@JUMPS
async def test_a_bot_whose_clock_is_wrong_hands_its_run_over_at_once_all_the_same(
    tmp_path: Path, cluster: Cluster, clock: Clock, jump: int
) -> None:
    # A takeover of what fell silent would come only after the five minutes that are set here.
    config = "takeover_seconds: 300\n"
    async with open_stage(tmp_path, two_modules(), postgresql=cluster.new_database(), config=config) as stage:
        scene = await stage.scene()
        async with stage.bot(clock.environment) as wrong, stage.bot() as right:
            stage.models.hold_after(4)
            asked = await scene.command()
            leaving, taker = await the_one_at_work([wrong, right], asked)
            await until(lambda: len(stage.models.journal) == 5, "the fifth question")
            clock.jump(jump)
            await leaving.stop()
            stage.models.release()
            await until(lambda: works_on(taker, asked.run_id), "the handing over", 20)
            await asked.reacted("rocket")
            await asked.settled()
        assert_one_of_everything(asked)
