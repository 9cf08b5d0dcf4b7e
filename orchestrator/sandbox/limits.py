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
    anonymous and shared memory of all of them together, looked at ten times a second. `file_bytes` bounds one file and
    the sandbox's /tmp. `output_bytes` is what is kept of standard output and error.
    """

    seconds: float = 300
    memory_bytes: int = 2048 * MIB
    processes: int = 256
    output_bytes: int = 1 * MIB
    file_bytes: int = 512 * MIB


@dataclass(frozen=True, slots=True)
class Finished:
    """How a program ended: `status` is its exit status, 128 + N after signal N; `output` is both streams interleaved.

    `truncated` says that the middle of the output was cut out; `out_of_memory` that all its processes together used
    more than `Limits.memory_bytes` and were killed for it. `index_failures` are the sentences of connections to the
    package index that did not come about.
    """

    status: int
    output: str
    timed_out: bool = False
    truncated: bool = False
    out_of_memory: bool = False
    index_failures: tuple[str, ...] = ()
