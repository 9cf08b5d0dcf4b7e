"""The only way out of a sandbox: a CONNECT proxy on a Unix socket that lets through nothing but a package index."""

from __future__ import annotations

import asyncio
import importlib.util
import ipaddress
import os
import re
import socket
import sys
import sysconfig
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path

from orchestrator.errors import SandboxError
from orchestrator.sandbox.process import ask

_CONNECT = re.compile(rb"CONNECT ([a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?:[0-9]{1,5}) HTTP/1\.[01]\r\n", re.IGNORECASE)
_HEAD_BYTES = 8192
_CONNECT_SECONDS = 15
_ASK_SECONDS = 30
_CONNECTIONS = 64
# Networks that are somebody's inside: RFC 1122, 1918, 6598, 4193. Documentation and benchmark ranges are nobody's.
_PRIVATE_NETWORKS = ("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
_PRIVATE = tuple(ipaddress.ip_network(network) for network in _PRIVATE_NETWORKS)
_INDEX_HOSTS: dict[Path, tuple[str, ...]] = {}


@cache
def pip_location() -> Path:
    """Find the pip to use: that of our own environment, else the wheel that comes with Python (ensurepip).

    The result can be put on a module search path, or run as `python RESULT/pip`. Raises SandboxError without any.
    """
    found = importlib.util.find_spec("pip")
    if found and found.origin:
        return Path(found.origin).parent.parent
    folders = (Path(sysconfig.get_path("stdlib"), "ensurepip", "_bundled"), Path("/usr/share/python-wheels"))
    wheels = sorted(wheel for folder in folders for wheel in folder.glob("pip-*.whl"))
    if not wheels:
        raise SandboxError("No pip was found beside this Python.", hint="Install python3-venv or python3-pip.")
    return wheels[-1]


async def index_hosts() -> tuple[str, ...]:
    """Return the hosts that pip's default package index consists of; pip is asked once a process.

    They are constants of the pip that is installed, and `pip_location` holds for a process too. A failure is not kept.
    """
    # No lock: one of asyncio would belong to a single event loop. Two that ask at the same time are told the same.
    pip = pip_location()
    if pip not in _INDEX_HOSTS:
        _INDEX_HOSTS[pip] = await _hosts_of(pip)
    return _INDEX_HOSTS[pip]


async def _hosts_of(pip: Path) -> tuple[str, ...]:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pip._internal.models.index import PyPI\n"
        "print(PyPI.netloc, PyPI.file_storage_domain)"
    )
    status, out, err = await ask([sys.executable, "-I", "-c", program, str(pip)], seconds=_ASK_SECONDS, environment={})
    if status != 0:
        raise SandboxError(f"pip does not say where its package index is: {err.decode(errors='replace')[-300:]}")
    return tuple(out.decode().split())


def is_private(address: str) -> bool:
    """Tell whether an address belongs to this machine or to somebody's inside network."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        ip = ip.ipv4_mapped or ip.sixtofour or ip
    inside = any(ip in network for network in _PRIVATE if network.version == ip.version)
    return inside or ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_unspecified


def requested_host(head: bytes) -> str | None:
    """Read the host out of a CONNECT request, with its port unless that is 443; None for everything else."""
    match = _CONNECT.match(head)
    return match[1].decode("ascii").lower().removesuffix(":443") if match else None


class IndexProxy:
    """One proxy of one sandbox; `failures` says which connections did not come about and why."""

    def __init__(self, hosts: Collection[str]) -> None:
        self.failures: list[str] = []
        self._hosts = frozenset(host.lower().removesuffix(":443") for host in hosts)
        self._open: set[asyncio.Task[None]] = set()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a new connection; it lives until one side closes or the proxy does."""
        task = asyncio.create_task(self._serve(reader, writer))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def close(self) -> None:
        """End all connections."""
        for task in tuple(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                upstream = await self._connect(reader)
            if isinstance(upstream, str):
                writer.write(f"HTTP/1.1 403 Forbidden\r\nContent-Length: {len(upstream)}\r\n\r\n{upstream}".encode())
                await writer.drain()
                return
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await _both_ways((reader, writer), upstream)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            self.failures.append(f"{type(error).__name__}: {error}")
        finally:
            writer.close()

    async def _connect(self, reader: asyncio.StreamReader) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | str:
        """Connect to the host asked for, or give the sentence that refuses it."""
        host = requested_host(await reader.readuntil(b"\r\n\r\n"))
        if host is None or host not in self._hosts:
            return "Only the package index can be reached from here."
        if len(self._open) > _CONNECTIONS:
            return f"More than {_CONNECTIONS} connections at once."
        name, _, port = host.partition(":")
        found = await asyncio.get_running_loop().getaddrinfo(name, int(port or 443), type=socket.SOCK_STREAM)
        addresses = [str(entry[4][0]) for entry in found]
        if any(map(is_private, addresses)):
            self.failures.append(f"{host} has a private address")
            return f"{host} has a private address."
        return await _connect_any(addresses, int(port or 443))


async def _connect_any(addresses: Sequence[str], port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to the first address that answers; the last one's error says why none did."""
    *others, last = addresses
    for address in others:
        try:
            return await asyncio.open_connection(address, port)
        except OSError:
            continue  # the next address of the same host, as every client does
    return await asyncio.open_connection(last, port)


async def _both_ways(
    inside: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    outside: tuple[asyncio.StreamReader, asyncio.StreamWriter],
) -> None:
    try:
        async with asyncio.TaskGroup() as both:
            both.create_task(_pump(inside[0], outside[1]))
            both.create_task(_pump(outside[0], inside[1]))
    except* (ConnectionError, BrokenPipeError):
        inside[1].transport.abort()  # half a stream is of no use: the other side must see the break too
    finally:
        outside[1].close()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while chunk := await source.read(65536):
        sink.write(chunk)
        await sink.drain()
    if sink.can_write_eof():
        sink.write_eof()


@asynccontextmanager
async def index_proxy(path: Path, hosts: Collection[str]) -> AsyncIterator[IndexProxy]:
    """Serve a proxy at a Unix socket that every user may connect to, for as long as the context lasts."""
    proxy = IndexProxy(hosts)
    # An address of a socket has at most 107 letters, unix(7); the folder may be deeper.
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        server = await asyncio.start_unix_server(proxy.accept, f"/proc/self/fd/{folder}/{path.name}", limit=_HEAD_BYTES)
    finally:
        os.close(folder)
    await asyncio.to_thread(path.chmod, 0o666)
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()
