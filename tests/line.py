"""A TCP line to a database that can be cut as a broken switch cuts it: nothing passes, and nobody is told."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tests.counts import FAULTS, count


@dataclass
class Line:
    """A line to the PostgreSQL of a URL; `connections` counts how often anybody connected through it."""

    to: str
    port: int = 0
    connections: int = 0
    _whole: asyncio.Event = field(default_factory=asyncio.Event)
    _ends: list[asyncio.StreamWriter] = field(default_factory=list)

    @property
    def url(self) -> str:
        """The database's URL through this line."""
        parts = urlsplit(self.to)
        return f"postgresql://{parts.username}@127.0.0.1:{self.port}{parts.path}"

    def cut(self) -> None:
        """Let nothing pass any more."""
        count(FAULTS)
        self._whole.clear()

    def mend(self) -> None:
        """Let everything pass, what was held back first."""
        self._whole.set()

    async def __aenter__(self) -> Line:
        self.mend()
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.mend()
        self._server.close()
        for end in self._ends:
            end.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        far = urlsplit(self.to)
        try:
            far_reader, far_writer = await asyncio.open_connection(far.hostname, far.port)
        except OSError:
            writer.close()
            return
        self._ends += [writer, far_writer]
        await asyncio.gather(self._pass(reader, far_writer), self._pass(far_reader, writer))

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                await self._whole.wait()
                sink.write(data)
                await sink.drain()
        except ConnectionError:
            pass  # one end is gone, and the other one hears of it below
        finally:
            sink.close()
