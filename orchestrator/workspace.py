"""The files of a run: a base nobody touches, what tasks have added so far, and throw-away copies to check them in."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from orchestrator.artifacts import Changes, blob_sha, executables
from orchestrator.removal import remove_tree

MAX_READ_BYTES = 1024 * 1024
_NOT_OURS = frozenset({".git", ".orchestrator", ".venv", "node_modules", "__pycache__"})


class Workspace:
    """A base folder (None for a new project) under the accepted changes of the tasks."""

    def __init__(self, base: Path | None, accepted: Changes | None = None) -> None:
        self._base = base
        self._accepted: dict[str, bytes | None] = dict(accepted or {})

    @property
    def base(self) -> Path | None:
        """The folder of the existing repository, or None."""
        return self._base

    @property
    def accepted(self) -> Mapping[str, bytes | None]:
        """What the tasks have changed so far."""
        return self._accepted

    def accept(self, changes: Changes) -> None:
        """Add a finished task's changes."""
        self._accepted.update(changes)

    def read(self, path: str) -> bytes | None:
        """Return a file's content, or None when there is none; links are not followed."""
        if path in self._accepted:
            return self._accepted[path]
        return None if self._base is None else _read_plain(self._base, path)

    def size(self, path: str) -> int | None:
        """Return how many bytes a file has that `read` returns, or None."""
        if path in self._accepted:
            content = self._accepted[path]
            return None if content is None else len(content)
        return None if self._base is None else _plain_size(self._base, path)

    def only(self, paths: Collection[str]) -> Workspace:
        """Return this workspace with no other changes than those of the paths; this one stays as it is."""
        return Workspace(self._base, {path: self._accepted[path] for path in paths if path in self._accepted})

    def occupied(self, path: str) -> bool:
        """Say whether a file or a link stands at the path, readable or not."""
        if path in self._accepted:
            return self._accepted[path] is not None
        return self._base is not None and _stands(self._base, path)

    def is_folder(self, path: str) -> bool:
        """Say whether the path is a folder, of the base or by what was accepted below it."""
        added = any(one.startswith(f"{path}/") for one, content in self._accepted.items() if content is not None)
        return added or (self._base is not None and (self._base / path).is_dir())

    def over(self, changes: Changes) -> Workspace:
        """Return this workspace with further changes laid over it; this one stays as it is."""
        return Workspace(self._base, {**self._accepted, **changes})

    def base_paths(self) -> tuple[str, ...]:
        """Return the paths of all files in the base, sorted."""
        return tuple(sorted(_walk(self._base))) if self._base else ()

    def paths(self) -> tuple[str, ...]:
        """Return the paths of all files, sorted."""
        present = set(self.base_paths()) | {path for path, content in self._accepted.items() if content is not None}
        return tuple(sorted(present - {path for path, content in self._accepted.items() if content is None}))

    @asynccontextmanager
    async def copy(self) -> AsyncIterator[Path]:
        """Yield a throw-away folder that holds all files, for programs that may do with it what they like."""
        folder = Path(tempfile.mkdtemp(prefix="orchestrator-"))  # no thread: whoever is cancelled must know its name
        try:
            await written(lambda stop: self._write_to(folder, stop))
            yield folder
        finally:
            await asyncio.to_thread(remove_tree, folder)

    def _write_to(self, folder: Path, stop: threading.Event) -> None:
        if self._base:
            copy_folder(self._base, folder, _NOT_OURS, stop=stop)
        if not stop.is_set():
            write_changes(folder, self._accepted)


async def written(work: Callable[[threading.Event], None]) -> None:
    """Write into a folder in a thread; whoever is cancelled tells it to stop, and waits until it has.

    A folder into which somebody still writes cannot be removed, and what is left of it stays for others to read.
    """
    stop = threading.Event()
    writing = asyncio.create_task(asyncio.to_thread(work, stop))
    cancelled = False
    while not writing.done():
        try:
            await asyncio.wait({writing})
        except asyncio.CancelledError:
            cancelled = True
            stop.set()
    if cancelled:
        raise asyncio.CancelledError from (None if writing.cancelled() else writing.exception())
    writing.result()


def write_changes(folder: Path, changes: Changes) -> None:
    """Write changes into a folder; a link on the way is replaced by what it hides, never followed.

    What could be executed can be afterwards, also under a new name.
    """
    before = {path: blob_sha((folder / path).read_bytes()) for path in changes if _is_executable(folder, path)}
    kept = executables(changes, before)
    for path, content in changes.items():
        if content is None:
            if _stands(folder, path):
                (folder / path).unlink()
            continue
        parent = folder
        for component in Path(path).parts[:-1]:
            parent = parent / component
            if parent.is_symlink() or (parent.exists() and not parent.is_dir()):
                parent.unlink()
            parent.mkdir(exist_ok=True)
        target = folder / path
        if target.is_symlink() or target.is_file():
            target.unlink()
        target.write_bytes(content)
        if path in kept:
            target.chmod(0o755)


def _is_executable(base: Path, path: str) -> bool:
    target = base / path
    return _stands(base, path) and not target.is_symlink() and bool(target.stat().st_mode & stat.S_IXUSR)


def _stands(base: Path, path: str) -> bool:
    """Say whether a file or a link stands at the path, with no link on the way."""
    target = base / path
    on_the_way = list(target.parents)[: len(Path(path).parts) - 1]
    return not any(parent.is_symlink() for parent in on_the_way) and (target.is_symlink() or target.is_file())


def _read_plain(base: Path, path: str) -> bytes | None:
    return None if _plain_size(base, path) is None else (base / path).read_bytes()


def _plain_size(base: Path, path: str) -> int | None:
    """Return the bytes of a regular file that is not too long to be read, with no link on the way; else None."""
    target = base
    for component in Path(path).parts:
        target = target / component
        if target.is_symlink():
            return None
    if not target.is_file():
        return None
    size = target.stat().st_size
    return size if size <= MAX_READ_BYTES else None


def _walk(base: Path) -> Iterator[str]:
    return (path for path in walk_files(base, _NOT_OURS) if not (base / path).is_symlink())


def walk_files(base: Path, left_out: Collection[str] = ()) -> Iterator[str]:
    """Yield the relative POSIX paths of all files and links, those of a folder before what is in folders below it.

    Folders of the names in `left_out` are not entered, links never followed, and no depth is too deep, as it is for
    `os.walk`. A folder that cannot be read counts as empty.
    """
    waiting = [""]
    while waiting:
        above = waiting.pop()
        folders = []
        for entry in _entries(base / above):
            if not entry.is_dir(follow_symlinks=False):
                yield above + entry.name
            elif entry.name not in left_out:
                folders.append(f"{above}{entry.name}/")
        waiting += reversed(folders)


def copy_folder(
    source: Path, target: Path, left_out: Collection[str] = (), *, stop: threading.Event | None = None
) -> None:
    """Copy a folder with its links as they are, at any depth; what is called as `left_out` says stays behind.

    Once `stop` is set, so does the rest.
    """
    target.mkdir(exist_ok=True)
    waiting = [(str(source), str(target))]
    while waiting:
        there, here = waiting.pop()
        with os.scandir(there) as found:
            entries = [entry for entry in found if entry.name not in left_out]
        for entry in entries:
            if stop is not None and stop.is_set():
                return
            copied = f"{here}/{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                os.mkdir(copied)
                waiting.append((entry.path, copied))
            else:
                shutil.copy2(entry.path, copied, follow_symlinks=False)


def drop_links_out(folder: Path) -> None:
    """Remove the links that lead out of a throw-away folder: where nothing isolates, they may lead anywhere."""
    inside = os.path.realpath(folder)
    for path in walk_files(folder):
        link = folder / path
        if link.is_symlink() and not os.path.realpath(link).startswith(f"{inside}/"):
            link.unlink()


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except OSError:
        return []
