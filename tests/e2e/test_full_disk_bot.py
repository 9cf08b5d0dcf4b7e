"""A disk that fills up under a bot at work: deliveries are refused, not lost, and the run ends once there is room."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.e2e.disk import small_disk
from tests.e2e.stage import GOOD_CHECKS, open_stage, until
from tests.loopback import Script

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("place", ["database", "temporary"])
async def test_a_full_disk_under_a_bot_loses_nothing_and_the_run_ends_once_there_is_room(
    tmp_path: Path, place: str
) -> None:
    with small_disk(tmp_path / "disk") as disk:
        async with open_stage(tmp_path, Script(tasks=1)) as stage:
            # Isolation is not to be had once more within the namespaces of this disk.
            scene = await stage.scene("version: 1\nvalidation:\n  validators: [python_syntax]\n")
            changes = {
                "database": {"ORCHESTRATOR_DATABASE_URL": f"sqlite:///{disk.folder}/bot.db"},
                "temporary": {"TMPDIR": str(disk.folder)},
            }
            async with stage.bot(changes[place], within=disk.within(Path.cwd())) as bot:
                stage.models.hold_after(2)
                asked = await scene.command()
                await until(lambda: len(stage.models.journal) == 3, "the third question")
                # when
                disk.fill()
                stage.models.release()
                await until(lambda: [it for it in bot.logged() if it["event"] == "failed"], "the failure")
                if place == "database":
                    refused = await scene.command()
                    ready = await bot.get("/readyz")
                disk.free()
                # then
                (failed, *_) = [it for it in bot.logged() if it["event"] == "failed"]
                where = f"database {disk.folder}/bot.db" if place == "database" else f"folder {disk.folder}/\\S+"
                assert re.search(f"The disk of the {where} is full.", failed["error"])
                if place == "database":
                    assert refused.status == 503
                    assert (ready.status_code, ready.json()["reason"]) == (503, "the database cannot be written")
                await asked.reacted("rocket")
                assert (await bot.get("/readyz")).json() == {"status": "ready"}
                assert (await bot.report(asked.run_id))["status"] == "completed"
            (pull,) = scene.hub.pull_requests(scene.repository)
            assert scene.checks(pull["head"]["sha"]) == GOOD_CHECKS
