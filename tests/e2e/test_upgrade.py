"""From one version to the next with runs under way: one after another, and both at once on one PostgreSQL."""

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
from tests.postgresql import Cluster

FIRST_RELEASE = "b3ccba85f46fdc0575cb8ba332f430e4f5a131b0"
SCHEMA_BEFORE = "f1345f0602358e77dcf5aa1314651fbb1a55bd04"
"""The last commit with the schema before this one's, and PostgreSQL."""
TOP = Path(__file__).parents[2]


def code_of(commit: str, folder: Path) -> Path:
    """Unpack the code of a commit, out of the repository's own history, and return its folder."""
    packed = subprocess.run(["git", "archive", commit], cwd=TOP, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
def first_release(tmp_path: Path) -> Path:
    """A folder with the first release's code."""
    return code_of(FIRST_RELEASE, tmp_path / "first-release")


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


@pytest.mark.slow
@pytest.mark.postgresql
async def test_both_versions_work_side_by_side_while_bots_are_replaced_one_after_another(
    tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LOCALHUB_JOURNAL", raising=False)
    before = code_of(SCHEMA_BEFORE, tmp_path / "before")
    config = "takeover_seconds: 5\n"
    async with open_stage(tmp_path, Script(tasks=2), postgresql=cluster.new_database(), config=config) as stage:
        scene = await stage.scene()
        version = "SELECT version_num FROM alembic_version"
        # given two bots of the old version, and one in the middle of a run
        async with stage.bot(code=before) as first, stage.bot(code=before) as second:
            stage.models.hold_after(4)
            begun = await scene.command()
            await until(lambda: len(stage.models.journal) == 5, "the fifth question")
            ((old_version,),) = stage.rows(version)
            # when one is replaced: the new one brings the schema up to date below the others
            await second.stop()
            async with stage.bot() as replaced:
                assert stage.rows(version) == [(SCHEMA_VERSION,)] != [(old_version,)]
                beside = await scene.command()
                stage.models.release()
                for run in (begun, beside):
                    await run.reacted("rocket")
                # and the other one, in the middle of the next runs
                stage.models.hold_after(3)
                last = [await scene.command() for _ in range(2)]
                await until(lambda: len(stage.models.journal) >= 4, "their questions")
                await first.stop()
                stage.models.release()
                for run in last:
                    await run.reacted("rocket")
                await last[-1].settled()
                # then
                assert (first.process.returncode, second.process.returncode) == (0, 0)
                for run in (begun, beside, *last):
                    assert (await replaced.report(run.run_id))["status"] == "completed"
        runs = (begun, beside, *last)
        pulls = scene.hub.pull_requests(scene.repository)
        assert [scene.checks(pull["head"]["sha"]) for pull in pulls] == [GOOD_CHECKS] * len(runs)
        assert sorted(pull["head"]["ref"] for pull in pulls) == [
            f"orchestrator/{run.issue}-sample-library" for run in runs
        ]
        for run in runs:
            (status,) = scene.ours(run.issue)
            assert status.startswith("Done: #")
            assert sorted(scene.reactions(run.comment)) == ["eyes", "rocket"]
        assert stage.reserved() == 0
