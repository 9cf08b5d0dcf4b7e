"""What stops a run before its next call: somebody's cancel, or the operator's kill switch."""

from __future__ import annotations

import os
from pathlib import Path

from orchestrator.errors import RunCancelled, UsageError
from orchestrator.operator_config import load_operator_config
from orchestrator.store import CancellationStore, Database

SWITCHED_OFF = "Stopped by the operator, who has switched the orchestrator off (`enabled: false`)"


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

    async def check(self, run_id: str) -> None:
        """Raise `RunCancelled` when a run must not go on, with who wants that; the store is asked."""
        actor = await self._cancellations.actor(run_id)
        if actor is None:
            self._cancelled.pop(run_id, None)
        else:
            self._cancelled[run_id] = actor
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
