"""What a process holds, as Linux counts it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Held:
    """Memory in MiB, of what is shared with other processes its part; descriptors; and threads."""

    mib: float
    descriptors: int
    threads: int

    @classmethod
    def by(cls, pid: int) -> Held:
        """Return what a process holds now."""
        process = Path(f"/proc/{pid}")
        rollup = dict(line.split(":", 1) for line in (process / "smaps_rollup").read_text().splitlines()[1:])
        kib = int(rollup["Pss"].split()[0])
        return cls(kib / 1024, len(os.listdir(process / "fd")), len(os.listdir(process / "task")))
