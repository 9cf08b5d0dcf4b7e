"""A connection to PostgreSQL that hangs up on a server that fell silent, and that a server may hang up on likewise."""

from __future__ import annotations

import asyncio
import socket
from typing import Any, TypeVar

from psycopg import AsyncConnection
from psycopg.abc import PQGen

CONNECT_SECONDS = 10
SILENCE_SECONDS = 45.0
"""Longer than any statement of ours takes; a run whose process hears nothing for so long belongs to another anyway."""
# A server keeps the locks of a client that is gone until it notices, which by its own defaults takes two hours.
# Source: https://www.postgresql.org/docs/current/runtime-config-connection.html#RUNTIME-CONFIG-TCP-SETTINGS
_SESSION = b"""
SELECT set_config(name, value, false) FROM (VALUES
    ('idle_in_transaction_session_timeout', '30s'),
    ('tcp_keepalives_idle', '10'), ('tcp_keepalives_interval', '5'), ('tcp_keepalives_count', '3'),
    ('tcp_user_timeout', '25s')
) AS wanted(name, value)
"""

Answer = TypeVar("Answer")


class PatientConnection(AsyncConnection[Any]):
    """Waits `SILENCE_SECONDS` for each answer, and then takes the connection for broken."""

    patience = SILENCE_SECONDS
    """In seconds; a migration may take longer than any other statement."""

    @classmethod
    async def connect(cls, conninfo: str = "", **options: Any) -> PatientConnection:
        """Connect, within `CONNECT_SECONDS`, and tell the server how long to wait for us."""
        opened: PatientConnection = await super().connect(conninfo, **{"connect_timeout": CONNECT_SECONDS} | options)
        autocommit = opened.autocommit
        await opened.set_autocommit(True)
        await opened.execute(_SESSION)
        await opened.set_autocommit(autocommit)
        return opened

    async def wait(self, gen: PQGen[Answer], *args: Any, **kwargs: Any) -> Answer:
        """Wait for what the server answers."""
        hang_up = asyncio.get_running_loop().call_later(self.patience, self._hang_up)
        try:
            return await super().wait(gen, *args, **kwargs)
        finally:
            hang_up.cancel()

    def _hang_up(self) -> None:
        # Its driver then finds the connection closed, as after a restart of the server.
        with socket.socket(fileno=socket.dup(self.fileno())) as line:
            line.shutdown(socket.SHUT_RDWR)
