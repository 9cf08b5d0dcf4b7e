"""One connection pool to SQLite or PostgreSQL, and the transaction that every write goes through."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, bindparam, event, update
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from orchestrator.errors import RunLost, StoreError, UsageError
from orchestrator.store.schema import metadata, runs
from orchestrator.store.uninterrupted import finished

_BUSY_SECONDS = 30
# What a transaction is for, as SQLAlchemy carries it to the driver: reading, writing, or writing for good.
_MODE = "orchestrator_mode"
_READING, _WRITING, _DURABLE = "reading", "writing", "durable"

# Statements of the hot path are built once: building one costs as much as running it.
_HOLD = update(runs).where(runs.c.id == bindparam("run_id"), runs.c.fence == bindparam("held_fence"))


class Database:
    """A database that holds the schema; `transaction` gives a connection whose writes commit together or not at all."""

    def __init__(self, engine: AsyncEngine, clock: Callable[[], float]) -> None:
        self._engine = engine
        self.clock = clock

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, *, clock: Callable[[], float] = time.time) -> AsyncIterator[Database]:
        """Open `sqlite:///…` or `postgresql://…`, creating the tables that are missing.

        A new SQLite file gets mode 0600. Raises `UsageError` for another kind of URL, `StoreError` when it does not
        open.
        """
        engine = _engine(url)
        try:
            with _explained():
                await finished(_create_tables(engine))
            yield cls(engine, clock)
        finally:
            await finished(engine.dispose())

    @asynccontextmanager
    async def transaction(self, *, durable: bool = False) -> AsyncIterator[AsyncConnection]:
        """Yield a connection in a write transaction: committed at the end, rolled back on an error.

        What is committed outlives the process in any case. A `durable` transaction, and all before it, outlives a
        loss of power too: it is for what must be known before something happens outside, such as a reservation.
        """
        mode = _DURABLE if durable else _WRITING
        with _explained():
            async with self._engine.execution_options(**{_MODE: mode}).begin() as connection:
                yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """Yield a connection that reads one consistent snapshot and takes no write lock."""
        with _explained():
            async with self._engine.execution_options(**{_MODE: _READING}).begin() as connection:
                yield connection

    @asynccontextmanager
    async def fenced(
        self, run_id: str, fence: int, *, durable: bool = False, columns: Mapping[str, object] = MappingProxyType({})
    ) -> AsyncIterator[AsyncConnection]:
        """Like `transaction`, for the process that holds the run; raises `RunLost` when another one took it over.

        The check writes the run's `columns`, and locks its row, so that no other process can claim the run before
        this transaction ends.
        """
        async with self.transaction(durable=durable) as connection:
            held = await connection.execute(
                _HOLD, {"run_id": run_id, "held_fence": fence, "updated_at": self.clock(), **columns}
            )
            if held.rowcount == 0:
                raise RunLost(
                    f"Another process has taken over run {run_id}; this one changes nothing more.",
                    hint="Let the other process finish, or stop it first.",
                )
            yield connection


@contextmanager
def _explained() -> Iterator[None]:
    """Turn what the driver says into a sentence for the user; SQL and parameters stay out of it."""
    try:
        yield
    except DBAPIError as error:
        said = str(error.orig)
        hint = next((hint for part, hint in _HINTS.items() if part in said), "See to the database")
        raise StoreError(
            f"The database cannot be used: {said}.", hint=f"{hint}, then go on: what was done so far is kept."
        ) from error


# Source: https://sqlite.org/rescode.html
_HINTS = {
    "is full": "Free space on its disk",
    "disk I/O error": "See to its disk",
    "is locked": "Stop the other process that writes it",
    "readonly database": "Give this user the right to write it",
    "unable to open": "Give this user the right to read and write its folder",
    "not a database": "Move the file away, or name another one in ORCHESTRATOR_DATABASE_URL",
    "malformed": "Restore it from a backup",
}


async def _create_tables(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)


def _engine(url: str) -> AsyncEngine:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise UsageError(f"ORCHESTRATOR_DATABASE_URL is not a database URL: {error}") from error
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        if parsed.database:
            _create_private(Path(parsed.database))
        # `transaction` and `reading` commit or roll back whatever happens: a connection needs no second rollback.
        engine = create_async_engine(
            parsed.set(drivername="sqlite+aiosqlite"),
            connect_args={"timeout": _BUSY_SECONDS},
            pool_reset_on_return=None,
        )
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_sqlite)
        return engine
    if backend == "postgresql":
        return create_async_engine(parsed.set(drivername="postgresql+psycopg"))
    raise UsageError(
        f"ORCHESTRATOR_DATABASE_URL names {backend}, which is not supported.",
        hint="Use sqlite:///path/to/file.db or postgresql://user@host/database.",
    )


def _create_private(path: Path) -> None:
    """Make the file before SQLite does: SQLite would take the umask's mode, and its -wal file copies the mode."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))


def _prepare_sqlite(connection: Any, _record: ConnectionPoolEntry) -> None:
    # The driver must not open transactions of its own: BEGIN IMMEDIATE takes the write lock up front, so that a
    # transaction never fails half-way because another one wrote first.
    # Source: https://docs.sqlalchemy.org/en/21/dialects/sqlite.html#pysqlite-serializable
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # With a write-ahead log NORMAL survives a dead process, FULL a dead machine; FULL costs a disk flush.
    # Source: https://sqlite.org/pragma.html#pragma_synchronous
    mode = connection.get_execution_options().get(_MODE, _DURABLE)
    level = "FULL" if mode == _DURABLE else "NORMAL"
    if mode != _READING and connection.info.get(_MODE) != level:
        connection.exec_driver_sql(f"PRAGMA synchronous={level}")
        connection.info[_MODE] = level
    connection.exec_driver_sql("BEGIN" if mode == _READING else "BEGIN IMMEDIATE")
