from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from bot.doctor import diagnose_public_url
from bot.settings import Settings

Serve = Callable[[dict[str, int]], Awaitable[int]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    servers: list[asyncio.Server] = []

    async def serve(statuses: dict[str, int]) -> int:
        """Answer each path with its status, and return the port."""

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            path = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
            writer.write(f"HTTP/1.1 {statuses[path]} .\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
            await writer.drain()
            writer.close()

        servers.append(await asyncio.start_server(answer, "127.0.0.1", 0))
        port: int = servers[-1].sockets[0].getsockname()[1]
        return port

    yield serve
    for server in servers:
        server.close()


async def test_credentials_that_cannot_be_read_are_a_line_and_keep_nothing_else_from_being_looked_at(
    tmp_path: Path,
) -> None:
    (tmp_path / "github-app.json").write_text("{")
    env = {"PATH": os.environ["PATH"], "ORCHESTRATOR_HOME": str(tmp_path), "ORCHESTRATOR_OFFLINE": "1"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bot", "doctor"),
        env=env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    lines = out.decode().splitlines()
    assert (process.returncode, err) == (1, b"")
    assert lines[0].startswith(f"fail  settings: {tmp_path}/github-app.json holds no credentials of an App")
    assert {"operator's configuration", "credentials", "database", "sandbox"} <= {
        line[6:].partition(":")[0] for line in lines
    }


@pytest.mark.parametrize(
    ("host", "runs", "said"),
    [
        # This machine by a name that does not mean loopback, as a proxy's would not.
        ("0.0.0.0", 200, "fail  PUBLIC_URL: 0.0.0.0 shows the runs to everybody: /api/runs answers without a token."),
        ("0.0.0.0", 401, "ok    PUBLIC_URL: the bot answers there;"),
        ("127.0.0.1", 200, "ok    PUBLIC_URL: the bot answers there;"),
    ],
)
async def test_sec_05_a_bot_that_shows_its_runs_to_everybody_is_a_failure(
    serve: Serve, host: str, runs: int, said: str
) -> None:
    port = await serve({"/healthz": 200, "/api/runs": runs})
    found = await diagnose_public_url(Settings(public_url=f"http://{host}:{port}"))
    assert str(found).startswith(said)
