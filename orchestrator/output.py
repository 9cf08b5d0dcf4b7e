"""The folder that a run delivers to: its files where the user wants them, and its report beside them.

A folder may hold files of the user; they are never overwritten. What we wrote is recorded with its hash in
`.orchestrator/files.json`, so that a later run may replace it as long as nobody has changed it since.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
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
        written = self._manifest()
        found = set()
        for folder, folders, files in os.walk(self.root, followlinks=False):
            folders[:] = [name for name in folders if name not in (OWN_FOLDER, ".git")]
            links = [name for name in folders if Path(folder, name).is_symlink()]
            for name in (*files, *links):
                path = Path(folder, name)
                relative = path.relative_to(self.root).as_posix()
                ours = relative in written and path.is_file() and not path.is_symlink()
                if not (ours and written[relative] == _digest(path.read_bytes())):
                    found.add(relative)
        return frozenset(found)

    def deliver(self, changes: Changes, state: ProjectState) -> None:
        """Write the run's files and its report.

        Raises `OutputConflict` before anything is overwritten, and `DiskFull`.
        """
        with room_in(self.root):
            self._deliver(changes, state)

    def _deliver(self, changes: Changes, state: ProjectState) -> None:
        foreign = self.foreign()
        taken = sorted(path for path in changes if path in foreign or _blocked(self.root, path))
        if taken:
            raise OutputConflict(str(self.root), tuple(taken))
        manifest = self._manifest()
        own = self.root / OWN_FOLDER
        own.mkdir(exist_ok=True)
        for path, content in changes.items():
            if content is None:
                (self.root / path).unlink(missing_ok=True)
                manifest.pop(path, None)
                continue
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.root / path, content)
            manifest[path] = _digest(content)
        write_atomically(own / _MANIFEST, (json.dumps(manifest, indent=1, sort_keys=True) + "\n").encode())
        self.write_report(state)

    def write_report(self, state: ProjectState) -> Path:
        """Write report.json and report.md, and return the former's path; raises `DiskFull`."""
        own = self.root / OWN_FOLDER
        path = own / "report.json"
        with room_in(self.root):
            own.mkdir(parents=True, exist_ok=True)
            write_atomically(path, (json.dumps(report(state), indent=2, ensure_ascii=False) + "\n").encode())
            write_atomically(own / "report.md", report_markdown(state).encode())
        return path

    def _manifest(self) -> dict[str, str]:
        path = self.root / OWN_FOLDER / _MANIFEST
        try:
            loaded = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (ValueError, OSError) as error:
            raise UsageError(
                f"{path} cannot be read: {error}", hint="Restore it, or choose another --output-dir."
            ) from error
        return {str(name): str(digest) for name, digest in loaded.items()} if isinstance(loaded, dict) else {}


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
