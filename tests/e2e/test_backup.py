"""Backup and restore as docs/operations.md says it, taken while a bot is in the middle of a run."""

from __future__ import annotations

import asyncio
import re
import subprocess
from pathlib import Path

import pytest

from tests.e2e.stage import GOOD_CHECKS, Asked, Stage, billed_usd, open_stage, until
from tests.loopback import Script
from tests.postgresql import Cluster

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


def run_block(name: str, folder: Path, url: str = "") -> None:
    """Run the commands of a block of the documentation in a folder."""
    found = re.search(rf"<!-- test: {name} -->\n```sh\n(.*?)```", OPERATIONS.read_text(), re.DOTALL)
    assert found, name
    env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "ORCHESTRATOR_DATABASE_URL": url}
    subprocess.run(["sh", "-eu", "-c", found[1]], cwd=folder, env=env, check=True)


async def in_the_middle(stage: Stage) -> Asked:
    """Give a command to whatever bot runs, and return when the fifth question is on its way."""
    scene = await stage.scene()
    stage.models.hold_after(4)
    asked = await scene.command()
    await until(lambda: len(stage.models.journal) == 5, "the fifth question")
    return asked


async def assert_it_ends_once(stage: Stage, asked: Asked) -> None:
    """Start a bot on the restored database, and look at what it makes of the run."""
    stage.models.release()
    async with stage.bot() as bot:
        await asked.reacted("rocket")
        await asked.settled()
        report = await bot.report(asked.run_id)
    assert report["status"] == "completed"
    assert report["budget"]["spent_usd"] >= billed_usd(stage.models.journal) > 0
    scene, pull = asked.scene, asked.pull
    assert stage.generated().count("part-1") == 1
    assert scene.checks(pull["head"]["sha"]) == GOOD_CHECKS
    assert len(scene.ours(asked.issue)) == len(scene.ours(pull["number"])) == 1
    assert sorted(scene.reactions(asked.comment)) == ["eyes", "rocket"]


@pytest.mark.slow
async def test_a_backup_of_sqlite_that_was_taken_in_the_middle_of_a_run_is_restored_and_goes_on(stage: Stage) -> None:
    stage.models.script = Script(tasks=2)
    folder = stage.folder
    async with stage.bot() as bot:
        asked = await in_the_middle(stage)
        # The documentation's name for it.
        (folder / "state.db").symlink_to(stage.database)
        await asyncio.to_thread(run_block, "sqlite-backup", folder)
        await bot.kill()
    (folder / "state.db").unlink()
    for left in folder.glob("bot.db*"):
        left.rename(folder / left.name.replace("bot.db", "state.db"))
    (folder / "state.db").write_text("the disk is gone")
    # when
    await asyncio.to_thread(run_block, "sqlite-restore", folder)
    (folder / "state.db").rename(stage.database)
    # then
    assert stage.database.stat().st_mode & 0o777 == 0o600
    await assert_it_ends_once(stage, asked)


@pytest.mark.slow
@pytest.mark.postgresql
@pytest.mark.xdist_group("postgresql")
async def test_a_backup_of_postgresql_that_was_taken_in_the_middle_of_a_run_is_restored_and_goes_on(
    tmp_path: Path, cluster: Cluster
) -> None:
    first, second = cluster.new_database(), cluster.new_database()
    async with open_stage(tmp_path, Script(tasks=2), postgresql=first, config="takeover_seconds: 4\n") as stage:
        async with stage.bot() as bot:
            asked = await in_the_middle(stage)
            await asyncio.to_thread(run_block, "postgresql-backup", tmp_path, first)
            await bot.kill()
        # when
        await asyncio.to_thread(run_block, "postgresql-restore", tmp_path, second)
        stage.postgresql = second
        # then
        await assert_it_ends_once(stage, asked)
