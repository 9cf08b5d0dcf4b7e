"""A clock that jumps under a process at work, by Debian's libfaketime: what is monotonic goes on as it was."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.counts import FAULTS, count

DAY = 24 * 3600
HOUR = 3600


@dataclass(frozen=True, slots=True)
class Clock:
    """The wall clock of whoever is started in its `environment`."""

    file: Path

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to look at this clock instead of its machine's."""
        (library,) = Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")
        if not self.file.exists():
            self._write(0)
        return {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def jump(self, seconds: int) -> None:
        """Let it be so far ahead of the machine's from now on, or behind."""
        count(FAULTS)
        self._write(seconds)

    def _write(self, seconds: int) -> None:
        # In one step, since it is read at any moment.
        new = self.file.with_suffix(".new")
        new.write_text(f"{seconds:+d}")
        new.replace(self.file)
