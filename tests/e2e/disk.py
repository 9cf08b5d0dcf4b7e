"""A disk of its own that can be filled up and freed again, at any moment, under whoever works on it."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.counts import FAULTS, count

# Lives as long as its standard input: the file system is seen by those only who are led into its namespaces.
_HOLDER = 'mount -t tmpfs -o size=48m,mode=0700 tmpfs "$0" || exit 99; echo ready; exec cat'


@dataclass(frozen=True, slots=True)
class Disk:
    """A small file system on a folder, for processes that are started `within` it."""

    folder: Path
    holder: int

    def within(self, directory: Path) -> list[str]:
        """Return the command that leads the one after it to this disk, to work in a directory."""
        target = f"--target={self.holder}"
        return ["nsenter", target, "--user", "--mount", "--preserve-credentials", f"--wd={directory}"]

    @property
    def inside(self) -> Path:
        """The folder as it is seen from out here."""
        return Path(f"/proc/{self.holder}/root{self.folder}")

    def fill(self) -> None:
        """Leave not one byte."""
        count(FAULTS)
        with (self.inside / "filler").open("ab", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise

    def free(self) -> None:
        """Remove what filled it."""
        os.remove(self.inside / "filler")


@contextmanager
def small_disk(folder: Path) -> Iterator[Disk]:
    """Yield a disk on a folder, which is made."""
    folder.mkdir(mode=0o700)
    with subprocess.Popen(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", _HOLDER, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdin
        assert holder.stdout
        assert holder.stdout.readline() == b"ready\n"
        yield Disk(folder, holder.pid)
        holder.stdin.close()
