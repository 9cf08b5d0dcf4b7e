from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

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
