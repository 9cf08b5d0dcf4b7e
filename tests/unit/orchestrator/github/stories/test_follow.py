"""What decides about commands on a run that exists."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.github.stories.build import binding
from orchestrator.github.stories.follow import why_not_approved, why_not_cancelled, why_not_resumed
from orchestrator.sections import BudgetSpec
from orchestrator.specs import JobSpec
from orchestrator.state import ProjectState, ProjectStatus
from tests.unit.orchestrator.github.states import running

LIVING = {ProjectStatus.QUEUED, ProjectStatus.PLANNING, ProjectStatus.RUNNING, ProjectStatus.WAITING}
SHORT = set(ProjectStatus) - LIVING - {ProjectStatus.COMPLETED}


def _state(status: ProjectStatus) -> ProjectState:
    state = running()
    state.status = status
    return state


@pytest.mark.parametrize("status", ProjectStatus)
def test_each_command_fits_the_states_that_it_is_for(status: ProjectStatus) -> None:
    state = _state(status)
    assert (why_not_resumed(state) == "") == (status in SHORT)
    assert (why_not_approved(state) == "") == (status is ProjectStatus.WAITING)
    assert (why_not_cancelled(state, None) == "") == (status in LIVING | {ProjectStatus.INTERRUPTED})
    assert why_not_cancelled(state, "maria") == ""


def test_without_a_run_there_is_nothing_to_approve_or_resume_but_one_that_is_queued_can_be_cancelled() -> None:
    assert "`/orchestrate plan`" in why_not_approved(None)
    assert why_not_resumed(None) == "the run of this issue has not begun yet."
    assert why_not_cancelled(None, None) == ""


def test_sec_16_an_approval_binds_plan_spec_and_base_commit() -> None:
    state, job, base = running(), JobSpec(description="x"), "a" * 40
    bound = binding(state, job, base)
    assert binding(running(), JobSpec(description="x"), base) == bound
    other = running()
    other.tasks = other.tasks[:1]
    changed = (
        binding(other, job, base),
        binding(state, replace(job, budget=BudgetSpec(max_usd=1.0)), base),
        binding(state, job, "b" * 40),
    )
    assert bound not in changed
    assert len(bound) <= 200  # what the outbox keeps
