"""How much of the disk a sandboxed program fills, measured from outside while it runs."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.sandbox.limits import MIB

# Whoever fills the disk in a way that cannot be measured is stopped while this much of it is still free.
_RESERVE_BYTES = 1024 * MIB
# A look takes at most a twentieth of the time, and comes at the latest after ten seconds.
_LOOK_SHARE, _LOOK_SECONDS, _LATEST_SECONDS = 20, 1.0, 10.0


@dataclass(frozen=True, slots=True)
class Size:
    """What a folder holds: `bytes` on disk and `entries` of folders; not `complete` when a part could not be seen."""

    bytes: int
    entries: int
    complete: bool = True


def tree_size(folder: str, pids: Iterable[int], *, max_bytes: int, max_entries: int) -> Size:
    """Add up what a folder occupies on disk; counting ends at the first value past its limit.

    Deleted files count as long as one of the processes holds them open. A link is never followed, but a folder that
    is replaced by one while being looked at may be: what lies there would count, and nothing else would happen.
    """
    size = entries = 0
    complete = True
    seen: set[int] = set()
    for found in _held(folder, pids):
        if found.st_ino not in seen:
            seen.add(found.st_ino)
            size += found.st_blocks * 512
    folders = [folder]
    while folders and size <= max_bytes and entries <= max_entries:
        try:
            with os.scandir(folders.pop()) as listed:
                for entry in listed:
                    found, entries = entry.stat(follow_symlinks=False), entries + 1
                    is_folder = stat.S_ISDIR(found.st_mode)
                    if is_folder:
                        folders.append(entry.path)
                    if is_folder or found.st_nlink == 1 or found.st_ino not in seen:
                        size += found.st_blocks * 512
                    if found.st_nlink > 1:
                        seen.add(found.st_ino)
                    if entries > max_entries:
                        break
        except (FileNotFoundError, NotADirectoryError):
            continue  # removed or replaced while being looked at
        except OSError:
            complete = False  # closed to us, or nested so deeply that it has no path any more
    return Size(size, entries, complete)


def _held(folder: str, pids: Iterable[int]) -> Iterable[os.stat_result]:
    """Find the deleted files that processes hold open on the folder's file system."""
    device = os.stat(folder).st_dev
    for pid in pids:
        try:
            for descriptor in Path("/proc", str(pid), "fd").iterdir():
                found = descriptor.stat()
                if found.st_nlink == 0 and found.st_dev == device and stat.S_ISREG(found.st_mode):
                    yield found
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue


def scratch_entries(pids: Sequence[int], places: Sequence[str]) -> int:
    """Count the entries of the file systems in memory that a sandbox has at these places; 0 until it is built.

    They cost memory that belongs to no process, and bubblewrap bounds their size but not their number.
    """
    ours = os.stat("/").st_dev
    for root in (f"/proc/{pid}/root" for pid in reversed(pids)):
        try:
            if os.stat(root).st_dev == ours:
                continue  # not moved into the sandbox yet
            found = [os.statvfs(root + place) for place in places]
        except OSError:
            continue  # ended, or still being built
        return sum(one.f_files - one.f_ffree for one in found)
    return 0


class DiskWatch:
    """Tells when a folder has grown past its limits; the file system's own counters say when to look."""

    def __init__(self, folder: Path, max_bytes: int, max_entries: int) -> None:
        self._max_bytes, self._max_entries = max_bytes, max_entries
        # Held open, since a program without isolation may put another folder or a link in this one's place.
        self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._seen = Size(0, 0)
        self._first = self._last = self._usage()
        self._floor = min(_RESERVE_BYTES, self._first.free // 2)
        self._next = time.monotonic() + _LOOK_SECONDS

    def close(self) -> None:
        """Let go of the folder."""
        os.close(self._folder)

    def due(self) -> bool:
        """Tell whether it is time to look, or so much was written that a limit may have been passed."""
        room = Size(self._max_bytes - self._seen.bytes, self._max_entries - self._seen.entries)
        usage = self._usage()
        return time.monotonic() >= self._next or usage.grew(self._last, room) or usage.free < self._floor

    def passed(self, pids: Iterable[int]) -> bool:
        """Look: True when the folder is past a limit, or the disk is all but full."""
        started, self._last = time.monotonic(), self._usage()
        place, limit = f"/proc/self/fd/{self._folder}", Size(self._max_bytes, self._max_entries)
        self._seen = tree_size(place, pids, max_bytes=limit.bytes, max_entries=limit.entries)
        ended = time.monotonic()
        self._next = ended + min(_LATEST_SECONDS, max(_LOOK_SECONDS, _LOOK_SHARE * (ended - started)))
        if self._last.free < self._floor or (not self._seen.complete and self._last.grew(self._first, limit)):
            return True
        return self._seen.bytes > limit.bytes or self._seen.entries > limit.entries

    def _usage(self) -> Usage:
        found = os.statvfs(self._folder)
        used = (found.f_blocks - found.f_bfree) * found.f_frsize
        return Usage(used, found.f_files - found.f_ffree, found.f_bavail * found.f_frsize)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a file system says of itself: bytes and entries in use, and the bytes that are free."""

    used: int
    entries: int
    free: int

    def grew(self, before: Usage, room: Size) -> bool:
        """Tell whether more was taken since then than there was room for."""
        return self.used - before.used > room.bytes or self.entries - before.entries > room.entries
