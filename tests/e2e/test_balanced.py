"""Two real bots on one PostgreSQL behind a real HAProxy with the configuration that compose.yaml gives it."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.e2e.stage import SECRET, Bot, free_port, open_stage, until
from tests.loopback import Script
from tests.postgresql import Cluster

pytestmark = [
    pytest.mark.slow, pytest.mark.haproxy, pytest.mark.postgresql, pytest.mark.xdist_group("postgresql")
]  # fmt: skip

CONFIGURATION = Path(__file__).parents[2] / "deploy" / "haproxy.cfg"


@asynccontextmanager
async def balancer(folder: Path, one: Bot, other: Bot) -> AsyncIterator[str]:
    """Start HAProxy before two bots and yield its address."""
    listen = f"127.0.0.1:{free_port()}"
    places = {"LISTEN": listen, "BOT_1": one.address, "BOT_2": other.address}
    env = {**os.environ, **{name: place.removeprefix("http://") for name, place in places.items()}}
    with (folder / "haproxy.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *("haproxy", "-db", "-f", CONFIGURATION), env=env, stdout=log, stderr=log
        )
    try:
        await until(lambda: _listens(listen), "HAProxy's start")
        yield f"http://{listen}"
    finally:
        process.terminate()
        await process.wait()


def _listens(place: str) -> bool:
    host, _, port = place.partition(":")
    with socket.socket() as tried:
        return tried.connect_ex((host, int(port))) == 0


def answered(folder: Path) -> list[str]:
    """Return which server was given each delivery, as HAProxy logged it."""
    lines = (folder / "haproxy.log").read_text().splitlines()
    return [line.partition("bots/")[2].split()[0] for line in lines if '"POST /webhook' in line]


async def test_ten_commands_through_the_balancer_are_each_done_once_while_one_bot_leaves(
    tmp_path: Path, cluster: Cluster
) -> None:
    url = cluster.new_database()
    async with open_stage(
        tmp_path, Script(tasks=1), postgresql=url, config="per_repository: {runs_at_once: 9}\n"
    ) as stage:
        scene = await stage.scene()
        async with stage.bot() as one, stage.bot() as other, balancer(tmp_path, one, other) as address:
            stage.hub.set_webhook(stage.app_id, f"{address}/webhook", SECRET)
            # when five are given, one bot is asked to leave, and five more are given
            asked = [await scene.command() for _ in range(5)]
            await asked[0].reacted("rocket")
            await one.stop()
            assert one.process.returncode == 0
            asked += [await scene.command() for _ in range(5)]
            for run in asked:
                await run.reacted("rocket")
            await asked[0].settled()
        # then
        assert [run.status for run in asked] == [202] * 10
        assert len({run.run_id for run in asked}) == len(scene.hub.pull_requests(scene.repository)) == 10
        assert all(sorted(scene.reactions(run.comment)) == ["eyes", "rocket"] for run in asked)
        first = answered(tmp_path)[:4]
        assert {"bot-1", "bot-2"} <= set(first)
        await until(lambda: stage.reserved() == 0, "the settling")
