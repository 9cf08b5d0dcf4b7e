"""The ledger: money reserved before a call, settled after it, on every account that the run is charged to.

An account is a cap with what is spent and reserved under it: one for the run, and where the job names them one each
for organisation, team and job. A reservation is one atomic statement over all of them, so that the caps hold across
tasks, processes and machines. Amounts are picodollars.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import CursorResult, bindparam, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.budget import Phase, dollars, to_pico, to_usd
from orchestrator.errors import BudgetExhausted
from orchestrator.quotas import named, turns
from orchestrator.state import CallRecord, Purpose, phase_of
from orchestrator.store.database import Database
from orchestrator.store.schema import accounts, calls, runs
from orchestrator.store.uninterrupted import uninterrupted

# More than any account holds: the cap of an account that was not opened with one.
NO_CAP = 2**63 - 1
_LOST = re.compile(r"([0-9]+) call\(s\) were in flight when a process died; each counts at its reservation\.")
# Statements of the hot path are built once: building one costs as much as running it.
_TAKE = (
    update(accounts)
    .where(
        accounts.c.id == bindparam("account"),
        accounts.c.spent + accounts.c.reserved + bindparam("amount") <= accounts.c.cap,
        accounts.c.spent + accounts.c.reserved + bindparam("amount") <= bindparam("own_cap"),
    )
    .values(reserved=accounts.c.reserved + bindparam("amount"))
)
_BOOK = (
    update(accounts)
    .where(accounts.c.id == bindparam("account"))
    .values(reserved=accounts.c.reserved - bindparam("held"), spent=accounts.c.spent + bindparam("paid"))
)
_CALL = insert(calls)
_SETTLED = update(calls).where(calls.c.id == bindparam("call_id")).values(state="settled")


@dataclass(frozen=True, slots=True)
class LedgerCall:
    """One call as the ledger knows it; `reserved` is the upper bound in picodollars, tokens are its upper bounds."""

    id: int
    task_id: str
    reserved: int
    accounts: tuple[str, ...]


class Room(NamedTuple):
    """What an account could still reserve, negative where a vendor billed too much, and what is reserved of it."""

    left: int
    reserved: int


@dataclass(slots=True)
class _Billed:
    """What is known of a run's billed calls: the keys of the kept answers, and cost and tokens by task."""

    keys: set[str] = field(default_factory=set)
    tasks: dict[str, tuple[int, int, int]] = field(default_factory=dict)

    def add(self, task_id: str, cost: int, input_tokens: int, output_tokens: int, key: str | None) -> None:
        before = self.tasks.get(task_id, (0, 0, 0))
        self.tasks[task_id] = (before[0] + cost, before[1] + input_tokens, before[2] + output_tokens)
        if key is not None:
            self.keys.add(key)


@uninterrupted
class Ledger:
    """One run's view of the ledger; every write is fenced."""

    def __init__(self, database: Database, run_id: str, fence: int) -> None:
        self._database = database
        self._run_id = run_id
        self._fence = fence
        self._caps: dict[str, int] = {}
        self._known: _Billed | None = None
        # What is billed while the memory of it is read would be missed there, or counted twice.
        self._remembering = asyncio.Lock()

    async def open_accounts(self, caps: Mapping[str, int]) -> None:
        """Create the run's accounts, or move the caps of those that exist to these (picodollars).

        A later run may move the cap of an account they share: this one stays under its own and under that one.
        """
        self._caps = dict(caps)
        async with self._database.fenced(self._run_id, self._fence) as connection:
            for account, cap in sorted(caps.items()):
                await upsert_account(connection, account, cap)

    async def room(self, charged: tuple[str, ...]) -> dict[str, Room]:
        """Return how much room each account has."""
        async with self._database.reading() as connection:
            rows = await connection.execute(select(accounts).where(accounts.c.id.in_(charged)))
            caps = self._caps
            return {
                row.id: Room(min(row.cap, caps.get(row.id, NO_CAP)) - row.spent - row.reserved, row.reserved)
                for row in rows
            }

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
            await _reserve(connection, charged, amount, self._caps)
            added = await connection.execute(
                _CALL,
                {
                    "run_id": self._run_id,
                    "task_id": task_id,
                    "purpose": purpose.value,
                    "provider": provider,
                    "model": model,
                    "state": "reserved",
                    "accounts": json.dumps(charged),
                    "reserved": amount,
                    "input_tokens": input_tokens,
                    "output_tokens": output_tokens,
                    "created_at": self._database.clock(),
                },
            )
            return LedgerCall(_number(added), task_id, amount, charged)

    async def settle(
        self, call: LedgerCall, *, cost: int, input_tokens: int, output_tokens: int, key: str, answer: str
    ) -> None:
        """Book what the call really cost, and keep its answer under `key` in the same transaction."""
        async with self._remembering:
            async with self._database.fenced(self._run_id, self._fence) as connection:
                await _book(connection, call.accounts, call.reserved, cost)
                await connection.execute(
                    _SETTLED,
                    {
                        "call_id": call.id,
                        "cost": cost,
                        "input_tokens": input_tokens,
                        "output_tokens": output_tokens,
                        "key": key,
                        "answer": answer,
                    },
                )
            if self._known is not None:
                self._known.add(call.task_id, cost, input_tokens, output_tokens, key)

    async def release(self, call: LedgerCall) -> None:
        """Give the reservation back: the provider did not bill the call."""
        async with self._database.fenced(self._run_id, self._fence) as connection:
            await _book(connection, call.accounts, call.reserved, 0)
            await connection.execute(update(calls).where(calls.c.id == call.id).values(state="released"))

    async def lose(self, call: LedgerCall) -> None:
        """Count the call as spent at its reservation: its answer was lost, and the provider may have billed it."""
        async with self._remembering:
            async with self._database.fenced(self._run_id, self._fence) as connection:
                await _lose(connection, call)
            self._known = None

    async def recover(self) -> int:
        """Count every call that a dead process left in flight as spent at its reservation; returns how many.

        The run's notes say how many that were so far: each process that dies adds to it.
        """
        async with self._database.fenced(self._run_id, self._fence) as connection:
            rows = await connection.execute(
                select(calls.c.id, calls.c.task_id, calls.c.reserved, calls.c.accounts).where(
                    calls.c.run_id == self._run_id, calls.c.state == "reserved"
                )
            )
            left = [LedgerCall(row.id, row.task_id, row.reserved, tuple(json.loads(row.accounts))) for row in rows]
            for call in left:
                await _lose(connection, call)
            if left:
                own = runs.c.id == self._run_id
                notes = json.loads((await connection.execute(select(runs.c.notes).where(own))).scalar_one())
                noted = json.dumps(_with_lost(notes, len(left)))
                await connection.execute(update(runs).where(own).values(notes=noted))
        self._known = None
        return len(left)

    async def answer(self, key: str) -> str | None:
        """Return the answer kept under `key` in this run, or None."""
        if key not in (await self._billed()).keys:
            return None
        async with self._database.reading() as connection:
            found = await connection.execute(
                select(calls.c.answer).where(calls.c.run_id == self._run_id, calls.c.key == key)
            )
            answer: str | None = found.scalar_one_or_none()
            return answer

    async def task_cost(self, task_id: str) -> tuple[int, int, int]:
        """Return what a task's billed calls cost: picodollars, input tokens, output tokens."""
        return (await self._billed()).tasks.get(task_id, (0, 0, 0))

    async def _billed(self) -> _Billed:
        """Return what the run was billed for, read once: after that only this process adds to it."""
        async with self._remembering:
            if self._known is None:
                known = _Billed()
                async with self._database.reading() as connection:
                    rows = await connection.execute(
                        select(
                            calls.c.task_id, calls.c.cost, calls.c.input_tokens, calls.c.output_tokens, calls.c.key
                        ).where(calls.c.run_id == self._run_id, calls.c.state.in_(("settled", "lost")))
                    )
                    for row in rows:
                        known.add(row.task_id, row.cost, row.input_tokens, row.output_tokens, row.key)
                self._known = known
            return self._known

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


def _number(added: CursorResult[Any]) -> int:
    """Return the id of the row just added; every dialect gives it, PostgreSQL by RETURNING."""
    key = added.inserted_primary_key
    if key is None:
        raise AssertionError("a call's row has a primary key")
    return int(key[0])


async def billed_calls(connection: AsyncConnection, run_id: str) -> tuple[CallRecord, ...]:
    """Return one record for every answer that was billed, lost ones included, in the order of the calls."""
    rows = await connection.execute(
        select(
            calls.c.task_id,
            calls.c.purpose,
            calls.c.provider,
            calls.c.model,
            calls.c.input_tokens,
            calls.c.output_tokens,
            calls.c.cost,
            calls.c.state,
        )
        .where(calls.c.run_id == run_id, calls.c.state.in_(("settled", "lost")))
        .order_by(calls.c.id)
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


async def spent_up(database: Database, caps: Mapping[str, float]) -> str | None:
    """Return the first account, of these with their caps in USD, that has nothing left, or None."""
    async with database.reading() as connection:
        rows = await connection.execute(select(accounts).where(accounts.c.id.in_(caps)))
        taken = {row.id: row.spent + row.reserved for row in rows}
    return next((account for account, usd in caps.items() if taken.get(account, 0) >= to_pico(usd)), None)


async def _reserve(connection: AsyncConnection, charged: tuple[str, ...], amount: int, caps: Mapping[str, int]) -> None:
    # Sorted, so that two transactions on PostgreSQL lock shared accounts in the same order.
    for account in sorted(charged):
        own_cap = caps.get(account, NO_CAP)
        taken = await connection.execute(_TAKE, {"account": account, "amount": amount, "own_cap": own_cap})
        if taken.rowcount == 0:
            row = (await connection.execute(select(accounts).where(accounts.c.id == account))).one()
            cap = min(row.cap, own_cap)
            raise BudgetExhausted(
                f"The next call could cost ${to_usd(amount):.4f}; the budget of {named(account)} has "
                f"${to_usd(max(0, cap - row.spent - row.reserved)):.4f} of {dollars(to_usd(cap))} left. "
                f"{turns(account)}".rstrip(),
                account=account,
            )


async def _book(connection: AsyncConnection, charged: tuple[str, ...], reserved: int, cost: int) -> None:
    await connection.execute(_BOOK, [{"account": one, "held": reserved, "paid": cost} for one in sorted(charged)])


def _with_lost(notes: Sequence[str], lost: int) -> list[str]:
    """Return a run's notes with so many more calls that were in flight when a process died."""
    before = sum(int(found[1]) for note in notes if (found := _LOST.fullmatch(note)))
    others = [note for note in notes if not _LOST.fullmatch(note)]
    return [*others, f"{before + lost} call(s) were in flight when a process died; each counts at its reservation."]


async def _lose(connection: AsyncConnection, call: LedgerCall) -> None:
    await _book(connection, call.accounts, call.reserved, call.reserved)
    await connection.execute(update(calls).where(calls.c.id == call.id).values(state="lost", cost=call.reserved))
