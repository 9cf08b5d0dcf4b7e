"""What each rung of the sandbox promises, as data that the documentation repeats and a suite of attacks tests."""

from __future__ import annotations

from enum import StrEnum

from orchestrator.sandbox.filter import seccomp_filter
from orchestrator.sandbox.limits import Rung
from orchestrator.sandbox.process import sees_children


class Claim(StrEnum):
    """One promise about a program and all that it starts; the value is the sentence of docs/sandbox.md."""

    ENVIRONMENT = "sees no environment variable but those that it is given"
    TIME = "is killed at its deadline, whatever signals it ignores"
    OUTPUT = "has its output kept up to a limit, however much it writes"
    MEMORY = "takes no more memory in one process than allowed"
    FILE_SIZE = "makes no file larger than allowed"
    DISK = "fills no more of the disk with its folder than allowed"
    NETWORK = "reaches no network, no server of this machine and no socket of another process"
    FILES = "reads no file but its own, the system's programs and the interpreter"
    WRITES = "writes nowhere but into its folder and into memory that ends with it"
    PROCESSES = "sees, signals and traces no process but its own"
    SURVIVORS = "leaves no process behind"
    COUNT = "starts no more processes than allowed"
    PRIVILEGE = "gains no privilege: no setuid program, no namespace, no mount, no higher limit"
    TOTAL_MEMORY = "takes no more memory in all its processes together than allowed"
    KERNEL = "makes no system call of the list in orchestrator/sandbox/filter.py"


_ALWAYS = frozenset({Claim.ENVIRONMENT, Claim.TIME, Claim.OUTPUT, Claim.MEMORY, Claim.FILE_SIZE, Claim.DISK})
# Rest on the machine as well: on a kernel that lists children, and on a processor for which there is a filter.
_DEPENDENT = frozenset({Claim.TOTAL_MEMORY, Claim.KERNEL})
CLAIMS: dict[Rung, frozenset[Claim]] = {
    Rung.BUBBLEWRAP: frozenset(Claim),
    Rung.UNSHARE: frozenset(Claim),
    Rung.LIMITS: _ALWAYS,
}


def claims(rung: Rung) -> frozenset[Claim]:
    """List what a rung promises on this machine."""
    missing: set[Claim] = set()
    if not seccomp_filter():
        missing |= _DEPENDENT
    if not sees_children():
        missing.add(Claim.TOTAL_MEMORY)
    return CLAIMS[rung] - missing
