"""Holds: what runs were promised of the budgets above them, so that a run is refused before it spends, or not at all.

A call is reserved on every account in any case (`ledger`); a hold only decides who is admitted. What a run has spent
and reserved since counts against its hold, which goes when the run ends. A run cannot outlast its time limit: a
hold that a dead process left behind ends with that.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.budget import dollars, to_usd
from orchestrator.errors import BudgetHierarchyExceeded
from orchestrator.store.database import Database
from orchestrator.store.ledger import upsert_account
from orchestrator.store.schema import accounts, holds
from orchestrator.store.uninterrupted import uninterrupted

# A run over its time still books what is in flight before it ends.
GRACE_SECONDS = 600.0


@uninterrupted
class HoldStore:
    """The holds of all runs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def admit(self, run_id: str, *, caps: Mapping[str, int], amount: int, seconds: float) -> None:
        """Promise a run what it may still spend of `amount` on every account, or on none.

        `caps` are the accounts' in picodollars, `amount` is the run's own cap, `seconds` its time limit. Raises
        `BudgetHierarchyExceeded` for the first account that has no room. One transaction that locks the accounts
        decides: two runs for which there is room for one are not both admitted.
        """
        now = self._database.clock()
        async with self._database.transaction(durable=True) as connection:
            for account, cap in sorted(caps.items()):
                await upsert_account(connection, account, cap)
            needed = await _unspent(connection, run_id, amount)
            over = holds.c.account.in_(caps) & (holds.c.until < now)
            await connection.execute(delete(holds).where(over | (holds.c.run_id == run_id)))
            for account, cap in sorted(caps.items()):
                room, promised = await _room(connection, account)
                if needed > room:
                    raise BudgetHierarchyExceeded(
                        f"The run may spend {dollars(to_usd(needed))}, and the budget of {account} has "
                        f"{dollars(to_usd(max(0, room)))} of {dollars(to_usd(cap))} left"
                        + (f", besides ${to_usd(promised):.2f} promised to runs under way." if promised else "."),
                        account=account,
                        hint=f"Give the run a smaller budget, or raise the budget of {account}. Nothing was spent.",
                    )
                await connection.execute(
                    insert(holds).values(
                        account=account, run_id=run_id, amount=amount, until=now + seconds + GRACE_SECONDS
                    )
                )

    async def release(self, run_id: str, fence: int) -> None:
        """Give back what an ended run did not spend."""
        async with self._database.fenced(run_id, fence) as connection:
            await connection.execute(delete(holds).where(holds.c.run_id == run_id))


async def _unspent(connection: AsyncConnection, run_id: str, amount: int) -> int:
    """Return what is left of a run's cap."""
    used = await connection.execute(
        select(accounts.c.spent + accounts.c.reserved).where(accounts.c.id == f"run:{run_id}")
    )
    return max(0, amount - int(used.scalar_one_or_none() or 0))


async def _room(connection: AsyncConnection, account: str) -> tuple[int, int]:
    """Return what an account could still promise, and what it has promised, in picodollars."""
    row = (await connection.execute(select(accounts).where(accounts.c.id == account))).one()
    held = (await connection.execute(select(holds.c.run_id, holds.c.amount).where(holds.c.account == account))).all()
    promised = sum([await _unspent(connection, one.run_id, one.amount) for one in held])
    return row.cap - row.spent - row.reserved - promised, promised
