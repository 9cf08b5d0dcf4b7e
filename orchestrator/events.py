"""What happens in a run, as it happens: one set of event names, and a bus that hands events to every subscriber.

A subscriber gets the history first, then what follows, and ends by itself when the run does. A slow one is bounded:
past its capacity its oldest events are dropped, and the run never waits for it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

CAPACITY = 10_000


class EventType(StrEnum):
    """Every event's name; the value is what travels."""

    PROJECT_STARTED = "ProjectStarted"
    ARCHITECTURE_DECIDED = "ArchitectureDecided"
    PLAN_READY = "PlanReady"
    TASK_STARTED = "TaskStarted"
    TASK_COMPLETED = "TaskCompleted"
    TASK_FAILED = "TaskFailed"
    TASK_SKIPPED = "TaskSkipped"
    CALL_SETTLED = "CallSettled"
    CALL_LOST = "CallLost"
    CALL_FAILED = "CallFailed"
    ANSWER_REJECTED = "AnswerRejected"
    BUDGET_WARNING = "BudgetWarning"
    VALIDATION_COMPLETED = "ValidationCompleted"
    VALIDATION_FAILED = "ValidationFailed"
    REPAIR_STARTED = "RepairStarted"
    PROJECT_COMPLETED = "ProjectCompleted"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened; `at` is in seconds since the epoch, `data` holds plain values."""

    type: EventType
    run_id: str
    data: Mapping[str, Any]
    at: float


@dataclass(eq=False, slots=True)
class Subscription:
    """One subscriber's queue: when it is full, its oldest event makes room for the next."""

    pending: deque[Event]
    ready: asyncio.Event = field(default_factory=asyncio.Event)

    def push(self, event: Event) -> None:
        """Queue an event, dropping the oldest when the subscriber is too slow."""
        self.pending.append(event)
        self.ready.set()


class ProjectEventBus:
    """Hands each event to every subscriber; one bus per run."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._history: deque[Event] = deque(maxlen=capacity)
        self._subscriptions: set[Subscription] = set()
        self._closed = False

    def publish(self, event: Event) -> None:
        """Hand the event to all subscribers and keep it for late ones; never blocks."""
        self._history.append(event)
        for subscription in self._subscriptions:
            subscription.push(event)

    def close(self) -> None:
        """End every subscription once it has been read to its end."""
        self._closed = True
        for subscription in self._subscriptions:
            subscription.ready.set()

    async def subscribe(self) -> AsyncIterator[Event]:
        """Yield the history, then every event as it comes, until the run ends."""
        subscription = Subscription(deque(self._history, maxlen=self._history.maxlen))
        self._subscriptions.add(subscription)
        try:
            while True:
                while subscription.pending:
                    yield subscription.pending.popleft()
                if self._closed:
                    return
                subscription.ready.clear()
                await subscription.ready.wait()
        finally:
            self._subscriptions.discard(subscription)
