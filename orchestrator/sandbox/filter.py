"""The system calls that a sandboxed program may not make, as a seccomp filter that the kernel runs.

Written by hand, since libseccomp's Python binding is packaged by distributions only. It is a list of what is denied:
generated code may use any tool, and namespaces, an ordinary user and an empty set of capabilities hold it already. The
filter takes away what they do not cover: the parts of the kernel in which ways out were found most often, sockets
that no network namespace holds, and memory that belongs to no process.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass

# linux/bpf_common.h and linux/seccomp.h; `struct seccomp_data` is nr, arch, instruction pointer, six arguments.
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16
ALLOW, KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_X32 = 0x40000000
# Every namespace that clone(2) can make: linux/sched.h, CLONE_NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID …
_NEW_NAMESPACES = 0x7E020000
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C  # both type into a terminal: asm-generic/ioctls.h
# AF_UNIX, AF_INET, AF_INET6, AF_NETLINK: what the network namespace holds. AF_VSOCK, for one, reaches the host of a VM.
_FAMILIES = (1, 2, 10, 16)

# Names with their numbers on x86_64 (asm/unistd_64.h) and on aarch64 (asm-generic/unistd.h); None: it has no such call.
DENIED: dict[str, tuple[int, int | None]] = {
    "acct": (163, 89),
    "add_key": (248, 217),
    "adjtimex": (159, 171),
    "bpf": (321, 280),
    "chroot": (161, 51),
    "clock_adjtime": (305, 266),
    "clock_settime": (227, 112),
    "delete_module": (176, 106),
    "fanotify_init": (300, 262),
    "finit_module": (313, 273),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "init_module": (175, 105),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "ioperm": (173, None),
    "iopl": (172, None),
    "kcmp": (312, 272),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "lookup_dcookie": (212, 18),
    "modify_ldt": (154, None),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "pidfd_getfd": (438, 438),
    "pivot_root": (155, 41),
    "process_madvise": (440, 440),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "setdomainname": (171, 162),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "settimeofday": (164, 170),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
    "vhangup": (153, 58),
}
# Refused as if the kernel did not know them, so that programs go another way: clone3's flags lie where a filter cannot
# look, and the memory of the others is counted for no process.
UNKNOWN: dict[str, tuple[int, int]] = {
    "clone3": (435, 435),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
}


@dataclass(frozen=True, slots=True)
class Machine:
    """What differs between processors: the kernel's name for it, our column above, and three system calls' numbers."""

    arch: int  # AUDIT_ARCH_… of linux/audit.h
    column: int
    clone: int
    ioctl: int
    socket: int


MACHINES = {
    "x86_64": Machine(0xC000003E, 0, clone=56, ioctl=16, socket=41),
    "aarch64": Machine(0xC00000B7, 1, clone=220, ioctl=29, socket=198),
}


def seccomp_filter(name: str | None = None) -> bytes:
    """Write the filter for a processor, this machine's unless told; empty for one that is not in `MACHINES`.

    The result is an array of `struct sock_filter`, as bubblewrap's `--seccomp` and seccomp(2) take it.
    """
    machine = MACHINES.get(name or os.uname().machine)
    if machine is None:
        return b""
    steps = [_step(_LOAD, _ARCH), _step(_EQUAL, machine.arch, 1, 0), _step(_RETURN, KILL), _step(_LOAD, _NUMBER)]
    if machine.column == 0:  # x32, the other set of numbers of the same processor
        steps += [_step(_AT_LEAST, _X32, 0, 1), _refuse(errno.ENOSYS)]
    for denied, why in ((DENIED, errno.EPERM), (UNKNOWN, errno.ENOSYS)):
        for numbers in denied.values():
            number = numbers[machine.column]
            if number is not None:
                steps += _where(number, [_refuse(why)])
    steps += _where(machine.clone, [_argument(0), _step(_ANY_BIT, _NEW_NAMESPACES, 0, 1), _refuse(errno.EPERM)])
    typing = [_step(_EQUAL, _TIOCSTI, 1, 0), _step(_EQUAL, _TIOCLINUX, 0, 1), _refuse(errno.EPERM)]
    steps += _where(machine.ioctl, [_argument(1), *typing])
    others = [_step(_EQUAL, family, len(_FAMILIES) - number, 0) for number, family in enumerate(_FAMILIES)]
    steps += _where(machine.socket, [_argument(0), *others, _refuse(errno.EAFNOSUPPORT)])
    return b"".join([*steps, _step(_RETURN, ALLOW)])


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _refuse(number: int) -> bytes:
    return _step(_RETURN, _ERRNO | number)


def _argument(number: int) -> bytes:
    """Load the lower half of an argument, all that the kernel itself looks at in those that we examine."""
    return _step(_LOAD, _ARGUMENTS + 8 * number)


def _where(number: int, then: Sequence[bytes]) -> list[bytes]:
    """Do the steps for one system call; they end in a return, and what passes them by is allowed."""
    ending = [] if len(then) == 1 else [_step(_RETURN, ALLOW)]
    return [_step(_EQUAL, number, 0, len(then) + len(ending)), *then, *ending]
