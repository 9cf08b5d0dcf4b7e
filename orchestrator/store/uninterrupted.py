"""Work on the database that ends once it has begun: a cancelled caller hears of its cancellation afterwards.

A transaction that is cancelled in the middle of its commit leaves nobody knowing whether it was made, and its
connection behind. Transactions are short, so that the caller loses little by waiting.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")
Store = TypeVar("Store", bound=type)


async def finished(work: Awaitable[Result]) -> Result:
    """Wait for work to its end, however often the waiting task is cancelled meanwhile, and return its result.

    Raises `CancelledError` at the end when there was a cancellation, chained to what the work itself raised.
    """
    task = asyncio.ensure_future(work)
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError from (None if task.cancelled() else task.exception())
    return task.result()


def uninterrupted(store: Store) -> Store:
    """Return the class with every public coroutine method made to end once it has begun."""
    for name, method in list(vars(store).items()):
        if inspect.iscoroutinefunction(method) and not name.startswith("_"):
            setattr(store, name, _finishing(method))
    return store


def _finishing(method: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Coroutine[Any, Any, Any]]:
    @functools.wraps(method)
    async def ended(*args: Any, **kwargs: Any) -> Any:
        return await finished(method(*args, **kwargs))

    return ended
