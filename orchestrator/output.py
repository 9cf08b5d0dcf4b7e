"""The folder that a run delivers to: its files where the user wants them, and its report beside them.

A folder may hold files of the user; they are never overwritten. What we write is recorded with its hash in
`.orchestrator/files.json`, so that a later run may replace it as long as nobody has changed it since. While files are
written, the record holds the hashes of what stands there and of what is to come: a delivery that is cut short leaves
no file that would be taken for the user's.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.artifacts import Changes
from orchestrator.atomic import write_atomically
from orchestrator.errors import OutputConflict, UsageError
from orchestrator.report import report, report_markdown
from orchestrator.room import room_in
from orchestrator.state import ProjectState

OWN_FOLDER = ".orchestrator"
_MANIFEST = "files.json"
_REPORT = "report.json"


@dataclass(frozen=True, slots=True)
class OutputFolder:
    """The folder that a run delivers to."""

    root: Path

    @classmethod
    def at(cls, path: str | os.PathLike[str]) -> OutputFolder:
        """Return the folder at a path, which counts from the working directory."""
        return cls(Path(os.path.abspath(path)))

    def prepare(self) -> None:
        """Make the folder; raises `UsageError` when it cannot be written to."""
        self._own()
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root):
                pass
        except OSError as error:
            raise UsageError(
                f"The output folder {self.root} cannot be used: {error.strerror}.",
                hint="Choose another --output-dir that you may write to.",
            ) from error

    def foreign(self) -> frozenset[str]:
        """Return the paths in the folder that we did not write, or that somebody changed since."""
        return self._foreign(self._manifest())

    def _foreign(self, written: Mapping[str, frozenset[str]]) -> frozenset[str]:
        found = set()
        for folder, folders, files in os.walk(self.root, followlinks=False):
            folders[:] = [name for name in folders if name not in (OWN_FOLDER, ".git")]
            links = [name for name in folders if Path(folder, name).is_symlink()]
            for name in (*files, *links):
                path = Path(folder, name)
                relative = path.relative_to(self.root).as_posix()
                if not _stands(path, written.get(relative, frozenset())):
                    found.add(relative)
        return frozenset(found)

    def deliver(self, changes: Changes, state: ProjectState) -> None:
        """Write the run's files and its report.

        Raises `OutputConflict` before anything is overwritten, and `DiskFull`.
        """
        with room_in(self.root):
            self._deliver(changes, state)

    def _deliver(self, changes: Changes, state: ProjectState) -> None:
        before = self._manifest()
        foreign = self._foreign(before)
        taken = sorted(path for path in changes if path in foreign or _blocked(self.root, path))
        if taken:
            raise OutputConflict(str(self.root), tuple(taken))
        self._own().mkdir(exist_ok=True)
        stale = self._left_behind(changes, state, before)
        coming = {path: _digest(content) for path, content in changes.items() if content is not None}
        self._record(
            {path: before.get(path, frozenset()) | {coming.get(path, "")} - {""} for path in {*before, *coming}}
        )
        for path, content in changes.items():
            if content is None:
                (self.root / path).unlink(missing_ok=True)
                continue
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.root / path, content)
        for path in stale:
            (self.root / path).unlink(missing_ok=True)
        kept = {path: digests for path, digests in before.items() if path not in changes and path not in stale}
        self._record(kept | {path: frozenset({digest}) for path, digest in coming.items()})
        self.write_report(state)

    def _left_behind(self, changes: Changes, state: ProjectState, written: Mapping[str, frozenset[str]]) -> set[str]:
        """Return what the same run delivered before and holds no more: files of attempts that were rejected since."""
        try:
            last = json.loads((self._own() / _REPORT).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return set()  # nothing was delivered before, or somebody else wrote there: nothing is known to be stale
        if not isinstance(last, dict) or last.get("project_id") != state.project_id:
            return set()
        return {
            path
            for path in last.get("files", [])
            if path in written and path not in changes and _inside(path)
            if not _blocked(self.root, path) and _stands(self.root / path, written[path])
        }

    def write_report(self, state: ProjectState) -> Path:
        """Write report.json and report.md, and return the former's path; raises `DiskFull`."""
        own = self._own()
        path = own / _REPORT
        with room_in(self.root):
            own.mkdir(parents=True, exist_ok=True)
            write_atomically(path, (json.dumps(report(state), indent=2, ensure_ascii=False) + "\n").encode())
            write_atomically(own / "report.md", report_markdown(state).encode())
        return path

    def _own(self) -> Path:
        """Return our own folder; raises `UsageError` for a link, which could lead anywhere."""
        own = self.root / OWN_FOLDER
        if own.is_symlink() or (own.exists() and not own.is_dir()):
            raise UsageError(
                f"{own} is no folder of its own, and links are not followed.",
                hint="Remove it, or choose another --output-dir.",
            )
        return own

    def _record(self, manifest: Mapping[str, frozenset[str]]) -> None:
        plain = {path: next(iter(one)) if len(one) == 1 else sorted(one) for path, one in manifest.items()}
        content = json.dumps(plain, indent=1, sort_keys=True) + "\n"
        write_atomically(self._own() / _MANIFEST, content.encode())

    def _manifest(self) -> dict[str, frozenset[str]]:
        """Return the hashes by which each file that we wrote is known: one, or two where a delivery was cut short."""
        path = self._own() / _MANIFEST
        try:
            loaded = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (ValueError, OSError) as error:
            raise UsageError(
                f"{path} cannot be read: {error}", hint="Restore it, or choose another --output-dir."
            ) from error
        if not isinstance(loaded, dict):
            return {}
        return {str(name): frozenset(one if isinstance(one, list) else [str(one)]) for name, one in loaded.items()}


def _stands(path: Path, digests: frozenset[str]) -> bool:
    """Say whether a plain file with one of these hashes stands at a path."""
    return bool(digests) and path.is_file() and not path.is_symlink() and _digest(path.read_bytes()) in digests


def _inside(path: str) -> bool:
    """Say whether a path that a file of the folder names leads nowhere else."""
    return not Path(path).is_absolute() and ".." not in Path(path).parts


def _blocked(root: Path, path: str) -> bool:
    """Say whether something on the way to the path, or at it, is not ours to go through: a link, or the wrong kind."""
    parts = Path(path).parts
    for depth in range(1, len(parts)):
        parent = root.joinpath(*parts[:depth])
        if parent.is_symlink() or (parent.exists() and not parent.is_dir()):
            return True
    return (root / path).is_symlink() or (root / path).is_dir()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
