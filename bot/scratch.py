"""One temporary folder for each process: of those that were killed, what they left is removed at the next start."""

from __future__ import annotations

import fcntl
import logging
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bot.logs import fields
from orchestrator.removal import remove_tree

PREFIX = "orchestrator-bot-"
LOCK = ".lock"

log = logging.getLogger(__name__)


@contextmanager
def own_folder() -> Iterator[Path]:
    """Have every temporary folder of this process made below one of its own while the block runs; yields that above.

    A lock in it says that the process lives: the kernel gives it back however the process ends. Where no folder can be
    made, on a full disk, the process goes on without one.
    """
    above = Path(tempfile.gettempdir())
    try:
        folder, lock = _made(above)
    except OSError as error:
        log.warning("no temporary folder of its own", extra=fields(folder=above, reason=error.strerror))
        yield above
        return
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield above
    finally:
        tempfile.tempdir = before
        remove_tree(folder)
        os.close(lock)


def remove_left(above: Path) -> int:
    """Remove the folders of processes of this user that are gone, and return how many that were."""
    removed = 0
    for folder in sorted(above.glob(f"{PREFIX}*")):
        if not _is_ours(folder):
            continue
        try:
            lock = _locked(folder)
        except BlockingIOError:
            continue  # its process lives
        except FileNotFoundError:
            lock = None  # somebody was killed while they removed it
        remove_tree(folder)
        removed += 1
        if lock is not None:
            os.close(lock)
    if removed:
        log.info("removed what killed processes left", extra=fields(folders=removed))
    return removed


def _made(above: Path) -> tuple[Path, int]:
    """Make a folder and lock it, under its name only once it is locked: nobody takes it for one that was left."""
    made = Path(tempfile.mkdtemp(prefix=".orchestrator-new-", dir=above))
    # The sandbox's user may pass on its way to a workspace below, and sees nothing of what lies beside.
    made.chmod(0o711)
    (made / LOCK).touch(mode=0o600)
    lock = _locked(made)
    return made.rename(above / f"{PREFIX}{made.name.rpartition('-')[2]}"), lock


def _locked(folder: Path) -> int:
    """Return the descriptor of a folder's lock, now held; raises `BlockingIOError` where somebody else holds it."""
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise
    return lock


def _is_ours(folder: Path) -> bool:
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
