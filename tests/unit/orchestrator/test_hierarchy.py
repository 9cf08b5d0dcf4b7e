"""The budgets above a run, as the accounts it is charged to."""

from __future__ import annotations

import pytest

from orchestrator import BudgetHierarchy
from orchestrator.errors import BudgetHierarchyExceeded, UsageError

HIERARCHY = BudgetHierarchy(
    org_max_usd=100.0, team_budgets={"eng": 50.0, "research": 30.0}, job_budgets={"job_001": 10.0}
)


@pytest.mark.parametrize(
    ("team", "job", "caps"),
    [
        (None, None, {"org": 100 * 10**12}),
        ("eng", None, {"org": 100 * 10**12, "team:eng": 50 * 10**12}),
        ("eng", "job_001", {"org": 100 * 10**12, "team:eng": 50 * 10**12, "job:job_001": 10 * 10**12}),
    ],
)
def test_a_run_is_charged_to_the_organisation_and_to_the_team_and_job_it_names(
    team: str | None, job: str | None, caps: dict[str, int]
) -> None:
    assert HIERARCHY.caps(team, job) == caps


def test_what_has_no_budget_caps_nothing() -> None:
    assert BudgetHierarchy().caps() == {}


@pytest.mark.parametrize(
    ("team", "job", "said"),
    [
        ("egn", None, "no team 'egn'; did you mean 'eng'"),
        ("eng", "job_01", "no job 'job_01'; did you mean 'job_001'"),
        ("sales", None, "no team 'sales'; known are eng, research"),
    ],
)
def test_an_unknown_team_or_job_is_an_error_with_the_nearest_known_one(team: str, job: str | None, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        HIERARCHY.caps(team, job)


def test_a_team_is_unknown_where_there_is_none() -> None:
    with pytest.raises(UsageError, match="no team 'eng'; it names no team"):
        BudgetHierarchy(org_max_usd=1.0).caps("eng")


@pytest.mark.parametrize("usd", [-1.0, float("inf"), float("nan")])
def test_an_amount_is_a_number_from_zero_up(usd: float) -> None:
    with pytest.raises(ValueError, match="org_max_usd must be a number from 0 up"):
        BudgetHierarchy(org_max_usd=usd)
    with pytest.raises(ValueError, match=r"team_budgets\['eng'\] must be a number from 0 up"):
        BudgetHierarchy(team_budgets={"eng": usd})
    with pytest.raises(ValueError, match=r"job_budgets\['j'\] must be a number from 0 up"):
        BudgetHierarchy(job_budgets={"j": usd})


def test_a_name_that_no_account_can_have_is_refused() -> None:
    with pytest.raises(ValueError, match="named by up to 100 letters"):
        BudgetHierarchy(team_budgets={"a team": 1.0})


def test_exceeding_it_is_a_value_error_that_ends_the_command_line_as_a_cap_does() -> None:
    error = BudgetHierarchyExceeded("no room", account="org")
    assert isinstance(error, ValueError)
    assert (error.exit_status, error.account) == (3, "org")


def test_a_team_without_a_budget_is_answered_with_one_sentence_that_ends_once() -> None:
    with pytest.raises(UsageError) as refused:
        BudgetHierarchy(team_budgets={"eng": 1.0}).caps("enq")
    assert refused.value.message == "The budget hierarchy has no team 'enq'; did you mean 'eng'?"
