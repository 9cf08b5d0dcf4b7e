"""A disk without room, named: the operating system says that one is full, and not always which."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.errors import DiskFull

_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def room_in(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Raise `DiskFull` instead of what the system says when a file below a folder finds no room."""
    try:
        yield
    except OSError as error:
        # Whoever copies a whole folder reports every file's reason, as text, and none as its own.
        told = isinstance(error, shutil.Error) and any(os.strerror(number) in str(error) for number in _FULL)
        if error.errno not in _FULL and not told:
            raise
        raise DiskFull(
            f"The disk of the folder {os.fspath(folder)} is full.",
            hint="Free space on it, then go on: what was done so far is kept.",
        ) from error
