"""uvicorn inside somebody else's event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

STOP_SECONDS = 3


class Server(uvicorn.Server):
    """A server that takes no signals, and says when it listens."""

    def __init__(self, app: ASGIApp, connections: type[H11Protocol]) -> None:
        config = uvicorn.Config(
            app,
            http=connections,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="warning",
            timeout_graceful_shutdown=STOP_SECONDS,
            server_header=False,
        )
        super().__init__(config)
        self.listening = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the program around."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen, and say so."""
        await super().startup(sockets)
        self.listening.set()
