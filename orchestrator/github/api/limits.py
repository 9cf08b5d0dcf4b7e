"""What one installation may ask of GitHub now: the pauses that GitHub asked for, and room for more content.

All calls of an installation share them, whichever repository or run they are for, and those of others do not.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from orchestrator.bucket import Bucket

Clock = Callable[[], float]


class Room(Protocol):
    """Buckets of content by installation."""

    async def take(self, installation: str, *, progress: bool) -> float:
        """Take room for one write and return 0, or the seconds until there will be some."""
        ...


@dataclass(slots=True)
class MemoryRoom:
    """Buckets of a process without a store."""

    bucket: Bucket
    clock: Clock = time.monotonic
    _known: dict[str, tuple[float, float]] = field(default_factory=dict)

    async def take(self, installation: str, *, progress: bool) -> float:
        """Take room for one write and return 0, or the seconds until there will be some."""
        now = self.clock()
        room, at = self._known.get(installation, (self.bucket.capacity, now))
        left, wait = self.bucket.after(room, now - at, progress=progress)
        self._known[installation] = left, now
        return wait


@dataclass(slots=True)
class Limits:
    """The limits of one installation; without a `room` its writes are not counted."""

    installation: str = ""
    room: Room | None = None
    clock: Clock = time.monotonic
    _until: float = 0.0

    def pause(self, seconds: float) -> None:
        """Let no call of the installation begin for that long."""
        self._until = max(self._until, self.clock() + seconds)

    @property
    def paused(self) -> float:
        """The seconds until calls may begin again; 0 when they may."""
        return max(0.0, self._until - self.clock())

    async def take(self, *, progress: bool) -> float:
        """Take room for one write and return 0, or the seconds until there will be some."""
        return 0.0 if self.room is None else await self.room.take(self.installation, progress=progress)
