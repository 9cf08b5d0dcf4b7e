"""SECURITY 37: what the audit says once stays said, on both databases."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from sqlalchemy import text

from orchestrator.errors import StoreError
from orchestrator.store import AuditEntry, AuditStore, Database


async def test_sec_37_entries_come_back_in_order_for_their_run_only(database_url: str) -> None:
    async with Database.open(database_url, clock=lambda: 7.0) as database:
        await AuditStore(database, "r-a").add("d-1", "ada", "access", {"detail": "ada has the role write"})
        await AuditStore(database, "r-b").add("d-2", "bob", "access", {})
        await AuditStore(database, "r-a").add("d-1", "ada", "handled", {"files": ["a.py"], "cost_usd": 0.5})
        assert await AuditStore(database, "r-a").entries() == (
            AuditEntry("d-1", "ada", "access", {"detail": "ada has the role write"}, 7.0),
            AuditEntry("d-1", "ada", "handled", {"cost_usd": 0.5, "files": ["a.py"]}, 7.0),
        )


@pytest.mark.parametrize("change", ["DELETE FROM audit", "UPDATE audit SET actor = 'nobody'"])
async def test_sec_37_the_database_itself_refuses_to_change_what_the_audit_says(database_url: str, change: str) -> None:
    async with Database.open(database_url) as database:
        await AuditStore(database, "r-a").add("d-1", "ada", "access", {})
        with pytest.raises(StoreError, match="the audit is append-only"):
            async with database.transaction() as connection:
                await connection.execute(text(change))
        (entry,) = await AuditStore(database, "r-a").entries()
        assert entry.actor == "ada"


async def test_sec_33_a_new_database_is_its_owners_alone_with_all_its_side_files_whatever_the_umask(
    tmp_path: Path,
) -> None:
    before = os.umask(0)
    try:
        async with Database.open(f"sqlite:///{tmp_path / 'own' / 'state.db'}") as database:
            await AuditStore(database, "r-a").add("d-1", "ada", "access", {})
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "own").iterdir()}
    finally:
        os.umask(before)
    assert modes == {"state.db": 0o600, "state.db-wal": 0o600, "state.db-shm": 0o600}
    assert stat.S_IMODE((tmp_path / "own").stat().st_mode) == 0o700
