"""How much runs at once: slots that the most urgent waiter gets, and that a waiting holder gives back meanwhile."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Slots:
    """A semaphore whose waiters are served by priority, the highest first, then in the order they came."""

    def __init__(self, count: int) -> None:
        if count < 1:
            raise ValueError(f"at least one slot is needed, not {count}")
        self._free = count
        self._order = itertools.count()
        self._waiters: list[tuple[float, int, asyncio.Future[None]]] = []

    @asynccontextmanager
    async def held(self, priority: float = 0.0) -> AsyncIterator[None]:
        """Hold a slot."""
        await self._acquire(priority)
        try:
            yield
        finally:
            self._release()

    @asynccontextmanager
    async def given_back(self) -> AsyncIterator[None]:
        """Give the held slot back for the time of the block, and be the first to get one again."""
        self._release()
        try:
            yield
            await self._acquire(float("inf"))
        except BaseException:
            # The holder is leaving and will release once more: take the slot on credit instead of waiting for it.
            self._free -= 1
            raise

    async def _acquire(self, priority: float) -> None:
        if self._free > 0 and not self._waiters:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiters, (-priority, next(self._order), turn))
        self._wake()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._release()
            raise

    def _release(self) -> None:
        self._free += 1
        self._wake()

    def _wake(self) -> None:
        while self._free > 0 and self._waiters:
            turn = heapq.heappop(self._waiters)[2]
            if not turn.done():
                self._free -= 1
                turn.set_result(None)
