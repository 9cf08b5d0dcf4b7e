"""A local GitHub with one repository, an App on it, and a receiver for its webhooks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bot.localhub import LocalHub

FILES = {"README.md": "# Demo\n", "src/demo.py": "x = 1\ny = 2\nz = 3\n"}
SECRET = "a-secret-of-some-length"


@dataclass
class Receiver:
    """A real loopback HTTP server that keeps what it is sent and answers `status`."""

    url: str = ""
    status: int = 202
    received: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[1:-2]
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head)}
        body = await reader.readexactly(int(headers["content-length"]))
        self.received.append((headers, body))
        writer.write(f"HTTP/1.1 {self.status} Done\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok".encode())
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    def events(self) -> list[tuple[str, Any]]:
        return [(headers["x-github-event"], json.loads(body).get("action")) for headers, body in self.received]


@dataclass
class Scene:
    """What the tests work on."""

    hub: LocalHub
    receiver: Receiver
    app_id: int
    key: str
    installation_id: int


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    kept = Receiver()
    server = await asyncio.start_server(kept.answer, "127.0.0.1", 0)
    kept.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/webhook"
    async with server:
        yield kept


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[LocalHub]:
    async with LocalHub(root=tmp_path / "hub") as running:
        for login, role in (("alice", "write"), ("mallory", "none"), ("tina", "triage"), ("root", "admin")):
            running.create_user(login)
            if running.state.repository("octo/demo") is None:
                await running.create_repository("octo/demo", FILES)
            running.set_permission("octo/demo", login, role)
        yield running


@pytest.fixture
async def scene(hub: LocalHub, receiver: Receiver) -> Scene:
    app_id, key = hub.create_app("Orchestrator", receiver.url, SECRET)
    installation_id = hub.install_app(app_id, "octo/demo")
    await hub.settled()
    receiver.received.clear()
    return Scene(hub, receiver, app_id, key, installation_id)
