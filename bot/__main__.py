"""`python -m bot`: check the settings, open what the work needs, listen until a signal says stop."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from bot import credentials, logs, retention, scratch
from bot.app import create_app
from bot.doctor import doctor
from bot.jobs import Jobs
from bot.limits import at_once
from bot.redelivery import Redelivery
from bot.replay import replay
from bot.rules import rules_of
from bot.settings import Settings
from bot.setup_page import create_setup_app
from bot.shared_jobs import SharedJobs
from bot.work import Workshop
from orchestrator.control_plane import ControlPlane
from orchestrator.errors import OrchestratorError, UsageError
from orchestrator.github.api.auth import GitHubConnection
from orchestrator.github.api.registration import RegisteredApp
from orchestrator.report import report
from orchestrator.store import ContentStore

CLOSE_SECONDS = 9.0
"""After this the process leaves even what does not let itself be cancelled; the store makes that safe."""
LINGER_SECONDS = 4.0
"""So long after SIGTERM deliveries are still kept: a balancer goes on sending them until it has seen `/readyz`."""
REQUESTS_CLOSE_SECONDS = 3
SWITCH_SECONDS = 0.0005
"""How long a thread computes before the event loop's turn: by default ten times as long, which every answer waits for.

Calls to GitHub are made in threads, and the loop asks for its turn after each read and write of a socket.
Source: https://docs.python.org/3.11/library/sys.html#sys.setswitchinterval
"""
INTERRUPTED_STATUS = 130
USAGE = """usage: orchestrator-bot                                           serve webhooks, as the environment says
       orchestrator-bot doctor                                           check everything it needs, and change nothing
       orchestrator-bot replay payload.json [--event NAME] [--dry-run]   work on one kept payload"""

log = logging.getLogger(__name__)


def main() -> int:
    """Run the bot until SIGTERM or SIGINT; returns the exit status, 2 for settings that cannot be used.

    With `replay` and a file it works on that payload instead, with `doctor` it says what is wrong with its
    environment. An interrupt before the bot listens ends with 130.
    """
    arguments = sys.argv[1:]
    if arguments and arguments[0] not in ("replay", "doctor"):
        print(USAGE, file=sys.stderr if arguments[0] not in ("-h", "--help") else sys.stdout)
        return 0 if arguments[0] in ("-h", "--help") else 2
    try:
        if arguments[:1] == ["doctor"]:
            return doctor(arguments[1:], os.environ)
        env = credentials.environment(os.environ)
        if arguments:
            return replay(arguments[1:], env)
        settings = Settings.from_environment(env)
        logs.start(settings.secrets)
        sys.setswitchinterval(SWITCH_SECONDS)
        with _listen(settings) as listener, scratch.own_folder() as above:
            asyncio.run(_run(settings, env, listener, above))
    except OrchestratorError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        return INTERRUPTED_STATUS
    return 0


@dataclass(frozen=True, slots=True)
class Leave:
    """That a signal has asked the process to leave, and that it need not wait for a balancer to notice."""

    asked: asyncio.Event = field(default_factory=asyncio.Event)
    at_once: asyncio.Event = field(default_factory=asyncio.Event)


@contextmanager
def _told_to_leave() -> Iterator[Leave]:
    """Within the block, take SIGTERM and SIGINT as orders to leave, by which the process is gone in `CLOSE_SECONDS`.

    A person at a terminal, who sends SIGINT, is not kept waiting, nor is who asks twice.
    """
    leave = Leave()

    def order(number: int) -> None:
        if number == signal.SIGINT or leave.asked.is_set():
            leave.at_once.set()
        if not leave.asked.is_set():
            _leave_after(CLOSE_SECONDS)
        leave.asked.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, order, number)
    try:
        yield leave
    finally:
        # Once it is leaving nothing more may cut that short; else what comes later ends it like any other process.
        for number in (signal.SIGTERM, signal.SIGINT):
            if not leave.asked.is_set():
                loop.remove_signal_handler(number)


async def _run(settings: Settings, env: Mapping[str, str], listener: socket.socket, above: Path) -> None:
    address = _address(settings, listener)
    if settings.set_up_mode:
        if not await _set_up(settings, env, listener, address):
            return
        env = credentials.environment(env)
        settings = Settings.from_environment(env)
        logs.start(settings.secrets)
    async with ControlPlane.open(env) as plane:
        github = GitHubConnection.from_environment(env)
        github.count_content(
            plane.operator.content_writes_per_hour, lambda bucket: ContentStore(plane.database, bucket)
        )
        rules = await rules_of(settings, plane.operator, github)
        workshop = Workshop(plane, github, rules, settings.secrets, lambda run_id: jobs.begin_now(run_id))
        jobs = _jobs(plane, workshop)
        with _told_to_leave() as leave:
            async with jobs.running():
                app = create_app(settings, plane.database, jobs, rules, report, lambda: plane.telemetry)
                print(f"Listening on {address}, webhook at {address}/webhook", flush=True)
                async with asyncio.TaskGroup() as group:
                    redelivery = Redelivery(github, plane.database, rules.redelivery_seconds)
                    sweeps = [
                        group.create_task(redelivery.sweeps()),
                        group.create_task(retention.sweeps(plane.database, plane.operator.keep_days)),
                        group.create_task(asyncio.to_thread(scratch.remove_left, above)),
                    ]
                    await _serve(app, listener, leave, drain=jobs.drain)
                    for sweep in sweeps:
                        sweep.cancel()


def _jobs(plane: ControlPlane, workshop: Workshop) -> Jobs | SharedJobs:
    """Return what works on deliveries: in this process alone, or shared with every other one on the same PostgreSQL."""
    operator, database = plane.operator, plane.database
    runs, holders = operator.runs_at_once, at_once(operator)
    if not database.conninfo:
        allowed = workshop.allowed_seconds
        return Jobs(database, workshop.work, workshop.give_up, runs_at_once=runs, at_once=holders, allowed=allowed)
    return SharedJobs(
        database,
        lambda attempt: workshop.fenced(attempt).work(attempt),
        lambda attempt, why: workshop.fenced(attempt).give_up(attempt, why),
        runs_at_once=runs,
        at_once=holders,
        allowed=workshop.allowed_seconds,
        stalled_after=operator.takeover_seconds,
    )


async def _set_up(settings: Settings, env: Mapping[str, str], listener: socket.socket, address: str) -> bool:
    """Serve `/setup` until an App is registered and kept, or a signal says stop; return True for an App."""
    token = secrets.token_urlsafe(32)
    done = asyncio.Event()

    async def ready() -> None:
        await asyncio.to_thread(credentials.check, env)

    async def registered(app: RegisteredApp) -> None:
        await asyncio.to_thread(credentials.keep, env, settings.github_api_url, app)
        done.set()

    await ready()
    print(f"Nothing is configured yet. Open {address}/setup?token={token}", flush=True)
    # uvicorn closes what it listens on: the bot goes on with the original.
    with listener.dup() as own, _told_to_leave() as leave:
        leave.at_once.set()
        app = create_setup_app(settings, token, ready, registered)
        await _serve(app, own, leave, drain=lambda: None, over=done)
    return done.is_set() and not leave.asked.is_set()


class _Server(uvicorn.Server):
    """uvicorn without its handlers of signals, which would close its sockets at once."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave the signals to the bot."""
        yield


async def _serve(
    app: ASGIApp,
    listener: socket.socket,
    leave: Leave,
    *,
    drain: Callable[[], None],
    over: asyncio.Event | None = None,
) -> None:
    """Serve until told to leave, then `drain` at once and close after `LINGER_SECONDS`; or until it is `over`."""
    server = _Server(
        uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=REQUESTS_CLOSE_SECONDS,
        )
    )

    async def close_when_told() -> None:
        await leave.asked.wait()
        drain()
        with suppress(TimeoutError):
            await asyncio.wait_for(leave.at_once.wait(), LINGER_SECONDS)
        server.should_exit = True

    async def close_when_over(event: asyncio.Event) -> None:
        await event.wait()
        server.should_exit = True

    async with asyncio.TaskGroup() as group:
        endings = [group.create_task(close_when_told())]
        if over:
            endings.append(group.create_task(close_when_over(over)))
        await server.serve(sockets=[listener])
        for ending in endings:
            ending.cancel()


def _leave_after(seconds: float) -> None:
    timer = threading.Timer(seconds, os._exit, args=(1,))
    timer.daemon = True
    timer.start()


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host.strip("[]"), settings.port), family=family)
    except OSError as error:
        raise UsageError(
            f"HOST and PORT name {settings.host}:{settings.port}, where nobody can listen: {error.strerror}.",
            hint="Set them to an address of this machine that is free.",
        ) from error


def _address(settings: Settings, listener: socket.socket) -> str:
    host = f"[{settings.host.strip('[]')}]" if ":" in settings.host else settings.host
    return f"http://{host}:{listener.getsockname()[1]}"


if __name__ == "__main__":
    sys.exit(main())
