"""One connection pool to SQLite or PostgreSQL, and the transaction that every write goes through."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, nullcontext
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, bindparam, event, func, insert, inspect, select, update
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as NoneFree
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from orchestrator.errors import RunLost, StoreError, UsageError
from orchestrator.store.outages import exhausted, outage
from orchestrator.store.schema import SCHEMA_VERSION, metadata, runs, versions
from orchestrator.store.uninterrupted import finished

_BUSY_SECONDS = 30
"""How long a locked SQLite file is waited for, unless its URL says another `timeout`."""
_LOCKED_SECONDS = 0.01
_POSTGRESQL = "postgresql+psycopg"
_MIGRATION_SECONDS = 3600.0
_SCHEMA_LOCK = 0x6F726368
"""Any number that no other program takes for its locks in the same database."""
# How a transaction begins, as SQLAlchemy carries it to the driver.
_BEGIN = "orchestrator_begin"


class _Mode(StrEnum):
    """What a transaction is for: reading, writing, or writing for good; the fenced ones begin by a write."""

    READING = "reading"
    WRITING = "writing"
    DURABLE = "durable"
    FENCED = "fenced"
    FENCED_DURABLE = "fenced durable"


# Statements of the hot path are built once: building one costs as much as running it.
_HOLD = update(runs).where(runs.c.id == bindparam("run_id"), runs.c.fence == bindparam("held_fence"))


class Database:
    """A database that holds the schema; `transaction` gives a connection whose writes commit together or not at all."""

    def __init__(self, engines: Mapping[_Mode, AsyncEngine], clock: Callable[[], float]) -> None:
        self._engines = engines
        self._url = url = engines[_Mode.WRITING].url
        self.conninfo = "" if url.get_backend_name() == "sqlite" else _conninfo(url)
        """What a PostgreSQL driver connects by, password included; empty on SQLite."""
        # SQLite has one writer at a time, and who finds it busy sleeps before asking again: within a process it is
        # better to queue.
        self._turn = asyncio.Lock() if engines[_Mode.WRITING].dialect.name == "sqlite" else nullcontext()
        self.clock = clock

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, *, clock: Callable[[], float] = time.time) -> AsyncIterator[Database]:
        """Open `sqlite:///…` or `postgresql://…`, with its tables made or brought up to date.

        A new SQLite file gets mode 0600. Raises `UsageError` for another kind of URL, `StoreError` when it does not
        open.
        """
        engines = _engines(url)
        try:
            with _explained(engines[_Mode.WRITING].url):
                await finished(_prepare(engines))
            yield cls(engines, clock)
        finally:
            await finished(_dispose(engines.values()))

    @staticmethod
    async def examine(url: str) -> str:
        """Return the schema's version of a database that opens and can be written; empty for one yet to be made.

        Nothing is changed, and an older schema stays as it is. Raises like `open`.
        """
        path = _file_of(url)
        if path is not None and not path.exists():
            folder = next(parent for parent in path.absolute().parents if parent.exists())
            if not os.access(folder, os.W_OK | os.X_OK):
                raise StoreError(
                    f"The database cannot be made: {folder} is not writable.",
                    hint="Give this user the right to read and write its folder.",
                )
            return ""
        engines = _engines(url)
        try:
            with _explained(engines[_Mode.WRITING].url):
                return await finished(_examined(engines[_Mode.WRITING]))
        finally:
            await finished(_dispose(engines.values()))

    @asynccontextmanager
    async def transaction(self, *, durable: bool = False) -> AsyncIterator[AsyncConnection]:
        """Yield a connection in a write transaction: committed at the end, rolled back on an error.

        What is committed outlives the process in any case. A `durable` transaction, and all before it, outlives a
        loss of power too: it is for what must be known before something happens outside, such as a reservation.
        """
        async with self._writing(_Mode.DURABLE if durable else _Mode.WRITING) as connection:
            yield connection

    @asynccontextmanager
    async def _writing(self, mode: _Mode) -> AsyncIterator[AsyncConnection]:
        with _explained(self._url):
            async with self._turn, self._engines[mode].begin() as connection:
                yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """Yield a connection that reads one consistent snapshot and takes no write lock."""
        with _explained(self._url):
            async with self._engines[_Mode.READING].begin() as connection:
                yield connection

    @asynccontextmanager
    async def fenced(
        self, run_id: str, fence: int, *, durable: bool = False, columns: Mapping[str, object] = MappingProxyType({})
    ) -> AsyncIterator[AsyncConnection]:
        """Like `transaction`, for the process that holds the run; raises `RunLost` when another one took it over.

        The check writes the run's `columns`, and locks its row, so that no other process can claim the run before
        this transaction ends.
        """
        async with self._writing(_Mode.FENCED_DURABLE if durable else _Mode.FENCED) as connection:
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
def _explained(url: URL) -> Iterator[None]:
    """Turn what the driver says into a sentence for the user; SQL and parameters stay out of it."""
    try:
        yield
    except DBAPIError as error:
        gone = error.connection_invalidated or getattr(error.orig, "sqlstate", "") is None
        raise outage(url, str(error.orig), unreachable=gone, seconds=_busy_seconds(url)) from error
    except NoneFree as error:
        raise exhausted(url) from error


async def _prepare(engines: Mapping[_Mode, AsyncEngine]) -> None:
    """Make the tables of a new database, or bring an older one's up to date; a newer one's stay as they are."""
    # Whoever finds nothing to do needs no lock for it, and is not kept waiting by one that another process holds.
    async with engines[_Mode.READING].begin() as connection:
        if await connection.run_sync(_version) >= SCHEMA_VERSION:
            return
    engine = engines[_Mode.WRITING]
    async with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            # Two that start at once would both find a table missing, and one of them fail to make it.
            driver: Any = (await connection.get_raw_connection()).driver_connection
            driver.patience = _MIGRATION_SECONDS
            await connection.execute(select(func.pg_advisory_xact_lock(_SCHEMA_LOCK)))
        await connection.run_sync(_migrate)
    if engine.dialect.name == "postgresql":
        await engine.dispose()  # a connection with so much patience is of no use afterwards


def _migrate(connection: Connection) -> None:
    there = inspect(connection)
    known = there.has_table(versions.name)
    if known and str(connection.scalar(select(versions.c.version_num))) >= SCHEMA_VERSION:
        return
    if known or there.has_table(runs.name):
        # Alembic costs a tenth of a second to load: only a database that is behind pays for it.
        from orchestrator.store.migrations import upgrade

        upgrade(connection, known=known)
        return
    metadata.create_all(connection)
    versions.create(connection)
    connection.execute(insert(versions).values(version_num=SCHEMA_VERSION))


async def _examined(engine: AsyncEngine) -> str:
    async with engine.connect() as connection, connection.begin() as transaction:
        version = await connection.run_sync(_version)
        if version:
            await connection.execute(update(versions).values(version_num=version))
        await transaction.rollback()
        return version


def _version(connection: Connection) -> str:
    there = inspect(connection).has_table(versions.name)
    return str(connection.scalar(select(versions.c.version_num))) if there else ""


def _file_of(url: str) -> Path | None:
    """Return the file of an SQLite database, or None for another one."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        return None  # what is wrong with it is told when it is opened
    return Path(parsed.database) if parsed.get_backend_name() == "sqlite" and parsed.database else None


async def _dispose(engines: Iterable[AsyncEngine]) -> None:
    for engine in engines:
        await engine.dispose()


def _engines(url: str) -> dict[_Mode, AsyncEngine]:
    """Return an engine for each mode; on SQLite durable writes have connections of their own."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise UsageError(f"ORCHESTRATOR_DATABASE_URL is not a database URL: {error}") from error
    backend = parsed.get_backend_name()
    if backend == "sqlite" and parsed.database:
        _create_private(Path(parsed.database))
        # With a write-ahead log NORMAL survives a dead process, FULL a dead machine; FULL costs a disk flush.
        # Source: https://sqlite.org/pragma.html#pragma_synchronous
        quick, durable = _sqlite(parsed, "NORMAL"), _sqlite(parsed, "FULL")
        return {
            _Mode.READING: quick.execution_options(**{_BEGIN: "BEGIN"}),
            _Mode.WRITING: quick.execution_options(**{_BEGIN: "BEGIN IMMEDIATE"}),
            _Mode.DURABLE: durable.execution_options(**{_BEGIN: "BEGIN IMMEDIATE"}),
            _Mode.FENCED: quick,
            _Mode.FENCED_DURABLE: durable,
        }
    if backend == "postgresql":
        # The driver costs a tenth of a second to load.
        from orchestrator.store.patience import PatientConnection

        engine = create_async_engine(
            parsed.set(drivername=_POSTGRESQL),
            # A connection that a restart of the server broke is found out before it is used.
            pool_pre_ping=True,
            pool_size=10,
            max_overflow=20,
            connect_args={"async_creator_fn": PatientConnection.connect},
        )
        # By default each statement there sees what was committed before it, and not before its transaction.
        snapshot = engine.execution_options(isolation_level="REPEATABLE READ")
        return {**dict.fromkeys(_Mode, engine), _Mode.READING: snapshot}
    raise UsageError(
        f"ORCHESTRATOR_DATABASE_URL names {backend}, which is not supported.",
        hint="Use sqlite:///path/to/file.db or postgresql://user@host/database.",
    )


def _conninfo(url: URL) -> str:
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


def _create_private(path: Path) -> None:
    """Make the file before SQLite does: SQLite would take the umask's mode, and its -wal file copies the mode."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise StoreError(
            f"The database {path} cannot be opened: {error.strerror}.",
            hint="Mend that, or name another place in ORCHESTRATOR_DATABASE_URL or ORCHESTRATOR_HOME.",
        ) from error


def _busy_seconds(url: URL) -> float:
    said = url.query.get("timeout", "")
    return float(said) if isinstance(said, str) and said.isdecimal() else float(_BUSY_SECONDS)


def _sqlite(url: URL, synchronous: str) -> AsyncEngine:
    # `transaction` and `reading` commit or roll back whatever happens: a connection needs no second rollback.
    engine = create_async_engine(
        url.set(drivername="sqlite+aiosqlite"),
        connect_args={"timeout": _busy_seconds(url)},
        pool_reset_on_return=None,
    )

    def prepare(connection: Any, _record: ConnectionPoolEntry) -> None:
        # IMMEDIATE takes the write lock up front, so that a transaction never fails half-way because another one wrote
        # first. The driver says it by itself before a write; where a read comes first, `_begin` has to.
        # Source: https://docs.python.org/3.11/library/sqlite3.html#sqlite3-controlling-transactions
        connection.isolation_level = "IMMEDIATE"
        cursor = connection.cursor()
        deadline = time.monotonic() + _busy_seconds(url)
        for pragma in ("journal_mode=WAL", "foreign_keys=ON", f"synchronous={synchronous}"):
            while True:
                try:
                    cursor.execute(f"PRAGMA {pragma}")
                    break
                except sqlite3.OperationalError:
                    # Of several that open a new file, SQLite may let one fail at once instead of waiting.
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(_LOCKED_SECONDS)
        cursor.close()

    event.listen(engine.sync_engine, "connect", prepare)
    event.listen(engine.sync_engine, "begin", _begin)
    return engine


def _begin(connection: Connection) -> None:
    statement = connection.get_execution_options().get(_BEGIN)
    if statement is not None:
        connection.exec_driver_sql(statement)
