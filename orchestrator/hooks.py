"""Callbacks on what happens in a run: each gets an event's data as keywords, and none can fail the run.

The names are those on the bus: `EventType` is the one in `orchestrator.events`.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable
from typing import Any

from orchestrator.errors import UsageError
from orchestrator.events import Event, EventType

__all__ = ["EventType", "Hook", "Hooks"]

Hook = Callable[..., Any]
"""A function or coroutine function that takes keywords; `**_` takes those it does not need."""

log = logging.getLogger(__name__)


class Hooks:
    """The callbacks of one orchestrator, by the event they wait for."""

    def __init__(self) -> None:
        self._hooks: dict[EventType, list[Hook]] = {}

    def add(self, event_type: EventType | str, hook: Hook) -> None:
        """Call `hook` for every event of that type, in the order of adding; raises `UsageError` for unknown names."""
        if not callable(hook):
            raise UsageError(
                f"A hook must be a function, not {hook!r}.", hint="It is called with keywords; take `**_`."
            )
        self._hooks.setdefault(_known(event_type), []).append(hook)

    def remove(self, event_type: EventType | str, hook: Hook) -> None:
        """Call `hook` no longer for that type; raises `UsageError` when it was not added."""
        hooks = self._hooks.get(_known(event_type), [])
        if hook not in hooks:
            raise UsageError(
                f"{_name(hook)} was not added for {_known(event_type).value}.", hint="Remove only what was added."
            )
        hooks.remove(hook)

    def follower(self) -> Follower:
        """Return what calls the hooks for the events of one run."""
        return Follower(self._hooks)


class Follower:
    """Calls hooks for the events of one run, one after the other; each that fails is logged once."""

    def __init__(self, hooks: dict[EventType, list[Hook]]) -> None:
        self._hooks = hooks
        self._failed: list[Hook] = []

    async def __call__(self, event: Event) -> None:
        """Call every hook that waits for this event; whatever one raises goes to the log and nowhere else."""
        for hook in tuple(self._hooks.get(event.type, ())):
            [failure] = await asyncio.gather(_called(hook, event), return_exceptions=True)
            if failure is not None and hook not in self._failed:
                self._failed.append(hook)
                log.error(
                    "The hook %s failed at %s; the run goes on, and further failures of it are not logged.",
                    _name(hook),
                    event.type.value,
                    exc_info=failure,
                )


async def _called(hook: Hook, event: Event) -> None:
    answer = hook(**{"run_id": event.run_id, **event.data})
    if inspect.isawaitable(answer):
        await answer


def _known(event_type: EventType | str) -> EventType:
    names = [one.value for one in EventType]
    if event_type not in names:
        from orchestrator.strict import nearest

        raise UsageError(
            f"{event_type!r} is no event{nearest(str(event_type), names)}", hint=f"Known: {', '.join(names)}."
        )
    return EventType(event_type)


def _name(hook: Hook) -> str:
    return str(getattr(hook, "__qualname__", None) or repr(hook))
