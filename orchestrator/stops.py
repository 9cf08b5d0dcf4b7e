"""What stops a run before its next call: somebody's cancel, or the operator's kill switch."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import RunCancelled, UsageError
from orchestrator.operator_config import load_operator_config
from orchestrator.store import CancellationStore, Database

SWITCHED_OFF = "Stopped by the operator, who has switched the orchestrator off (`enabled: false`)"


@dataclass(frozen=True, slots=True)
class _Look:
    """One question to the store about many runs: when it was asked, and who wants which of them to stop."""

    run_ids: frozenset[str]
    begun: float
    actors: asyncio.Future[dict[str, str]]


class Stops:
    """Looked at before every call of every run, and several times a second meanwhile.

    `config` is the operator's file, `named` whether it must exist.

    A file that cannot be read stops everything: nobody knows what the operator wants (SECURITY 36).
    """

    def __init__(self, database: Database, config: Path | None = None, *, named: bool = False) -> None:
        self._cancellations = CancellationStore(database)
        self._config = config
        self._named = named
        self._read: tuple[int, int, int] | None = None
        self._enabled = True
        self._cancelled: dict[str, str] = {}
        self._watched: set[str] = set()
        self._look: _Look | None = None

    @contextmanager
    def watching(self, run_id: str) -> Iterator[None]:
        """Look after a run together with all others that are looked after until the block ends."""
        self._watched.add(run_id)
        try:
            yield
        finally:
            self._watched.discard(run_id)
            self._cancelled.pop(run_id, None)

    async def check(self, run_id: str, *, within: float = 0.0) -> None:
        """Raise `RunCancelled` when a run must not go on, with who wants that; the store is asked.

        What another run has asked it `within` so many seconds counts too, so that many runs cost no more than one.
        """
        look, now = self._look, time.monotonic()
        if look is None or run_id not in look.run_ids or now - look.begun >= within:
            asked = frozenset({*self._watched, run_id})
            look = self._look = _Look(asked, now, asyncio.ensure_future(self._cancellations.actors(asked)))
        actors = await asyncio.shield(look.actors)
        if run_id in actors:
            self._cancelled[run_id] = actors[run_id]
        else:
            self._cancelled.pop(run_id, None)
        self.recall(run_id)

    def recall(self, run_id: str) -> None:
        """Raise as `check` does by what it last saw, so that a call costs no question to the store."""
        if reason := self.switched_off():
            raise RunCancelled(reason)
        if actor := self._cancelled.get(run_id):
            raise RunCancelled(f"Cancelled by {actor}")

    def switched_off(self) -> str:
        """Return why the operator wants nothing to run, or an empty string; a file that changed is read again."""
        if self._config is None:
            return ""
        try:
            found = os.stat(self._config)
            version = (found.st_mtime_ns, found.st_size, found.st_ino)
            if version != self._read:
                self._enabled = load_operator_config(self._config).enabled
                self._read = version
        except FileNotFoundError:
            return "Stopped: the operator's configuration is gone" if self._named else ""
        except (OSError, UsageError):
            return "Stopped: the operator's configuration cannot be read any more"
        return "" if self._enabled else SWITCHED_OFF
