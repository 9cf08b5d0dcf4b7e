from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest

from bot.app import create_app
from bot.intake import Rules
from bot.jobs import Jobs
from bot.settings import Settings
from orchestrator.report import report
from orchestrator.store import Database, Delivery
from tests.unit.bot.deliveries import NOW, PREVIOUS, SECRET, signed_request

SETTINGS = Settings(github_token="a token", webhook_secret=SECRET, webhook_secret_previous=PREVIOUS)


RULES = Rules()


@dataclass
class Worker:
    """Work that notes its deliveries and, where a gate is given, waits behind it."""

    gate: asyncio.Event | None = None
    began: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    given_up: list[tuple[str, str]] = field(default_factory=list)
    finished: asyncio.Event = field(default_factory=asyncio.Event)

    async def work(self, delivery: Delivery) -> None:
        self.began.append(delivery.id)
        if self.gate:
            await self.gate.wait()
        self.done.append(delivery.id)
        self.finished.set()

    async def give_up(self, delivery: Delivery, reason: str) -> None:
        self.given_up.append((delivery.id, reason))
        self.finished.set()


@dataclass
class Bot:
    """A bot in this process, and a client that speaks to it as from its own machine."""

    client: httpx.AsyncClient
    database: Database
    jobs: Jobs
    worker: Worker

    async def deliver(self, payload: dict[str, Any], **named: str) -> httpx.Response:
        body, headers = signed_request(payload, **named)
        return await self.client.post("/webhook", content=body, headers=headers)


class StartBot(Protocol):
    async def __call__(
        self, settings: Settings = ..., rules: Rules = ..., worker: Worker | None = ..., client: str = ...
    ) -> Bot: ...


@asynccontextmanager
async def running_bot(
    database: Database, settings: Settings, rules: Rules, worker: Worker, client: str
) -> AsyncIterator[Bot]:
    jobs = Jobs(database, worker.work, worker.give_up)
    app = create_app(settings, database, jobs, rules, report)
    transport = httpx.ASGITransport(app, client=(client, 5000))
    async with jobs.running(), httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as http:
        yield Bot(http, database, jobs, worker)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with Database.open(f"sqlite:///{tmp_path / 'state.db'}", clock=lambda: NOW) as opened:
        yield opened


@pytest.fixture
async def start_bot(database: Database) -> AsyncIterator[StartBot]:
    async with AsyncExitStack() as stack:

        async def start(
            settings: Settings = SETTINGS,
            rules: Rules = RULES,
            worker: Worker | None = None,
            client: str = "127.0.0.1",
        ) -> Bot:
            return await stack.enter_async_context(running_bot(database, settings, rules, worker or Worker(), client))

        yield start
