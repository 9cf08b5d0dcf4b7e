"""Slots: how many run at once, who is next, and what a holder that waits gives to others meanwhile."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.slots import Slots


async def turns(count: int = 20) -> None:
    """Let every task that can run do so."""
    for _ in range(count):
        await asyncio.sleep(0)


def test_there_is_at_least_one_slot() -> None:
    with pytest.raises(ValueError, match="at least one slot is needed, not 0"):
        Slots(0)


async def test_the_most_urgent_waiter_is_next_and_equals_keep_their_order() -> None:
    slots = Slots(1)
    order: list[str] = []
    gate = asyncio.Event()

    async def work(name: str, priority: float) -> None:
        async with slots.held(priority):
            order.append(name)
            await gate.wait()

    async with asyncio.TaskGroup() as group:
        group.create_task(work("first", 0))
        await turns()
        for name, priority in (("low", 1.0), ("high", 3.0), ("middle", 2.0), ("middle too", 2.0)):
            group.create_task(work(name, priority))
        await turns()
        gate.set()

    assert order == ["first", "high", "middle", "middle too", "low"]


async def test_a_newcomer_does_not_overtake_those_who_wait() -> None:
    slots = Slots(1)
    order: list[str] = []

    async def work(name: str) -> None:
        async with slots.held():
            order.append(name)

    async with asyncio.TaskGroup() as group:
        async with slots.held():
            group.create_task(work("waiter"))
            await turns()
        group.create_task(work("newcomer"))

    assert order == ["waiter", "newcomer"]


async def test_a_holder_that_waits_lets_another_one_work_and_is_the_first_to_come_back() -> None:
    slots = Slots(1)
    order: list[str] = []
    wait_over = asyncio.Event()

    async def holder() -> None:
        async with slots.held():
            order.append("holder")
            async with slots.given_back():
                await wait_over.wait()
            order.append("holder again")

    async def other(name: str, *, ends_the_wait: bool = False) -> None:
        async with slots.held(5.0):
            order.append(name)
            if ends_the_wait:
                wait_over.set()
                await turns()

    async with asyncio.TaskGroup() as group:
        group.create_task(holder())
        await turns()
        group.create_task(other("one", ends_the_wait=True))
        group.create_task(other("two"))

    assert order == ["holder", "one", "holder again", "two"]


@pytest.mark.parametrize("when", ["in the block", "on the way back"])
async def test_a_holder_that_is_cancelled_while_it_gave_its_slot_back_leaves_no_slot_too_many(when: str) -> None:
    slots = Slots(1)
    wait_over, other_may_end = asyncio.Event(), asyncio.Event()
    holding: list[str] = []

    async def holder() -> None:
        async with slots.held(), slots.given_back():
            await wait_over.wait()

    async def other(name: str) -> None:
        async with slots.held():
            holding.append(name)
            await other_may_end.wait()

    waiting = asyncio.create_task(holder())
    await turns()
    async with asyncio.TaskGroup() as group:
        group.create_task(other("second"))
        await turns()
        if when == "on the way back":
            wait_over.set()
            await turns()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        group.create_task(other("third"))
        await turns()
        held_at_once = list(holding)
        other_may_end.set()

    assert held_at_once == ["second"]
    assert holding == ["second", "third"]


async def test_an_error_while_a_slot_is_given_back_leaves_the_count_as_it_was() -> None:
    slots = Slots(1)

    with pytest.raises(LookupError):
        async with slots.held(), slots.given_back():
            raise LookupError
    async with asyncio.timeout(1), slots.held():
        second = asyncio.create_task(_hold(slots))
        await turns()
        waits = not second.done()
    await second

    assert waits


async def _hold(slots: Slots) -> None:
    async with slots.held():
        return


async def test_a_waiter_cancelled_in_the_moment_of_its_turn_passes_it_on() -> None:
    slots = Slots(1)

    async with slots.held():
        waiter = asyncio.create_task(_hold(slots))
        await turns()
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter

    async with asyncio.timeout(1), slots.held():
        pass


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 3),
    plan=st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.integers(0, 12)), min_size=1, max_size=12),
)
def test_never_more_hold_than_there_are_slots_whoever_is_cancelled(
    count: int, plan: list[tuple[int, bool, int]]
) -> None:
    async def scenario() -> tuple[int, int]:
        slots = Slots(count)
        holding = most = 0

        async def work(priority: int, gives_back: bool) -> None:
            nonlocal holding, most
            async with slots.held(priority):
                holding += 1
                most = max(most, holding)
                try:
                    await asyncio.sleep(0)
                    if gives_back:
                        holding -= 1
                        try:
                            async with slots.given_back():
                                await asyncio.sleep(0)
                        finally:
                            # What is left of a cancelled holder is on its way out and does no work.
                            holding += 1
                        most = max(most, holding)
                        await asyncio.sleep(0)
                finally:
                    holding -= 1

        workers = [(asyncio.create_task(work(priority, gives_back)), turn) for priority, gives_back, turn in plan]
        for turn in range(13):
            for task, cancelled_at in workers:
                if cancelled_at == turn + 1:
                    task.cancel()
            await asyncio.sleep(0)
        await asyncio.gather(*(task for task, _ in workers), return_exceptions=True)
        free = 0
        async with AsyncExitStack() as held:
            async with asyncio.timeout(1):
                for _ in range(count):
                    await held.enter_async_context(slots.held())
                    free += 1
            over = asyncio.create_task(_hold(slots))
            await turns()
            free += over.done()
        await over
        return most, free

    most, free = asyncio.run(scenario())

    assert most <= count
    assert free == count
