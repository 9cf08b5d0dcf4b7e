"""Remove a folder in which programs that nobody trusts have left what they liked."""

from __future__ import annotations

import logging
import os
import stat
from itertools import count
from pathlib import Path

log = logging.getLogger(__name__)
_LEVELS = 64  # of folders held open at once
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(folder: Path) -> None:
    """Remove a folder with all that is in it: at any depth, closed folders included, no link followed.

    What lies very deep is first moved to the top, so that neither its path nor the descriptors on the way to it grow
    with the depth. A folder that is not there counts as removed. One that cannot be removed, because somebody still
    writes there or owns it, is logged: nobody's result depends on it.
    """
    try:
        _empty(folder)
        folder.rmdir()
    except FileNotFoundError:
        return
    except OSError as error:
        log.warning("%s could not be removed: %s", folder, error)


def _empty(folder: Path) -> None:
    top = os.open(folder, _OPEN)
    try:
        names = count()
        while found := os.listdir(top):
            for name in found:
                _remove(name, top, top, names, _LEVELS)
    finally:
        os.close(top)


def _remove(name: str, parent: int, top: int, names: count[int], levels: int) -> None:
    """Remove one entry; a folder that lies too deep is moved to the top under a fresh name instead."""
    if not _is_folder(name, parent):
        os.unlink(name, dir_fd=parent)
        return
    os.chmod(name, stat.S_IRWXU, dir_fd=parent)  # no link: it was just seen to be a folder, and nobody writes here
    if levels == 0:
        os.rename(name, _fresh(top, names), src_dir_fd=parent, dst_dir_fd=top)
        return
    here = os.open(name, _OPEN, dir_fd=parent)
    try:
        for entry in os.listdir(here):
            _remove(entry, here, top, names, levels - 1)
    finally:
        os.close(here)
    os.rmdir(name, dir_fd=parent)


def _is_folder(name: str, parent: int) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)


def _fresh(top: int, names: count[int]) -> str:
    """Give a name that nothing in the top folder has."""
    for number in names:
        name = f".removed-{number}"
        try:
            os.stat(name, dir_fd=top, follow_symlinks=False)
        except FileNotFoundError:
            return name
    raise AssertionError("numbers do not end")
