"""Budgets by the calendar: what a user, a repository or an account may spend in a day or a month, as ledger accounts.

Days and months are UTC's. A run is charged to the day and the month in which it was begun or taken up again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal

Scope = Literal["user", "repository", "account"]

_LONGEST_NAME = 120
_PREFIXES: Mapping[Scope, str] = {"user": "user", "repository": "repo", "account": "account"}
_CALENDAR = re.compile(r"(?:user|repo|account):(?P<name>.+)@(?P<year>\d{4})-(?P<month>\d\d)(?:-(?P<day>\d\d))?\Z")


@dataclass(frozen=True, slots=True)
class Quota:
    """What one of them may spend in a period, in USD; `period` is a day such as `2026-11-25`, or a month, `2026-11`."""

    scope: Scope
    name: str
    period: str
    usd: float

    @property
    def account(self) -> str:
        """The ledger's account: the same for every run of the period, whatever the case of the name."""
        name = self.name.lower()
        if len(name) > _LONGEST_NAME:
            name = f"{name[: _LONGEST_NAME - 20]}~{hashlib.sha256(name.encode()).hexdigest()[:16]}"
        return f"{_PREFIXES[self.scope]}:{name}@{self.period}"


def day_of(now: float) -> str:
    """Return the day of a time in seconds since the epoch."""
    return datetime.fromtimestamp(now, UTC).date().isoformat()


def month_of(now: float) -> str:
    """Return the month of a time in seconds since the epoch."""
    return day_of(now)[:7]


def is_past(account: str, at: float) -> bool:
    """Tell whether an account of the ledger is that of a day or month which was over at a time; never a lasting one."""
    found = _CALENDAR.match(account)
    if not found:
        return False
    return account.rpartition("@")[2] < (day_of(at) if found["day"] else month_of(at))


def named(account: str) -> str:
    """Return how a sentence names an account of the ledger: `octo/demo for 2026-11`, or the account as it is."""
    found = _CALENDAR.match(account)
    return f"{found['name']} for {account.rpartition('@')[2]}" if found else account


def turns(account: str) -> str:
    """Return the sentence that says when an account begins anew, and who can raise it; empty for a lasting one."""
    found = _CALENDAR.match(account)
    if not found:
        return ""
    year, month = int(found["year"]), int(found["month"])
    if found["day"]:
        kind, begins = "day", date(year, month, int(found["day"])) + timedelta(days=1)
    else:
        kind, begins = "month", date(year + month // 12, month % 12 + 1, 1)
    return f"The {kind} turns on {begins} at 00:00 UTC; before that the operator of this bot can raise the limit."
