"""Money of calls in flight: reserved in the run's budget and on every account before a call, resolved after it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from orchestrator.bounds import LEAST_OUTPUT_TOKENS, affordable_output, highest_cost, input_bound
from orchestrator.budget import Budget, Reservation
from orchestrator.errors import BudgetExhausted
from orchestrator.providers.base import CompletionRequest, Usage
from orchestrator.slots import Slots
from orchestrator.state import Purpose
from orchestrator.store import Ledger, LedgerCall, finished


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
    """

    budget: Budget
    ledger: Ledger
    charged: tuple[str, ...]
    slots: Slots
    _resolved: asyncio.Event = field(init=False, default_factory=asyncio.Event)

    async def reserve(self, request: CompletionRequest, *, task_id: str, purpose: Purpose) -> Held:
        """Set the call's upper bound aside, waiting for calls in flight when that may free enough money.

        Raises `BudgetExhausted` when no room is left for an answer of any use.
        """
        bound = input_bound(request)
        wanted = request.max_output_tokens
        least = min(wanted, LEAST_OUTPUT_TOKENS)
        while True:
            resolved = self._resolved
            # What the run alone is charged for, its own budget knows; accounts that others use are looked up.
            room = await self.ledger.room(self.charged) if len(self.charged) > 1 else {}
            if resolved is not self._resolved:
                continue  # what was read may be older than what was resolved meanwhile
            # From here to the reservation nothing is awaited: the budget stays as it is seen.
            remaining = min([self.budget.remaining, *room.values()])
            limit = affordable_output(request.model, bound, wanted, remaining, caching=request.stable > 0)
            idle = self.budget.reserved == 0
            if limit == wanted or (idle and limit >= least):
                try:
                    return await self._set_aside(request, task_id, purpose, bound, limit)
                except BudgetExhausted:
                    if not room:
                        raise
                    # Another run was faster at an account that both are charged to: look again at what is left.
                    continue
            if idle:
                # The refusal says whose cap it is, and how much is missing.
                return await self._set_aside(request, task_id, purpose, bound, least)
            async with self.slots.given_back():
                await resolved.wait()

    async def _set_aside(
        self, request: CompletionRequest, task_id: str, purpose: Purpose, bound: int, limit: int
    ) -> Held:
        """Reserve in the budget and on every account; raises `BudgetExhausted`, and leaves nothing reserved then."""
        amount = highest_cost(request.model, bound, limit, caching=request.stable > 0)
        reservation = self.budget.reserve(amount)
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
                self._tell_waiters()
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
        self._tell_waiters()

    async def lose(self, held: Held) -> int:
        """Count a call whose answer was lost as spent at its reservation, and return that."""
        amount = held.reservation.amount
        await self.ledger.lose(held.call)
        self.budget.settle(held.reservation, amount)
        self._tell_waiters()
        return amount

    async def release(self, held: Held) -> None:
        """Give back what a call that costs nothing held."""
        await self.ledger.release(held.call)
        self.budget.release(held.reservation)
        self._tell_waiters()

    def _tell_waiters(self) -> None:
        self._resolved.set()
        self._resolved = asyncio.Event()
