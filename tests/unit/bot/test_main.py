from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from bot.__main__ import LINGER_SECONDS
from tests.unit.bot.deliveries import signed_request

Start = Callable[..., Awaitable[Process]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    processes: list[Process] = []

    async def start(**env: str) -> Process:
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bot"),
            stdout=PIPE,
            stderr=PIPE,
            env=kept | {"PORT": "0", "HOME": str(tmp_path), "ORCHESTRATOR_HOME": str(tmp_path / "state")} | env,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize(
    ("env", "named"),
    [
        ({"GITHUB_TOKEN": "t"}, "GITHUB_WEBHOOK_SECRET is not set"),
        ({"GITHUB_TOKEN": "t", "GITHUB_WEBHOOK_SECRET": "short"}, "GITHUB_WEBHOOK_SECRET has 5 characters"),
        ({"HOST": "192.0.2.1"}, "HOST and PORT name 192.0.2.1:0, where nobody can listen"),
        (
            {"GITHUB_TOKEN": "t", "GITHUB_WEBHOOK_SECRET": "x" * 16, "ORCHESTRATOR_CONFIG": "/no/such/file"},
            "ORCHESTRATOR_CONFIG names /no/such/file",
        ),
    ],
)
async def test_sec_01_settings_that_cannot_be_used_end_with_2_and_no_traceback(
    start: Start, env: dict[str, str], named: str
) -> None:
    process = await start(**env)
    async with asyncio.timeout(30):
        out, err = await process.communicate()
    assert (process.returncode, out) == (2, b"")
    assert named in err.decode()
    assert b"Traceback" not in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_bot_listens_says_where_and_closes_on_a_signal(start: Start, number: int) -> None:
    process = await start(GITHUB_TOKEN="a-token-of-tests", GITHUB_WEBHOOK_SECRET="0123456789abcdef")
    assert process.stdout
    async with asyncio.timeout(30):
        said = (await process.stdout.readline()).decode()
        match = re.fullmatch(r"Listening on (http://127\.0\.0\.1:\d+), webhook at \1/webhook\n", said)
        assert match, said
        async with httpx.AsyncClient(base_url=match[1]) as client:
            assert (await client.get("/readyz")).json() == {"status": "ready"}
            assert (await client.get("/")).status_code == 200
            # when
            began = time.monotonic()
            process.send_signal(number)
            async with asyncio.timeout(10):
                if number == signal.SIGTERM:
                    # A balancer that has not seen it yet loses nothing that it sends.
                    while (await client.get("/readyz")).status_code == 200:
                        pass
                    body, headers = signed_request({"zen": "Keep it."}, event="ping", secret="0123456789abcdef")
                    assert (await client.post("/webhook", content=body, headers=headers)).status_code == 200
                    process.send_signal(number)
                _, err = await process.communicate()
    # then, as nobody is kept waiting who sends SIGINT, or asks twice
    assert time.monotonic() - began < LINGER_SECONDS
    assert process.returncode == 0
    events = [json.loads(line)["event"] for line in err.decode().splitlines()]
    assert "draining" in events


async def test_without_anything_configured_the_console_shows_the_way_to_set_up(start: Start) -> None:
    process = await start()
    assert process.stdout
    async with asyncio.timeout(30):
        said = (await process.stdout.readline()).decode()
        match = re.fullmatch(r"Nothing is configured yet\. Open (http://127\.0\.0\.1:\d+)(/setup\?token=\S+)\n", said)
        assert match, said
        async with httpx.AsyncClient(base_url=match[1]) as client:
            assert (await client.get("/setup")).status_code == 403
            assert (await client.get(match[2])).status_code == 200
            assert (await client.post("/webhook")).status_code == 503
    async with asyncio.timeout(10):
        process.terminate()
        _, err = await process.communicate()
    assert process.returncode == 0
    assert match[2].partition("=")[2] not in err.decode()


@pytest.mark.parametrize(("argument", "status"), [("--help", 0), ("serve", 2), ("--port", 2)])
async def test_arguments_that_are_not_known_are_answered_with_the_usage(argument: str, status: int) -> None:
    process = await asyncio.create_subprocess_exec(*(sys.executable, "-m", "bot", argument), stdout=PIPE, stderr=PIPE)
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    assert process.returncode == status
    assert b"orchestrator-bot replay payload.json" in (err if status else out)


async def test_credentials_of_another_github_end_with_2_and_name_the_file(start: Start, tmp_path: Path) -> None:
    kept = tmp_path / "state" / "github-app.json"
    kept.parent.mkdir()
    kept.write_text(
        '{"api_url": "https://api.github.com", "app_id": "1", "private_key": "k", "webhook_secret": "s", '
        '"webhook_secret_previous": ""}'
    )
    process = await start(GITHUB_API_URL="https://ghes.example.org/api/v3")
    async with asyncio.timeout(30):
        _, err = await process.communicate()
    assert process.returncode == 2
    assert "github-app.json holds an App of https://api.github.com" in err.decode()
    assert "Traceback" not in err.decode()
