"""Money of calls in flight: reserved in the run's budget and on every account before a call, resolved after it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial

from orchestrator.bounds import affordable_output, highest_cost, input_bound, least_output
from orchestrator.budget import Budget, Reservation, dollars, to_usd
from orchestrator.errors import BudgetExhausted, TaskCapReached
from orchestrator.providers.base import CompletionRequest, Usage
from orchestrator.slots import Slots
from orchestrator.state import Purpose
from orchestrator.store import NO_CAP, Ledger, LedgerCall, Room, finished

# Other runs, of this process or another one, do not tell when their calls are resolved.
LOOK_AGAIN_SECONDS = 0.5
# No call lasts that long: what is reserved all the while is a dead process's, until its run is taken up again.
PATIENCE_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class Held:
    """What is set aside for one call, which may bring at most `output_tokens`."""

    reservation: Reservation
    call: LedgerCall
    output_tokens: int


@dataclass(slots=True)
class Reservations:
    """What a run's calls in flight hold of its `budget` and of the accounts that are `charged`, in picodollars.

    Each reservation is resolved once: settled, lost or released. One that waits for money gives its slot back.
    `task_cap` is the most that the calls of one task may cost together, None for no such cap.
    """

    budget: Budget
    ledger: Ledger
    charged: tuple[str, ...]
    slots: Slots
    task_cap: int | None = None
    _in_flight: Counter[str] = field(init=False, default_factory=Counter)
    _resolved: asyncio.Event = field(init=False, default_factory=asyncio.Event)

    async def reserve(self, request: CompletionRequest, *, task_id: str, purpose: Purpose) -> Held:
        """Set the call's upper bound aside, waiting for calls in flight when that may free enough money.

        Calls of other runs count too, where they are charged to an account of this one. Raises `BudgetExhausted` when
        no room is left for an answer of any use, and `TaskCapReached` when the task may not cost that much more.
        """
        bound = input_bound(request)
        afford = partial(affordable_output, request.model, bound, caching=request.stable > 0)
        least = least_output(request.model, request.max_output_tokens)
        seen: dict[str, Room] = {}
        since = time.monotonic()
        while True:
            resolved = self._resolved
            # What the run alone is charged for, its own budget knows; accounts that others use are looked up.
            room = await self.ledger.room(self.charged) if len(self.charged) > 1 else {}
            of_task = await self._left_of(task_id)
            if resolved is not self._resolved:
                continue  # what was read may be older than what was resolved meanwhile
            # From here to the reservation nothing is awaited: the budget stays as it is seen.
            wanted = afford(request.max_output_tokens, of_task)
            limit = afford(wanted, min([self.budget.remaining, *(one.left for one in room.values())]))
            idle = self.budget.reserved == 0
            if wanted < least:
                if not self._in_flight[task_id]:
                    raise self._full(task_id, highest_cost(request.model, bound, least, caching=request.stable > 0))
            elif limit == wanted or (idle and limit >= least):
                try:
                    return await self._set_aside(request, task_id, purpose, bound, limit)
                except BudgetExhausted:
                    if not room:
                        raise
                    # Another run was faster at an account that both are charged to: look again at what is left.
                    continue
            elif idle:
                # Nothing of this run's is in flight: what is reserved besides is another run's.
                freed = min([self.budget.remaining, *(one.left + one.reserved for one in room.values())])
                if room != seen:
                    seen, since = room, time.monotonic()
                if afford(wanted, freed) < least or time.monotonic() - since > PATIENCE_SECONDS:
                    # The refusal says whose cap it is, and how much is missing.
                    return await self._set_aside(request, task_id, purpose, bound, least)
                async with self.slots.given_back():
                    await asyncio.sleep(LOOK_AGAIN_SECONDS)
                continue
            async with self.slots.given_back():
                await resolved.wait()

    async def _left_of(self, task_id: str) -> int:
        """Return what the calls of a task may still cost."""
        if self.task_cap is None or not task_id:
            return NO_CAP
        spent, _, _ = await self.ledger.task_cost(task_id)
        return self.task_cap - spent - self._in_flight[task_id]

    def _full(self, task_id: str, amount: int) -> TaskCapReached:
        cap = dollars(to_usd(self.task_cap or 0))
        return TaskCapReached(
            f"The next call of task {task_id} could cost ${to_usd(amount):.4f}, and a policy lets all of its calls "
            f"cost {cap}.",
            hint="Raise the policy's `max_cost_per_task_usd`, and go on with the run.",
        )

    async def _set_aside(
        self, request: CompletionRequest, task_id: str, purpose: Purpose, bound: int, limit: int
    ) -> Held:
        """Reserve in the budget and on every account; raises `BudgetExhausted`, and leaves nothing reserved then."""
        amount = highest_cost(request.model, bound, limit, caching=request.stable > 0)
        reservation = self.budget.reserve(amount)
        self._in_flight[task_id] += amount
        booking = asyncio.ensure_future(
            self.ledger.reserve(
                charged=self.charged,
                task_id=task_id,
                purpose=purpose,
                provider=request.model.provider,
                model=request.model.id,
                amount=amount,
                input_tokens=bound,
                output_tokens=limit,
            )
        )
        try:
            return Held(reservation, await finished(booking), limit)
        except BaseException:
            if booking.exception() is None:
                # Cancelled while the ledger was at it: the call will never be made.
                await finished(self.release(Held(reservation, booking.result(), limit)))
            else:
                self.budget.release(reservation)
                self._tell_waiters(task_id, amount)
            raise

    async def settle(self, held: Held, cost: int, usage: Usage, *, key: str, answer: str) -> None:
        """Book what a call did cost, and keep its answer under `key`."""
        await self.ledger.settle(
            held.call,
            cost=cost,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            key=key,
            answer=answer,
        )
        self.budget.settle(held.reservation, cost)
        self._tell_waiters(held.call.task_id, held.reservation.amount)

    async def lose(self, held: Held) -> int:
        """Count a call whose answer was lost as spent at its reservation, and return that."""
        amount = held.reservation.amount
        await self.ledger.lose(held.call)
        self.budget.settle(held.reservation, amount)
        self._tell_waiters(held.call.task_id, amount)
        return amount

    async def release(self, held: Held) -> None:
        """Give back what a call that costs nothing held."""
        await self.ledger.release(held.call)
        self.budget.release(held.reservation)
        self._tell_waiters(held.call.task_id, held.reservation.amount)

    def _tell_waiters(self, task_id: str, amount: int) -> None:
        self._in_flight[task_id] -= amount
        self._resolved.set()
        self._resolved = asyncio.Event()
