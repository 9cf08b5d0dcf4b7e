"""A cancel from anywhere and the operator's kill switch stop a run before its next call, and let it go on later."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import RunCancelled
from orchestrator.state import ProjectStatus
from orchestrator.stops import SWITCHED_OFF, Stops
from orchestrator.store import CancellationStore, Database
from tests.unit.orchestrator.models import Models, a_job


async def test_a_run_cancelled_from_another_process_asks_nothing_until_that_is_withdrawn(tmp_path: Path) -> None:
    # given: one plane that works, and another one that only shares its database
    models = Models()
    async with models.plane(tmp_path) as plane, models.plane(tmp_path) as other:
        await other.cancel("run-1", "maria")
        await other.cancel("run-1", "paul")
        # when
        state = await plane.submit(a_job(), run_id="run-1")
        again = await plane.submit(a_job(), run_id="run-1", retry_failed=True)
        # then
        assert (state.status, state.outcome.code, state.outcome.reason) == (
            ProjectStatus.CANCELLED,
            "cancelled",
            "Cancelled by maria",
        )
        assert (again.status, models.asked) == (ProjectStatus.CANCELLED, [])
        await other.withdraw_cancel("run-1")
        assert (await plane.submit(a_job(), run_id="run-1", retry_failed=True)).status is ProjectStatus.COMPLETED


async def test_a_plan_that_waits_is_ended_by_whoever_cancels_it_and_can_be_forgotten(tmp_path: Path) -> None:
    models = Models()
    async with models.plane(tmp_path) as plane:
        waiting = await plane.submit(a_job(), run_id="run-1", plan_only=True)
        ended = await plane.end_cancelled("run-1", "maria")
        assert (waiting.status, ended.status) == (ProjectStatus.WAITING, ProjectStatus.CANCELLED)
        assert (ended.tasks, ended.budget.spent_usd) == (waiting.tasks, waiting.budget.spent_usd)
        await plane.forget_plan("run-1")
        forgotten = await plane.state("run-1")
    assert forgotten is not None
    assert (forgotten.tasks, forgotten.architecture, forgotten.files) == ((), None, ())
    assert forgotten.budget.spent_usd == waiting.budget.spent_usd > 0


async def test_sec_12_the_operators_file_is_read_again_whenever_it_changes(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    async with Database.open(f"sqlite:///{tmp_path / 'state.db'}") as database:
        stops = Stops(database, config)
        assert stops.switched_off() == ""
        config.write_text("enabled: false\n")
        assert stops.switched_off() == SWITCHED_OFF
        with pytest.raises(RunCancelled, match="switched the orchestrator off"):
            await stops.check("run-1")
        config.write_text("enabled: true # again\n")
        await stops.check("run-1")
        await CancellationStore(database).ask("run-1", "maria")
        with pytest.raises(RunCancelled, match="Cancelled by maria"):
            await stops.check("run-1")


async def test_sec_36_an_operators_file_that_is_broken_or_gone_stops_everything(tmp_path: Path) -> None:
    config = tmp_path / "operator.yaml"
    config.write_text("enabled: maybe\n")
    async with Database.open(f"sqlite:///{tmp_path / 'state.db'}") as database:
        stops = Stops(database, config, named=True)
        assert stops.switched_off() == "Stopped: the operator's configuration cannot be read any more"
        config.unlink()
        assert stops.switched_off() == "Stopped: the operator's configuration is gone"


async def test_runs_that_are_watched_share_one_question_to_the_store_for_as_long_as_it_counts(tmp_path: Path) -> None:
    async with Database.open(f"sqlite:///{tmp_path / 'state.db'}") as database:
        stops, cancellations = Stops(database), CancellationStore(database)
        with stops.watching("run-1"), stops.watching("run-2"):
            # given: the store was asked for the first one, and the second one is cancelled afterwards
            await stops.check("run-1")
            await cancellations.ask("run-2", "maria")
            # then: what was asked counts for both
            await stops.check("run-2", within=60)
            # and a new question is asked where it is too old, or was about others
            await cancellations.ask("run-3", "paul")
            with pytest.raises(RunCancelled, match="Cancelled by paul"):
                await stops.check("run-3", within=60)
            with pytest.raises(RunCancelled, match="Cancelled by maria"):
                await stops.check("run-2", within=60)
            with pytest.raises(RunCancelled, match="Cancelled by maria"):
                stops.recall("run-2")
            await cancellations.withdraw("run-2")
            await stops.check("run-2")
            stops.recall("run-2")
