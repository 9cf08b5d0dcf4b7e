from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest

from orchestrator.store.patience import PatientConnection
from tests.line import Line
from tests.postgresql import Cluster

pytestmark = [pytest.mark.postgresql, pytest.mark.xdist_group("postgresql")]


@pytest.fixture
async def line(cluster: Cluster) -> AsyncIterator[Line]:
    async with Line(cluster.new_database()) as opened:
        yield opened


async def test_a_server_that_fell_silent_is_taken_for_gone(line: Line) -> None:
    async with asyncio.timeout(20), await PatientConnection.connect(line.url) as connection:
        await connection.execute("SELECT 1")
        connection.patience = 0.5
        line.cut()
        with pytest.raises(psycopg.OperationalError):
            await connection.execute("SELECT 1")
        assert connection.broken


async def test_a_server_that_answers_late_is_waited_for(line: Line) -> None:
    async with await PatientConnection.connect(line.url) as connection:
        cursor = await connection.execute("SELECT pg_sleep(0.2), 1")
        assert await cursor.fetchone() == ("", 1)


async def test_a_server_gives_up_the_locks_of_a_client_that_is_gone_within_half_a_minute(line: Line) -> None:
    wanted = {
        "idle_in_transaction_session_timeout": "30s",
        "tcp_keepalives_idle": "10",
        "tcp_keepalives_interval": "5",
        "tcp_keepalives_count": "3",
        "tcp_user_timeout": "25000",
    }
    async with await PatientConnection.connect(line.url) as connection:
        # They outlive a transaction that is rolled back.
        await connection.rollback()
        shown = {name: await (await connection.execute(f"SHOW {name}".encode())).fetchone() for name in wanted}
    assert shown == {name: (value,) for name, value in wanted.items()}
