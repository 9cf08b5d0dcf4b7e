"""The event bus: history first, then what follows, never a run that waits for a slow listener."""

from __future__ import annotations

import asyncio

from orchestrator.events import Event, EventType, ProjectEventBus


def event(number: int) -> Event:
    return Event(EventType.CALL_SETTLED, "run", {"number": number}, float(number))


async def numbers(bus: ProjectEventBus) -> list[int]:
    return [one.data["number"] async for one in bus.subscribe()]


async def test_every_listener_hears_everything_in_order_the_late_one_too() -> None:
    bus = ProjectEventBus()
    bus.publish(event(1))
    early = asyncio.create_task(numbers(bus))
    await asyncio.sleep(0)
    bus.publish(event(2))
    late = asyncio.create_task(numbers(bus))
    await asyncio.sleep(0)
    bus.publish(event(3))
    bus.close()

    assert await early == [1, 2, 3]
    assert await late == [1, 2, 3]


async def test_after_the_end_the_history_can_still_be_read() -> None:
    bus = ProjectEventBus()
    bus.publish(event(1))
    bus.close()

    assert await numbers(bus) == [1]


async def test_a_slow_listener_loses_the_oldest_and_the_run_never_waits() -> None:
    bus = ProjectEventBus(capacity=3)
    listener = bus.subscribe()
    bus.publish(event(0))
    first = (await anext(listener)).data["number"]
    for number in range(1, 100):
        bus.publish(event(number))
    bus.close()

    rest = [one.data["number"] async for one in listener]

    assert (first, rest) == (0, [97, 98, 99])


async def test_a_listener_that_leaves_is_forgotten() -> None:
    bus = ProjectEventBus()
    listening = asyncio.create_task(numbers(bus))
    await asyncio.sleep(0)
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)

    bus.publish(event(1))
    bus.close()

    assert listening.cancelled()
    assert await numbers(bus) == [1]


def test_the_names_that_travel_are_fixed() -> None:
    assert [one.value for one in EventType] == [
        "ProjectStarted",
        "ArchitectureDecided",
        "PlanReady",
        "TaskStarted",
        "TaskCompleted",
        "TaskFailed",
        "TaskSkipped",
        "CallSettled",
        "CallLost",
        "CallFailed",
        "AnswerRejected",
        "BudgetWarning",
        "ValidationCompleted",
        "ValidationFailed",
        "RepairStarted",
        "ProjectCompleted",
    ]
