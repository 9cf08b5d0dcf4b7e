"""Hosts of the test's own, as network namespaces: each is joined to the middle by two cables that can be pulled.

Nothing listens outside of the namespaces but on loopback. The middle's own way to this process are Unix sockets.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.counts import FAULTS, count
from tests.e2e.relay import listen
from tests.e2e.stage import Stage, free_port

DATABASE = "d"
REST = "r"
"""The cable to GitHub and the models."""


@dataclass(frozen=True, slots=True)
class Host:
    """A host whose loopback offers what this machine's does, each through one of its cables."""

    name: str
    middle: str
    port: int
    """Where its bot listens."""

    @property
    def within(self) -> list[str]:
        """The command that leads the one after it to this host."""
        return ["ip", "netns", "exec", self.name]

    def pull(self, *cables: str) -> None:
        """Take cables out, at the middle's end: this host is not told more than a host is."""
        count(FAULTS)
        for cable in cables:
            _ip("-n", self.middle, "link", "set", f"{self.name}{cable}m", "down")

    def plug(self, *cables: str) -> None:
        """Put cables back in."""
        for cable in cables:
            _ip("-n", self.middle, "link", "set", f"{self.name}{cable}m", "up")


@asynccontextmanager
async def hosts(stage: Stage, folder: Path, number: int) -> AsyncIterator[list[Host]]:
    """Yield so many hosts, on which the stage's database, GitHub and models are where its environment says."""
    ports = {
        DATABASE: [_port(stage.postgresql)],
        REST: [_port(stage.hub.api_url), stage.models.port],
    }
    middle = f"o{os.getpid()}m"
    async with AsyncExitStack() as stack:
        _namespace(stack, middle)
        into = []
        for cable_ports in ports.values():
            for port in cable_ports:
                server = await listen(f"{folder}/{port}", f"127.0.0.1:{port}")
                stack.callback(server.close)
        made = []
        for index in range(number):
            host = Host(f"o{os.getpid()}{'ab'[index]}", middle, free_port())
            _namespace(stack, host.name)
            lines = [f"{folder}/{host.port}={'127.0.0.1'}:{host.port}"]
            for line, (cable, cable_ports) in enumerate(ports.items()):
                net = f"10.77.{2 * index + line}"
                far, near = f"{host.name}{cable}m", f"{host.name}{cable}h"
                _ip("-n", middle, "link", "add", far, "type", "veth", "peer", "name", near, "netns", host.name)
                for namespace, end, last in ((middle, far, 1), (host.name, near, 2)):
                    _ip("-n", namespace, "addr", "add", f"{net}.{last}/24", "dev", end)
                    _ip("-n", namespace, "link", "set", end, "up")
                lines += [f"127.0.0.1:{port}={net}.1:{port}" for port in cable_ports]
                into += [f"{net}.1:{port}={folder}/{port}" for port in cable_ports]
            await _relay(stack, host.name, lines)
            stack.callback((await listen(f"127.0.0.1:{host.port}", f"{folder}/{host.port}")).close)
            made.append(host)
        await _relay(stack, middle, into)
        yield made


def _namespace(stack: AsyncExitStack, name: str) -> None:
    _ip("netns", "add", name)
    stack.callback(_ip, "netns", "del", name)
    _ip("-n", name, "link", "set", "lo", "up")


async def _relay(stack: AsyncExitStack, namespace: str, lines: list[str]) -> None:
    process = await asyncio.create_subprocess_exec(
        *("ip", "netns", "exec", namespace, sys.executable, "-m", "tests.e2e.relay", *lines),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    stack.push_async_callback(process.wait)
    stack.callback(process.kill)
    assert process.stdout
    assert await process.stdout.readline() == b"ready\n"


def _port(url: str) -> int:
    port = urlsplit(url).port
    assert port
    return port


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, timeout=30)
