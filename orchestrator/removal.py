"""Remove a folder in which programs that nobody trusts have left what they liked."""

from __future__ import annotations

import logging
import os
import stat
from itertools import count
from pathlib import Path

log = logging.getLogger(__name__)
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(folder: Path) -> None:
    """Remove a folder with all that is in it: at any depth, closed folders included, no link followed.

    What lies deep is first moved to the top, so that neither its path nor the descriptors on the way to it grow with
    the depth. A folder that is not there counts as removed. One that cannot be removed, because somebody still writes
    there or owns it, is logged: nobody's result depends on it.
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
                _remove(top, name, names)
    finally:
        os.close(top)


def _remove(top: int, name: str, names: count[int]) -> None:
    """Remove one entry of the top folder; the folders in it take its place under fresh names."""
    if not _is_folder(name, top):
        os.unlink(name, dir_fd=top)
        return
    _unlock(name, top)
    here = os.open(name, _OPEN, dir_fd=top)
    try:
        for entry in os.listdir(here):
            if _is_folder(entry, here):
                _unlock(entry, here)  # moving a folder changes it
                os.rename(entry, _fresh(top, names), src_dir_fd=here, dst_dir_fd=top)
            else:
                os.unlink(entry, dir_fd=here)
    finally:
        os.close(here)
    os.rmdir(name, dir_fd=top)


def _is_folder(name: str, parent: int) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)


def _unlock(name: str, parent: int) -> None:
    os.chmod(name, stat.S_IRWXU, dir_fd=parent)  # no link: it was just seen to be a folder, and nobody writes here


def _fresh(top: int, names: count[int]) -> str:
    """Give a name that nothing in the top folder has."""
    for number in names:
        name = f".removed-{number}"
        try:
            os.stat(name, dir_fd=top, follow_symlinks=False)
        except FileNotFoundError:
            return name
    raise AssertionError("numbers do not end")
