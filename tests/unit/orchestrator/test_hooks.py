"""Hooks: called with an event's data, and never able to fail a run."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from orchestrator.errors import UsageError
from orchestrator.events import Event
from orchestrator.hooks import EventType, Hooks
from orchestrator.state import TaskResult, TaskStatus

RESULT = TaskResult("a", TaskStatus.COMPLETED, score=0.912, cost_usd=0.0123)


def event(of: EventType, /, **data: Any) -> Event:
    return Event(of, "run-1", data, 0.0)


async def call(hooks: Hooks, *events: Event) -> None:
    follow = hooks.follower()
    for one in events:
        await follow(one)


async def test_the_guides_lambdas_get_what_they_name() -> None:
    said: list[str] = []
    hooks = Hooks()
    hooks.add(EventType.TASK_COMPLETED, lambda task_id, result, **_: said.append(f"{task_id} {result.score:.3f}"))
    hooks.add(EventType.BUDGET_WARNING, lambda phase, ratio, **_: said.append(f"{phase}: {ratio:.0%}"))
    hooks.add(EventType.VALIDATION_FAILED, lambda task_id, **_: said.append(f"{task_id} failed"))
    await call(
        hooks,
        event(EventType.TASK_COMPLETED, task_id="a", title="A", result=RESULT),
        event(EventType.BUDGET_WARNING, phase="generation", ratio=0.8, spent_usd=1.0),
        event(EventType.VALIDATION_FAILED, task_id="b", validators=["ruff"]),
        event(EventType.TASK_FAILED, task_id="c"),
    )
    assert said == ["a 0.912", "generation: 80%", "b failed"]


async def test_coroutine_functions_are_awaited_in_the_order_of_events_and_of_adding() -> None:
    said: list[tuple[str, str]] = []

    async def slow(task_id: str, run_id: str, **_: object) -> None:
        await asyncio.sleep(0)
        said.append((run_id, task_id))

    hooks = Hooks()
    hooks.add("TaskStarted", slow)
    hooks.add(EventType.TASK_STARTED, lambda task_id, **_: said.append(("quick", task_id)))
    await call(hooks, event(EventType.TASK_STARTED, task_id="a"), event(EventType.TASK_STARTED, task_id="b"))
    assert said == [("run-1", "a"), ("quick", "a"), ("run-1", "b"), ("quick", "b")]


async def test_one_that_fails_is_logged_once_with_name_and_traceback_and_the_others_are_called(
    caplog: pytest.LogCaptureFixture,
) -> None:
    said: list[str] = []

    def broken_hook(**_: object) -> None:
        raise RuntimeError("the disk of the hook is full")

    async def stopped_hook(**_: object) -> None:
        raise asyncio.CancelledError

    hooks = Hooks()
    for hook in (broken_hook, stopped_hook, lambda task_id, **_: said.append(task_id)):
        hooks.add(EventType.TASK_STARTED, hook)
    with caplog.at_level(logging.ERROR):
        await call(hooks, event(EventType.TASK_STARTED, task_id="a"), event(EventType.TASK_STARTED, task_id="b"))
    assert said == ["a", "b"]
    first, second = caplog.records
    assert "broken_hook failed at TaskStarted" in first.getMessage()
    assert first.exc_text is not None
    assert 'raise RuntimeError("the disk of the hook is full")' in first.exc_text
    assert "stopped_hook failed at TaskStarted" in second.getMessage()


async def test_one_that_takes_too_few_names_is_logged_and_no_error(caplog: pytest.LogCaptureFixture) -> None:
    hooks = Hooks()
    hooks.add(EventType.TASK_STARTED, lambda: None)
    await call(hooks, event(EventType.TASK_STARTED, task_id="a"))
    assert "unexpected keyword argument" in caplog.text


async def test_one_that_was_removed_is_called_no_longer() -> None:
    said: list[str] = []

    def hook(task_id: str, **_: object) -> None:
        said.append(task_id)

    hooks = Hooks()
    hooks.add(EventType.TASK_STARTED, hook)
    follow = hooks.follower()
    await follow(event(EventType.TASK_STARTED, task_id="a"))
    hooks.remove(EventType.TASK_STARTED, hook)
    await follow(event(EventType.TASK_STARTED, task_id="b"))
    assert said == ["a"]
    with pytest.raises(UsageError, match="hook was not added for TaskStarted"):
        hooks.remove(EventType.TASK_STARTED, hook)


def test_an_unknown_event_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UsageError, match="did you mean 'TaskCompleted'"):
        Hooks().add("TaskComplete", print)


async def test_a_cancelled_run_ends_the_hook_that_it_waits_for() -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def endless(**_: object) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    hooks = Hooks()
    hooks.add(EventType.TASK_STARTED, endless)
    running = asyncio.create_task(call(hooks, event(EventType.TASK_STARTED, task_id="a")))
    await began.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert ended.is_set()
