"""What the bot has kept of runs that ended goes after the operator's days, and what comes later is answered plainly."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from tests.e2e.stage import Stage, until
from tests.loopback import Script

YEAR_SECONDS = 365 * 24 * 3600


def _a_year_passes(stage: Stage) -> None:
    """Move everything in the bot's database into the past."""
    with closing(sqlite3.connect(stage.database, timeout=10)) as connection:
        for table, column in (
            ("runs", "updated_at"),
            ("calls", "created_at"),
            ("deliveries", "received_at"),
            ("effects", "at"),
        ):
            connection.execute(f"UPDATE {table} SET {column} = {column} - {YEAR_SECONDS}")
        connection.commit()


@pytest.mark.slow
async def test_sec_33_a_bot_that_starts_forgets_what_it_was_asked_and_answered_long_ago(stage: Stage) -> None:
    # given a run that is over
    stage.models.script = Script(tasks=1)
    scene = await stage.scene()
    async with stage.bot():
        asked = await scene.command()
        await asked.reacted("rocket")
        await asked.settled()
    said = "SELECT COUNT(*) FROM {} WHERE {} IS NOT NULL AND {} != ''"
    prompts, payloads = said.format(*["calls", "answer", "answer"]), said.format(*["deliveries", "payload", "payload"])
    assert stage.rows(prompts)[0][0] > 0
    _a_year_passes(stage)
    # when
    async with stage.bot() as bot:
        await until(lambda: [it for it in bot.logged() if it.get("event") == "forgotten"], "the forgetting")
        # then
        assert (stage.rows(prompts), stage.rows(payloads)) == ([(0,)], [(0,)])
        for table in ("runs", "tasks", "artifacts", "validations", "calls", "accounts"):
            assert stage.rows(f"SELECT COUNT(*) FROM {table}") == [(0,)], table
        assert (await bot.get(f"/api/runs/{asked.run_id}")).status_code == 404
        # and how it ended can still be asked for, where it stands on GitHub
        await scene.answered(asked.issue, scene.comment(asked.issue, "/orchestrate status"))
        await until(lambda: len(scene.ours(asked.issue)) == 2, "the answer")
        assert scene.ours(asked.issue)[-1].startswith("Done: #")
