"""The ledger: money reserved before a call, settled after it, on every account that the run is charged to.

An account is a cap with what is spent and reserved under it: one for the run, and where the job names them one each
for organisation, team and job. A reservation is one atomic statement over all of them, so that the caps hold across
tasks, processes and machines. Amounts are picodollars.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.budget import Phase, to_usd
from orchestrator.errors import BudgetExhausted
from orchestrator.state import CallRecord, Purpose, phase_of
from orchestrator.store.database import Database
from orchestrator.store.schema import accounts, calls, completions
from orchestrator.store.uninterrupted import uninterrupted


@dataclass(frozen=True, slots=True)
class LedgerCall:
    """One call as the ledger knows it; `reserved` is the upper bound in picodollars, tokens are its upper bounds."""

    id: int
    reserved: int
    accounts: tuple[str, ...]


@uninterrupted
class Ledger:
    """One run's view of the ledger; every write is fenced."""

    def __init__(self, database: Database, run_id: str, fence: int) -> None:
        self._database = database
        self._run_id = run_id
        self._fence = fence
        self._kept: set[str] | None = None

    async def open_accounts(self, caps: Mapping[str, int]) -> None:
        """Create the run's accounts, or move the caps of those that exist to these (picodollars)."""
        async with self._database.fenced(self._run_id, self._fence) as connection:
            for account, cap in sorted(caps.items()):
                await upsert_account(connection, account, cap)

    async def room(self, charged: tuple[str, ...]) -> dict[str, int]:
        """Return what each account could still reserve, in picodollars; negative where a vendor billed too much."""
        async with self._database.reading() as connection:
            rows = await connection.execute(select(accounts).where(accounts.c.id.in_(charged)))
            return {row.id: row.cap - row.spent - row.reserved for row in rows}

    async def reserve(
        self,
        *,
        charged: tuple[str, ...],
        task_id: str,
        purpose: Purpose,
        provider: str,
        model: str,
        amount: int,
        input_tokens: int,
        output_tokens: int,
    ) -> LedgerCall:
        """Set `amount` aside on every account, or on none; raises `BudgetExhausted` naming the account that is full."""
        async with self._database.fenced(self._run_id, self._fence, durable=True) as connection:
            await _reserve(connection, charged, amount)
            row = await connection.execute(
                insert(calls)
                .values(
                    run_id=self._run_id,
                    task_id=task_id,
                    purpose=purpose.value,
                    provider=provider,
                    model=model,
                    state="reserved",
                    accounts=json.dumps(charged),
                    reserved=amount,
                    input_tokens=input_tokens,
                    output_tokens=output_tokens,
                    created_at=self._database.clock(),
                )
                .returning(calls.c.id)
            )
            return LedgerCall(row.scalar_one(), amount, charged)

    async def settle(
        self, call: LedgerCall, *, cost: int, input_tokens: int, output_tokens: int, key: str, answer: str
    ) -> None:
        """Book what the call really cost, and keep its answer under `key` in the same transaction."""
        async with self._database.fenced(self._run_id, self._fence) as connection:
            await _book(connection, call.accounts, call.reserved, cost)
            await connection.execute(
                update(calls)
                .where(calls.c.id == call.id)
                .values(state="settled", cost=cost, input_tokens=input_tokens, output_tokens=output_tokens)
            )
            await connection.execute(
                insert(completions).values(run_id=self._run_id, key=key, call_id=call.id, answer=answer)
            )
        if self._kept is not None:
            self._kept.add(key)

    async def release(self, call: LedgerCall) -> None:
        """Give the reservation back: the provider did not bill the call."""
        async with self._database.fenced(self._run_id, self._fence) as connection:
            await _book(connection, call.accounts, call.reserved, 0)
            await connection.execute(update(calls).where(calls.c.id == call.id).values(state="released"))

    async def lose(self, call: LedgerCall) -> None:
        """Count the call as spent at its reservation: its answer was lost, and the provider may have billed it."""
        async with self._database.fenced(self._run_id, self._fence) as connection:
            await _lose(connection, call)

    async def recover(self) -> int:
        """Count every call that a dead process left in flight as spent at its reservation; returns how many."""
        async with self._database.fenced(self._run_id, self._fence) as connection:
            rows = await connection.execute(
                select(calls.c.id, calls.c.reserved, calls.c.accounts).where(
                    calls.c.run_id == self._run_id, calls.c.state == "reserved"
                )
            )
            left = [LedgerCall(row.id, row.reserved, tuple(json.loads(row.accounts))) for row in rows]
            for call in left:
                await _lose(connection, call)
            return len(left)

    async def answer(self, key: str) -> str | None:
        """Return the answer kept under `key` in this run, or None."""
        if self._kept is None:
            self._kept = await self._keys()
        if key not in self._kept:
            return None
        async with self._database.reading() as connection:
            found = await connection.execute(
                select(completions.c.answer).where(completions.c.run_id == self._run_id, completions.c.key == key)
            )
            answer: str | None = found.scalar_one_or_none()
            return answer

    async def _keys(self) -> set[str]:
        async with self._database.reading() as connection:
            found = await connection.execute(select(completions.c.key).where(completions.c.run_id == self._run_id))
            return set(found.scalars())

    async def task_cost(self, task_id: str) -> tuple[int, int, int]:
        """Return what a task's billed calls cost: picodollars, input tokens, output tokens."""
        async with self._database.reading() as connection:
            row = (
                await connection.execute(
                    select(
                        func.coalesce(func.sum(calls.c.cost), 0),
                        func.coalesce(func.sum(calls.c.input_tokens), 0),
                        func.coalesce(func.sum(calls.c.output_tokens), 0),
                    ).where(
                        calls.c.run_id == self._run_id,
                        calls.c.task_id == task_id,
                        calls.c.state.in_(("settled", "lost")),
                    )
                )
            ).one()
            return int(row[0]), int(row[1]), int(row[2])

    async def spent_by_phase(self) -> dict[Phase, int]:
        """Return what the run's calls of each phase cost so far, in picodollars."""
        spent: dict[Phase, int] = {}
        async with self._database.reading() as connection:
            rows = await connection.execute(
                select(calls.c.purpose, calls.c.task_id, calls.c.cost).where(calls.c.run_id == self._run_id)
            )
            for row in rows:
                phase = phase_of(Purpose(row.purpose), row.task_id)
                spent[phase] = spent.get(phase, 0) + row.cost
        return spent

    async def spent(self) -> int:
        """Return what the run's calls cost so far, in picodollars."""
        async with self._database.reading() as connection:
            total = await connection.execute(select(func.sum(calls.c.cost)).where(calls.c.run_id == self._run_id))
            return int(total.scalar_one() or 0)


async def billed_calls(connection: AsyncConnection, run_id: str) -> tuple[CallRecord, ...]:
    """Return one record for every answer that was billed, lost ones included, in the order of the calls."""
    rows = await connection.execute(
        select(calls).where(calls.c.run_id == run_id, calls.c.state.in_(("settled", "lost"))).order_by(calls.c.id)
    )
    return tuple(
        CallRecord(
            task_id=row.task_id,
            purpose=Purpose(row.purpose),
            provider=row.provider,
            model=row.model,
            input_tokens=row.input_tokens,
            output_tokens=row.output_tokens,
            cost_usd=to_usd(row.cost),
            estimated=row.state == "lost",
        )
        for row in rows
    )


async def upsert_account(connection: AsyncConnection, account: str, cap: int) -> None:
    """Create an account, or move its cap to this one (picodollars); its row stays locked until the transaction ends."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(accounts).values(id=account, cap=cap, spent=0, reserved=0)
    await connection.execute(statement.on_conflict_do_update(index_elements=[accounts.c.id], set_={"cap": cap}))


async def _reserve(connection: AsyncConnection, charged: tuple[str, ...], amount: int) -> None:
    # Sorted, so that two transactions on PostgreSQL lock shared accounts in the same order.
    for account in sorted(charged):
        taken = await connection.execute(
            update(accounts)
            .where(accounts.c.id == account, accounts.c.spent + accounts.c.reserved + amount <= accounts.c.cap)
            .values(reserved=accounts.c.reserved + amount)
            .returning(accounts.c.id)
        )
        if taken.first() is None:
            row = (await connection.execute(select(accounts).where(accounts.c.id == account))).one()
            raise BudgetExhausted(
                f"The next call could cost ${to_usd(amount):.4f}; the budget of {account} has "
                f"${to_usd(max(0, row.cap - row.spent - row.reserved)):.4f} of ${to_usd(row.cap):.2f} left.",
                account=account,
            )


async def _book(connection: AsyncConnection, charged: tuple[str, ...], reserved: int, cost: int) -> None:
    await connection.execute(
        update(accounts)
        .where(accounts.c.id.in_(charged))
        .values(reserved=accounts.c.reserved - reserved, spent=accounts.c.spent + cost)
    )


async def _lose(connection: AsyncConnection, call: LedgerCall) -> None:
    await _book(connection, call.accounts, call.reserved, call.reserved)
    await connection.execute(update(calls).where(calls.c.id == call.id).values(state="lost", cost=call.reserved))
