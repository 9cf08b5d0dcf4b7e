"""The bot's routes, held by schemathesis to what `bot.described` says of them."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
import uvicorn
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.types import ASGIApp

from bot.app import create_app
from bot.dashboard.access import Gate
from bot.jobs import Jobs
from bot.settings import Settings
from bot.setup_page import create_setup_app
from orchestrator.github.api.registration import RegisteredApp
from orchestrator.report import report
from orchestrator.store import Database
from tests.counts import INPUTS, count
from tests.unit.bot.conftest import RULES, SETTINGS, Worker
from tests.unit.bot.deliveries import NOW, headers, issue_comment

CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]
PATHS = (
    "/",
    "/api/runs",
    "/api/runs/{run_id}",
    "/api/runs/{run_id}/audit",
    "/dashboard.css",
    "/healthz",
    "/metrics",
    "/readyz",
    "/runs/{run_id}",
)
SET_UP_PATHS = ("/setup", "/setup/registered", "/setup/organization", "/healthz", "/readyz", "/webhook")
TRY = settings(deadline=None, max_examples=5, suppress_health_check=list(HealthCheck))

Opened = Callable[[], AbstractAsyncContextManager[ASGIApp]]


@contextmanager
def served(opened: Opened) -> Iterator[tuple[str, dict[str, Any]]]:
    """Serve an application on loopback from a thread of its own; yield its address and its OpenAPI document."""
    listening = socket.create_server(("127.0.0.1", 0))
    ready, found = threading.Event(), []

    async def serve() -> None:
        async with opened() as app:
            server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
            inner = app.app if isinstance(app, Gate) else app
            assert isinstance(inner, FastAPI)
            found.append((server, inner.openapi()))
            ready.set()
            await server.serve(sockets=[listening])

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(30)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", found[0][1]
    finally:
        if found:
            found[0][0].should_exit = True
        thread.join()
        listening.close()


@pytest.fixture(scope="module")
def bot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, Any]]]:
    path: Path = tmp_path_factory.mktemp("bot")

    @asynccontextmanager
    async def opened() -> AsyncIterator[ASGIApp]:
        worker = Worker()
        async with Database.open(f"sqlite:///{path / 'state.db'}", clock=lambda: NOW) as database:
            jobs = Jobs(database, worker.work, worker.give_up)
            async with jobs.running():
                yield create_app(SETTINGS, database, jobs, RULES, report)

    with served(opened) as running:
        yield running


@pytest.fixture(scope="module")
def set_up() -> Iterator[tuple[str, dict[str, Any]]]:
    async def ready() -> None:
        raise AssertionError("nobody has registered an App")

    async def registered(app: RegisteredApp) -> None:
        raise AssertionError("nobody has registered an App")

    @asynccontextmanager
    async def opened() -> AsyncIterator[ASGIApp]:
        yield create_setup_app(Settings(), "the console's token", ready, registered)

    with served(opened) as running:
        yield running


def test_every_route_is_described(bot: tuple[str, dict[str, Any]], set_up: tuple[str, dict[str, Any]]) -> None:
    assert sorted(bot[1]["paths"]) == sorted((*PATHS, "/webhook"))
    assert sorted(set_up[1]["paths"]) == sorted(SET_UP_PATHS)


@pytest.mark.slow
@pytest.mark.parametrize("path", PATHS)
def test_every_route_answers_as_described(bot: tuple[str, dict[str, Any]], path: str) -> None:
    _hold(*bot, path, "GET", highest=499)


@pytest.mark.slow
@pytest.mark.parametrize("path", SET_UP_PATHS)
def test_every_route_of_the_set_up_answers_as_described(set_up: tuple[str, dict[str, Any]], path: str) -> None:
    _hold(*set_up, path, "POST" if path in ("/webhook", "/setup/organization") else "GET", highest=503)


@pytest.mark.slow
def test_an_unsigned_delivery_is_refused_as_described(bot: tuple[str, dict[str, Any]]) -> None:
    _hold(*bot, "/webhook", "POST", highest=499)


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/webhook", "/setup/organization"])
def test_what_is_against_the_description_is_refused_as_described(
    bot: tuple[str, dict[str, Any]], set_up: tuple[str, dict[str, Any]], path: str
) -> None:
    _hold(*(bot if path == "/webhook" else set_up), path, "POST", lowest=400, highest=499, mode=GenerationMode.NEGATIVE)


def _hold(
    address: str,
    document: dict[str, Any],
    path: str,
    method: str,
    *,
    lowest: int = 200,
    highest: int,
    mode: GenerationMode = GenerationMode.POSITIVE,
) -> None:
    operation = schemathesis.openapi.from_dict(document)[path][method]

    @TRY
    @given(case=operation.as_strategy(generation_mode=mode))
    def held(case: schemathesis.Case[Any]) -> None:
        count(INPUTS)
        response = case.call(base_url=address, allow_redirects=False)
        assert lowest <= response.status_code <= highest
        assert response.status_code != 500
        case.validate_response(response, checks=CHECKS)

    held()


@pytest.mark.slow
def test_a_signed_delivery_of_anything_is_answered_as_described(bot: tuple[str, dict[str, Any]]) -> None:
    address, document = bot
    operation = schemathesis.openapi.from_dict(document)["/webhook"]["POST"]
    tried: list[int] = []

    @TRY
    @given(case=operation.as_strategy())
    def held(case: schemathesis.Case[Any]) -> None:
        given_body = case.body if isinstance(case.body, dict) else {}
        for payload in (given_body, issue_comment() | given_body, issue_comment(comment=100 + len(tried))):
            body = json.dumps(payload).encode()
            tried.append(len(body))
            count(INPUTS)
            answer = httpx.post(
                f"{address}/webhook", content=body, headers=headers(body, delivery=f"d-{len(tried)}"), timeout=30
            )
            assert answer.status_code in (200, 202, 400)
            case.validate_response(answer, checks=CHECKS)

    held()
    assert tried
