from __future__ import annotations

import asyncio
from pathlib import Path

from orchestrator.bucket import content_bucket
from orchestrator.store import ContentStore, Database
from tests.unit.orchestrator.store.conftest import Clock

BUCKET = content_bucket()


async def _granted(store: ContentStore, installation: str, asked: int, *, progress: bool = False) -> int:
    waits = [await store.take(installation, progress=progress) for _ in range(asked)]
    return waits.count(0.0)


async def test_progress_stops_before_the_last_third_and_what_must_be_said_does_not(database: Database) -> None:
    store = ContentStore(database, BUCKET)
    assert await _granted(store, "octo", 100, progress=True) == 48
    assert await _granted(store, "octo", 100) == 24


async def test_one_installation_takes_nothing_from_another(database: Database) -> None:
    store = ContentStore(database, BUCKET)
    assert await _granted(store, "noisy", 100) == 72
    assert await _granted(store, "quiet", 10) == 10


async def test_room_flows_in_with_time_and_never_for_a_clock_that_goes_back(database: Database, clock: Clock) -> None:
    store = ContentStore(database, BUCKET)
    await _granted(store, "octo", 100)
    clock.now += 59.0
    assert await _granted(store, "octo", 100) == 7
    clock.now -= 500.0
    assert await _granted(store, "octo", 100) == 0
    clock.now += 500.0
    assert await _granted(store, "octo", 100) == 0


async def test_a_clock_that_was_a_day_ahead_keeps_nobody_waiting_for_that_day(database: Database, clock: Clock) -> None:
    store = ContentStore(database, BUCKET)
    clock.now += 24 * 3600.0
    await _granted(store, "octo", 100)
    clock.now -= 24 * 3600.0
    assert await _granted(store, "octo", 100) == 0
    clock.now += 59.0
    assert await _granted(store, "octo", 100) == 7


async def test_two_processes_with_one_database_share_the_room(tmp_path: Path, clock: Clock) -> None:
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    async with Database.open(url, clock=clock) as first, Database.open(url, clock=clock) as second:
        stores = [ContentStore(first, BUCKET), ContentStore(second, BUCKET)]
        granted = await asyncio.gather(*(_granted(store, "octo", 60) for store in stores))
        assert sum(granted) == 72
        assert min(granted) > 0
