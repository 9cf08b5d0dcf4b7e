"""Many deliveries at once, and a whole day of them: none lost, none twice, and nothing that grows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.load import given, kept_once, shuffled, worked_on_once
from tests.e2e.flood import flood, ordinary, sender
from tests.e2e.soaking import growth, soak
from tests.e2e.stage import open_stage, until
from tests.loopback import Script
from tests.postgresql import Cluster

CONFIG = "runs_per_hour: 10000\n"
SPEC = "version: 1\nvalidation:\n  validators: [python_syntax]\n"
TEXTS = {
    "/orchestrate": 4,
    "/orchestrate plan": 2,
    "/orchestrate status": 44,
    "/orchestrate help": 42,
    "/orchestrate rnu": 8,
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    ["sqlite", pytest.param("postgresql", marks=[pytest.mark.postgresql, pytest.mark.xdist_group("postgresql")])],
)
async def test_of_a_thousand_deliveries_over_64_connections_none_is_lost_and_none_is_worked_on_twice(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    # given four repositories, a hundred commands, nine hundred other deliveries, and fifty that come twice
    running: Any = request.getfixturevalue("cluster") if kind == "postgresql" else None
    url = running.new_database() if isinstance(running, Cluster) else ""
    async with open_stage(tmp_path, Script(tasks=1, installs=False), postgresql=url, config=CONFIG) as stage:
        scenes = [await stage.scene(SPEC) for _ in range(4)]
        commands = given(scenes, TEXTS)
        others = [one for scene in scenes for one in ordinary(scene, scene.issue(), 225)]
        (sendings,) = shuffled(commands, others, 50, 1)
        assert len(sendings) == 1050
        # when
        with sender() as pool:
            async with stage.bot() as bot:
                answers = (await flood(pool, bot.address, sendings)).answers
                kept_once(stage, sendings, answers)
                await until(lambda: stage.delivery_states() <= {"done", "ignored"}, "the end of all work", 600)
        # then
        kept_once(stage, sendings, answers)
        worked_on_once(commands)
        assert stage.reserved() == 0


@pytest.mark.slow
async def test_sec_33_through_a_day_of_steady_work_nothing_that_the_bot_holds_grows(tmp_path: Path) -> None:
    with sender() as pool:
        async with open_stage(tmp_path, Script(tasks=1, installs=False), config=CONFIG) as stage:
            samples = await soak(stage, [await stage.scene(SPEC)], pool, steps=24)
    assert growth(samples) == []
    # and of what is over 24 hours later no run but the latest is left
    assert samples[-1].rows["runs"] <= 5
