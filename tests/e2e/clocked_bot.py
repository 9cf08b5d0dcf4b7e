"""The bot with a clock that its starter moves, so that a day passes as fast as its work is done.

`python -m tests.e2e.clocked_bot HOURS` forgets what is older than so many hours, every hour. Each line on standard
input is a number of seconds by which the clock goes on, answered by an empty line.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import uvicorn

from bot import logs, retention
from bot.app import create_app
from bot.jobs import Jobs
from bot.limits import at_once
from bot.redelivery import Redelivery
from bot.rules import rules_of
from bot.settings import Settings
from bot.work import Workshop
from orchestrator.control_plane import ControlPlane
from orchestrator.github.api.auth import GitHubConnection
from orchestrator.report import report

HOUR_SECONDS = 3600.0


@dataclass
class Clock:
    """A time in seconds since the epoch that stands until it is moved, and those who wait for a later one."""

    now: float = field(default_factory=time.time)
    waiting: list[tuple[float, asyncio.Event]] = field(default_factory=list)

    def __call__(self) -> float:
        """Return the time."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock was moved by so many seconds."""
        over = asyncio.Event()
        self.waiting.append((self.now + seconds, over))
        await over.wait()

    def move(self, seconds: float) -> None:
        """Let time pass, and wake whom it is time for."""
        self.now += seconds
        for it in [it for it in self.waiting if it[0] <= self.now]:
            self.waiting.remove(it)
            it[1].set()


async def serve(env: Mapping[str, str], hours: float) -> None:
    """Run what `python -m bot` runs, with this clock in the place of the machine's, until a signal says stop."""
    settings, clock = Settings.from_environment(env), Clock()
    logs.start(settings.secrets)
    async with ControlPlane.open(env) as plane:
        plane.database.clock = clock
        github = GitHubConnection.from_environment(env)
        rules = await rules_of(settings, plane.operator, github)
        workshop = Workshop(plane, github, rules, settings.secrets, lambda run_id: jobs.begin_now(run_id))
        jobs = Jobs(plane.database, workshop.work, workshop.give_up, at_once=at_once(plane.operator))
        app = create_app(settings, plane.database, jobs, rules, report, lambda: plane.telemetry)
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None, access_log=False))
        redelivery = Redelivery(github, plane.database, rules.redelivery_seconds, sleep=clock.sleep)
        forgetting = retention.sweeps(plane.database, hours / 24, between=HOUR_SECONDS, sleep=clock.sleep)
        async with jobs.running(), asyncio.TaskGroup() as group:
            beside = [group.create_task(it) for it in (redelivery.sweeps(), forgetting, moved(clock))]
            with socket.create_server(("127.0.0.1", 0)) as listener:
                print(f"Listening on http://127.0.0.1:{listener.getsockname()[1]},", flush=True)
                await server.serve(sockets=[listener])
            jobs.drain()
            for task in beside:
                task.cancel()


async def moved(clock: Clock) -> None:
    """Move the clock by what standard input says."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async for line in reader:
        clock.move(float(line))
        print(flush=True)


if __name__ == "__main__":
    asyncio.run(serve(os.environ, float(sys.argv[1])))
