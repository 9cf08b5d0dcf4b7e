"""From one version to the next with a run under way: the first release begins it, and this version ends it."""

from __future__ import annotations

import asyncio
import io
import subprocess
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator.store import SCHEMA_VERSION
from tests.e2e.stage import GOOD_CHECKS, Stage, billed_usd, open_stage, until
from tests.loopback import Script

FIRST_RELEASE = "b3ccba85f46fdc0575cb8ba332f430e4f5a131b0"
TOP = Path(__file__).parents[2]


@pytest.fixture
def first_release(tmp_path: Path) -> Path:
    """A folder with the first release's code, out of the repository's own history."""
    packed = subprocess.run(["git", "archive", FIRST_RELEASE], cwd=TOP, check=True, capture_output=True).stdout
    folder = tmp_path / "first-release"
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
async def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    """A stage that keeps no journal: what the first release asked GitHub for is not ours to judge."""
    monkeypatch.delenv("LOCALHUB_JOURNAL", raising=False)
    async with open_stage(tmp_path) as opened:
        yield opened


@pytest.mark.slow
async def test_a_run_that_the_first_release_has_begun_is_ended_by_this_version_on_the_same_database(
    stage: Stage, first_release: Path
) -> None:
    # given the first release in the middle of a run
    stage.models.script = Script(tasks=2)
    scene = await stage.scene()
    async with stage.bot(code=first_release) as old:
        stage.models.hold_after(4)
        asked = await scene.command()
        await asyncio.to_thread(stage.models.wait_for_calls, 5)
        finished, calls = stage.finished_tasks(), len(stage.models.journal)
        assert finished == {"part-1"}
        # when it is asked to stop
        await old.stop()
        assert old.process.returncode == 0
    stage.models.release()
    assert stage.rows("SELECT name FROM sqlite_master WHERE name = 'alembic_version'") == []
    assert "queued" in stage.delivery_states()
    # then
    async with stage.bot() as bot:
        await asked.reacted("rocket")
        await asked.settled()
        report = await bot.report(asked.run_id)
    assert stage.rows("SELECT version_num FROM alembic_version") == [(SCHEMA_VERSION,)]
    assert report["status"] == "completed"
    assert [(task["id"], task["status"]) for task in report["tasks"]] == [
        ("part-1", "completed"),
        ("part-2", "completed"),
    ]
    assert finished.isdisjoint(stage.generated(stage.models.journal[calls:]))
    assert report["budget"]["spent_usd"] >= billed_usd(stage.models.journal) > 0
    assert stage.reserved() == 0
    pull = asked.pull
    assert scene.checks(pull["head"]["sha"]) == GOOD_CHECKS
    (status,) = scene.ours(asked.issue)
    assert status.startswith(f"Done: #{pull['number']} · 2/2 tasks · ")
    await until(lambda: sorted(scene.reactions(asked.comment)) == ["eyes", "rocket"], "the reactions")
