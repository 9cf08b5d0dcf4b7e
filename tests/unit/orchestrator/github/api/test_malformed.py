"""SECURITY 6: a GitHub that answers nonsense grants nothing, and is said to be out of reach."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import pytest

from orchestrator.github.api.access import may_command
from orchestrator.github.api.auth import GitHubConnection
from orchestrator.github.api.client import RepositoryClient

REPOSITORY = b'{"id": 1, "full_name": "octo/demo", "url": "%s/repos/octo/demo"}'


@asynccontextmanager
async def nonsense(said: bytes) -> AsyncIterator[RepositoryClient]:
    """Yield a client of a server that knows a repository and answers who may do what with `said`."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        body = said if b"/permission" in head else REPOSITORY % address.encode()
        sent = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
        writer.write(sent % len(body) + body)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    env = {"GITHUB_API_URL": address, "GITHUB_SERVER_URL": address, "GITHUB_TOKEN": "a-token-of-the-tests"}
    github = GitHubConnection.from_environment(env)

    async def wait(_: float) -> None:
        return

    github.sleep = wait
    async with server, aclosing(github.repository("octo/demo", 0)) as client:
        yield client


@pytest.mark.parametrize(
    "said",
    [
        b'{"permission": "admin", "role_name": "adm',
        b"[",
        b"<html>admin</html>",
        b'"admin"',
        b"null",
        b'{"permission": ["admin"], "role_name": {"admin": true}}',
        b'{"permission": "Admin"}',
        b'{"user": {"permissions": {"admin": true}}}',
        b"",
    ],
)
async def test_sec_06_an_answer_that_is_no_answer_denies(said: bytes) -> None:
    async with nonsense(said) as client:
        access = await may_command(client, "maria", "triage")
    assert (access.granted, access.role) == (False, "none")
