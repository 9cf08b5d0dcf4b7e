"""A database of any version becomes this version's, with what it held; one of a later version is left alone."""

from __future__ import annotations

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, create_engine, insert, inspect, make_url, select, text
from sqlalchemy.engine import Engine
from sqlalchemy.pool import NullPool

from orchestrator.errors import StoreError
from orchestrator.state import ProjectStatus
from orchestrator.store import AuditStore, Database, DeliveryStore, RunStore
from orchestrator.store.migrations import configuration, head
from orchestrator.store.schema import SCHEMA_VERSION, metadata, versions

FIRST = ("runs", "tasks", "artifacts", "validations", "accounts", "calls", "deliveries", "effects", "observations")


def plain_engine(database_url: str) -> Engine:
    url = make_url(database_url)
    driver = "postgresql+psycopg" if url.get_backend_name() == "postgresql" else "sqlite"
    return create_engine(url.set(drivername=driver), poolclass=NullPool)


def of_the_first_release(connection: Connection) -> None:
    """Make the first release's tables, which bear no version, with a run under way and a delivery that waits."""
    command.upgrade(configuration(connection), "0001")
    connection.execute(text("DROP TABLE alembic_version"))
    connection.execute(
        text(
            "INSERT INTO runs (id, title, status, job, app_type, nonce, fence, resumes, sandbox, notes, source, "
            "output_dir, elapsed_seconds, created_at, updated_at) "
            "VALUES ('r', 'T', 'running', '{}', '', 'n', 3, 0, '', '[]', '', '', 1.5, 7, 8)"
        )
    )
    connection.execute(
        text(
            "INSERT INTO deliveries (id, event, repository, issue, actor, run_id, payload, state, received_at) "
            "VALUES ('d', 'issue_comment', 'octo/demo', 5, 'ada', 'r', '{}', 'queued', 7)"
        )
    )


async def test_the_first_releases_database_is_brought_up_to_date_with_what_it_holds(database_url: str) -> None:
    with plain_engine(database_url).begin() as connection:
        of_the_first_release(connection)
    async with Database.open(database_url) as database:
        runs = RunStore(database)
        (row,) = await runs.list(10)
        (waiting,) = await DeliveryStore(database).unfinished()
        assert (row.title, row.status, await runs.claim("r")) == ("T", ProjectStatus.RUNNING, 4)
        assert (waiting.id, waiting.run_id, waiting.attempt) == ("d", "r", 0)
    with plain_engine(database_url).connect() as connection:
        assert connection.scalar(select(versions.c.version_num)) == SCHEMA_VERSION


async def test_a_new_database_has_the_tables_that_migrations_make(database_url: str) -> None:
    async with Database.open(database_url):
        pass
    with plain_engine(database_url).connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        assert connection.scalar(select(versions.c.version_num)) == head() == SCHEMA_VERSION


def test_migrations_from_nothing_make_the_tables_of_the_code(database_url: str) -> None:
    with plain_engine(database_url).begin() as connection:
        command.upgrade(configuration(connection), "head")
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


async def test_a_database_of_a_later_version_is_worked_on_as_it_is(database_url: str) -> None:
    """In a rolling upgrade the older bot goes on beside the newer one."""
    with plain_engine(database_url).begin() as connection:
        command.upgrade(configuration(connection), "head")
        connection.execute(text("DELETE FROM alembic_version"))
        connection.execute(insert(versions).values(version_num="9999"))
        connection.execute(text("ALTER TABLE runs ADD COLUMN of_later TEXT DEFAULT 'x'"))
    async with Database.open(database_url) as database:
        assert await RunStore(database).create("r", title="T", job={}, source="", output_dir="")
    with plain_engine(database_url).connect() as connection:
        assert connection.execute(text("SELECT id, of_later FROM runs")).all() == [("r", "x")]
        assert connection.scalar(select(versions.c.version_num)) == "9999"


def test_every_migration_can_be_followed_by_the_version_before_it() -> None:
    """What is added later has a default in the database, for rows that an older bot writes."""
    with plain_engine("sqlite://").begin() as connection:
        command.upgrade(configuration(connection), "0001")
        first = {name: {it["name"] for it in inspect(connection).get_columns(name)} for name in FIRST}
    added = [column for name in FIRST for column in metadata.tables[name].columns if column.name not in first[name]]
    assert added
    assert [column.name for column in added if not column.nullable and column.server_default is None] == []


async def test_sec_37_a_database_that_was_migrated_refuses_to_change_its_audit_too(database_url: str) -> None:
    with plain_engine(database_url).begin() as connection:
        command.upgrade(configuration(connection), "0002")
    async with Database.open(database_url) as database:
        await AuditStore(database, "r").add("d", "ada", "access", {})
        with pytest.raises(StoreError, match="the audit is append-only"):
            async with database.transaction() as writing:
                await writing.execute(text("DELETE FROM audit"))
