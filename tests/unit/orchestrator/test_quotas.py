from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.quotas import Quota, day_of, month_of, named, turns

NAMES = st.from_regex(r"[A-Za-z0-9-]{1,100}/[A-Za-z0-9._-]{1,100}", fullmatch=True)


@pytest.mark.parametrize(
    ("quota", "account", "name", "says"),
    [
        (
            Quota("user", "Maria", "2026-12-31", 5),
            "user:maria@2026-12-31",
            "maria for 2026-12-31",
            "day turns on 2027-01-01",
        ),
        (
            Quota("repository", "octo/Demo", "2026-11", 5),
            "repo:octo/demo@2026-11",
            "octo/demo for 2026-11",
            "month turns on 2026-12-01",
        ),
        (
            Quota("account", "octo", "2026-12", 5),
            "account:octo@2026-12",
            "octo for 2026-12",
            "month turns on 2027-01-01",
        ),
    ],
)
def test_a_period_is_an_account_of_the_ledger_whose_refusal_says_when_it_turns_and_who_can_raise_it(
    quota: Quota, account: str, name: str, says: str
) -> None:
    assert (quota.account, named(account)) == (account, name)
    assert turns(account) == f"The {says} at 00:00 UTC; before that the operator of this bot can raise the limit."


@pytest.mark.parametrize("account", ["org", "team:eng", "run:r-abc", "job:a@b", "run:x@2026-11"])
def test_an_account_that_lasts_keeps_its_name_and_never_turns(account: str) -> None:
    assert (named(account), turns(account)) == (account, "")


@given(NAMES, NAMES, st.floats(min_value=0, max_value=4_000_000_000))
def test_accounts_fit_their_column_and_two_names_never_share_one(left: str, right: str, now: float) -> None:
    day, month = day_of(now), month_of(now)
    of_left = Quota("repository", left, day, 1).account
    assert len(of_left) <= 160
    assert (of_left == Quota("repository", right, day, 1).account) is (left.lower() == right.lower())
    assert of_left != Quota("repository", left, month, 1).account
    assert day.startswith(month)
    said = date.fromisoformat(turns(of_left).split()[4])
    assert (said - datetime.fromtimestamp(now, UTC).date()).days == 1
