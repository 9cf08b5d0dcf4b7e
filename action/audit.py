"""The audit as a file beside the report, for a job whose database is gone with it: one JSON object a line."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = "audit.jsonl"


@dataclass(frozen=True, slots=True)
class AuditFile:
    """Adds to the file in `folder`; `run_id` is the run that the command is about."""

    folder: Path
    run_id: str

    async def add(self, delivery: str, actor: str, kind: str, facts: Mapping[str, Any]) -> None:
        """Add a line, with the time in seconds since the epoch."""
        entry = {"run": self.run_id, "delivery": delivery, "actor": actor, "kind": kind, "facts": dict(facts)}
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        line = json.dumps({**entry, "at": time.time()}, sort_keys=True) + "\n"
        descriptor = os.open(self.folder / FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "a", encoding="utf-8") as file:
            file.write(line)
