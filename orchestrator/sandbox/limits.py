"""What a sandboxed program may use and reach, how it ended, and the rungs of isolation."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

MIB = 1024 * 1024


class Rung(StrEnum):
    """A way to hold a program, strongest first; only `limits` is no boundary."""

    BUBBLEWRAP = "bubblewrap"
    UNSHARE = "unshare"
    LIMITS = "limits"


class PackageIndex(StrEnum):
    """A package index that a program may be let out to."""

    PYPI = "pypi"
    NPM = "npm"


@dataclass(frozen=True, slots=True)
class Limits:
    """Upper bounds of one program and all that it starts; sizes are in bytes, `seconds` is wall-clock time.

    `memory_bytes` bounds the data segment of each process and, where the kernel lists a process's children, the
    anonymous and shared memory of all of them together, looked at ten times a second. `file_bytes` bounds one file
    and the sandbox's /tmp. `disk_bytes` and `disk_entries` bound the workspace with all that is in it, which is
    measured once a second, more often when much is written, and more seldom when it has many entries;
    `disk_entries` bounds those of the sandbox's file systems in memory too. `output_bytes` is what is kept of
    standard output and error.
    """

    seconds: float = 300
    memory_bytes: int = 2048 * MIB
    processes: int = 256
    output_bytes: int = 1 * MIB
    file_bytes: int = 512 * MIB
    disk_bytes: int = 4096 * MIB
    disk_entries: int = 500_000


@dataclass(frozen=True, slots=True)
class Finished:
    """How a program ended: `status` is its exit status, 128 + N after signal N; `output` is both streams interleaved.

    `truncated` says that the middle of the output was cut out; `out_of_memory` that all its processes together used
    more than `Limits.memory_bytes` and were killed for it, `out_of_disk` that the workspace outgrew its limits, or all
    but filled the disk. `index_failures` are the sentences of connections to the
    package index that did not come about.
    """

    status: int
    output: str
    timed_out: bool = False
    truncated: bool = False
    out_of_memory: bool = False
    out_of_disk: bool = False
    index_failures: tuple[str, ...] = ()

    def passed(self, limits: Limits) -> str:
        """Say which limit the program was killed for, as the rest of a sentence; empty when for none."""
        if self.timed_out:
            return f"did not end within {limits.seconds:.0f} seconds"
        if self.out_of_memory:
            return f"used more than {limits.memory_bytes // MIB} MiB of memory"
        if self.out_of_disk:
            return f"filled the disk with more than {limits.disk_bytes // MIB} MiB or {limits.disk_entries} files"
        return ""
