"""The program that builds a sandbox around itself and then becomes what shall run in it; standard library only.

It is started as `python -I -S launch.py JSON` and does in a child what `"mode"` says: `stage` makes every source
reachable for an ordinary user in a mount namespace of its own, stops being root, and becomes bubblewrap; `become` only
becomes it; `unshare` builds namespaces and mounts itself. It ends after everything that it started, with the status of
the program, or with 125 and a sentence on standard error; SIGTERM ends all at once, and so does the end of `"parent"`,
the process that started it.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import signal
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any

# Numbers of the kernel's interface: linux/sched.h, linux/mount.h, linux/prctl.h, asm-generic/unistd.h, linux/if.h.
NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = 0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 8, 4096, 16384, 1 << 18
MS_REMOUNT, MNT_DETACH = 32, 2
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 4, 22, 24, 38
PR_SET_CHILD_SUBREAPER = 36
SECCOMP_MODE_FILTER, FILTER_STEP_BYTES = 2, 8
CAPABILITY_VERSION_3, LAST_CAPABILITY = 0x20080522, 63
SYS_MOUNT_SETATTR, AT_FDCWD, AT_RECURSIVE, ATTR_RDONLY, ATTR_NOSUID, ATTR_NODEV = 442, -100, 0x8000, 1, 2, 4
SYS_PIVOT_ROOT = {"x86_64": 155}.get(os.uname().machine, 41)
SYS_KEYCTL, KEYCTL_JOIN_SESSION_KEYRING = {"x86_64": 250}.get(os.uname().machine, 219), 1
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
STAGE, FAILED = "/mnt", 125
DEVICES = ("null", "zero", "full", "random", "urandom")

libc = ctypes.CDLL(None, use_errno=True)


def checked(what: str, result: int) -> None:
    """Raise OSError with the kernel's reason when a call said that it failed."""
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """Mount, as mount(2) does."""
    call = (source.encode(), target.encode(), kind.encode() or None, ctypes.c_ulong(flags), data.encode() or None)
    checked(f"mount {source} on {target}", libc.mount(*call))


def bind(source: str, target: str, *, read_only: bool) -> None:
    """Bind a file or folder with all that is mounted below it; what is read-only is so at every depth."""
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
    mount(source, target, "", MS_BIND | MS_REC)
    flags = ATTR_NOSUID | ATTR_NODEV | (ATTR_RDONLY if read_only else 0)
    set_attributes(target, flags)


def set_attributes(target: str, flags: int) -> None:
    """Set attributes on a mount and everything below it (mount_setattr(2), Linux 5.12)."""
    attributes = struct.pack("QQQQ", flags, 0, 0, 0)
    call = (ctypes.c_long(SYS_MOUNT_SETATTR), AT_FDCWD, target.encode(), AT_RECURSIVE, attributes, len(attributes))
    checked(f"mount_setattr {target}", libc.syscall(*call))


def hand_over(folder: str, uid: int) -> None:
    """Give a folder and all in it to the sandbox's user, following no link."""
    os.chown(folder, uid, uid, follow_symlinks=False)
    try:
        for _, folders, files, descriptor in os.fwalk(folder, follow_symlinks=False):
            for name in folders + files:
                os.chown(name, uid, uid, dir_fd=descriptor, follow_symlinks=False)
    except RecursionError as error:
        raise OSError(f"the folders in {folder} are nested too deeply") from error


def stage(spec: dict[str, Any]) -> None:
    """As root: make the sources reachable under /mnt for the ordinary user that bubblewrap will run as."""
    checked("unshare the mounts", libc.unshare(NEWNS))
    mount("none", "/", "", MS_REC | MS_PRIVATE)
    mount("stage", STAGE, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=1m")
    for number, source in enumerate(spec["sources"]):
        target = f"{STAGE}/{number}"
        if os.path.isdir(source):
            os.mkdir(target)
        else:
            os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
        mount(source, target, "", MS_BIND | MS_REC)
    become(spec["uid"])
    os.chdir("/")
    become_bubblewrap(spec)


def become_bubblewrap(spec: dict[str, Any]) -> None:
    """Hand the filter of system calls over in a descriptor, and become bubblewrap, which loads it last of all."""
    program, *arguments = spec["argv"]
    if spec["filter"]:
        reading, writing = os.pipe()
        os.write(writing, bytes.fromhex(spec["filter"]))  # a kilobyte, which every pipe holds
        os.close(writing)
        os.set_inheritable(reading, True)
        arguments = ["--seccomp", str(reading), *arguments]
    os.execve(program, [program, *arguments], {})  # noqa: S606  becoming the program is what this file is for


def load_filter(steps: bytes) -> None:
    """Let the kernel refuse system calls to this process and all that it starts (seccomp(2))."""
    buffer = ctypes.create_string_buffer(steps, len(steps))
    order = struct.pack("HxxxxxxQ", len(steps) // FILTER_STEP_BYTES, ctypes.addressof(buffer))
    checked("seccomp", libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, order, 0, 0))


def forget_keys() -> None:
    """Leave the caller's kernel keyring for an empty one; where that is forbidden, so is every use of keyrings."""
    if libc.syscall(ctypes.c_long(SYS_KEYCTL), KEYCTL_JOIN_SESSION_KEYRING, None) < 0:
        number = ctypes.get_errno()
        if number not in (errno.ENOSYS, errno.EPERM):
            raise OSError(number, f"keyctl: {os.strerror(number)}")


def become(uid: int) -> None:
    """Stop being root for good."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def end_with_parent(by: signal.Signals = signal.SIGKILL) -> None:
    """Let the kernel send this process a signal when its parent ends."""
    checked("prctl", libc.prctl(PR_SET_PDEATHSIG, by, 0, 0, 0))


def write(path: str, text: str) -> None:
    """Write one of the kernel's files."""
    with open(path, "w", encoding="ascii") as stream:
        stream.write(text)


def unshare(spec: dict[str, Any]) -> int:
    """Build namespaces and mounts, run the program below an init of its own, and return its status."""
    root, uid = os.geteuid() == 0, spec["uid"]
    if not root:
        outer_uid, outer_gid = os.geteuid(), os.getegid()
        checked("unshare the users", libc.unshare(NEWUSER))
        write("/proc/self/setgroups", "deny")
        write("/proc/self/uid_map", f"{uid} {outer_uid} 1")
        write("/proc/self/gid_map", f"{uid} {outer_gid} 1")
    checked("unshare", libc.unshare(NEWUTS | NEWIPC | NEWPID | NEWNET))
    ready, mapped = os.pipe(), os.pipe()
    init = os.fork()
    if init == 0:
        os.close(mapped[1])
        guarded(lambda: run_init(spec, root=root, ready=ready[1], mapped=mapped[0]))
    os.close(ready[1])
    if root and os.read(ready[0], 1):
        write(f"/proc/{init}/uid_map", f"{uid} {uid} 1")
        write(f"/proc/{init}/gid_map", f"{uid} {uid} 1")
        os.write(mapped[1], b"1")
    return os.waitstatus_to_exitcode(os.waitpid(init, 0)[1])


def run_init(spec: dict[str, Any], *, root: bool, ready: int, mapped: int) -> int:
    """As process 1 of the sandbox: build it, become nobody, start the program, and reap until it ends."""
    end_with_parent()
    socket.sethostname("sandbox")
    loopback_up()
    checked("unshare the mounts", libc.unshare(NEWNS))  # here, since pivot_root moves everybody in the same namespace
    build_root(spec["mounts"])
    if root:
        checked("unshare the users", libc.unshare(NEWUSER))
        os.write(ready, b"1")
        if not os.read(mapped, 1):
            raise OSError("the users of the sandbox were not mapped")
    write("/proc/sys/user/max_user_namespaces", "0")
    drop_privileges(spec["uid"], root=root)
    end_with_parent()  # again, since the kernel forgets it when the user changes
    for descriptor in (ready, mapped):
        os.close(descriptor)
    if spec["filter"]:
        load_filter(bytes.fromhex(spec["filter"]))
    program = os.fork()
    if program == 0:
        os.setsid()
        os.chdir(spec["cwd"])
        os.execve(spec["argv"][0], spec["argv"], spec["environment"])  # noqa: S606  likewise
    while True:
        pid, status = os.wait()
        if pid == program:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def build_root(mounts: list[dict[str, Any]]) -> None:
    """Make an empty root in memory, fill it, move into it, and forget the old one."""
    mount("none", "/", "", MS_REC | MS_PRIVATE)
    mount("root", STAGE, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=1m")
    for name in ("proc", "dev", "old"):
        os.mkdir(f"{STAGE}/{name}")
    mount("proc", f"{STAGE}/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    for name in DEVICES:
        target = f"{STAGE}/dev/{name}"
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
        mount(f"/dev/{name}", target, "", MS_BIND)
    for name, source in (("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        os.symlink(f"/proc/self/{source}", f"{STAGE}/dev/{name}")
    for entry in mounts:
        place(entry)
    os.chdir(STAGE)
    checked("pivot_root", libc.syscall(ctypes.c_long(SYS_PIVOT_ROOT), b".", b"old"))
    os.chdir("/")
    checked("umount", libc.umount2(b"/old", MNT_DETACH))
    os.rmdir("/old")
    mount("none", "/", "", MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV)


def place(entry: dict[str, Any]) -> None:
    """Make one place of the sandbox."""
    source, target = entry["source"], STAGE + entry["target"]
    match entry["kind"]:
        case "read_only" | "read_write" as kind:
            bind(source, target, read_only=kind == "read_only")
        case "symlink":
            os.makedirs(os.path.dirname(target), exist_ok=True)
            os.symlink(source, target)
        case "empty":
            mount("empty", target, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV, "size=4k")
        case "scratch":
            os.makedirs(target, exist_ok=True)
            mount("scratch", target, "tmpfs", MS_NOSUID | MS_NODEV, f"mode=1777,size={entry['size']}")


def loopback_up() -> None:
    """Switch on the sandbox's own loopback interface, the only one it has."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = fcntl.ioctl(control, SIOCGIFFLAGS, struct.pack("16sh22x", b"lo", 0))
        flags = struct.unpack("16sh22x", request)[1]
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", flags | IFF_UP))


def drop_privileges(uid: int, *, root: bool) -> None:
    """Give up every capability and every way to get one back."""
    for capability in range(LAST_CAPABILITY + 1):
        if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            break  # beyond the last capability of this kernel
    if root:
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    header, nothing = struct.pack("Ii", CAPABILITY_VERSION_3, 0), bytes(24)
    checked("capset", libc.capset(header, nothing))
    checked("prctl", libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    checked("prctl", libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0))


def supervise(child: int) -> int:
    """Wait for a child and for what it leaves to us, which for a first process is the end of its whole namespace."""
    code = FAILED
    while True:
        try:
            pid, status = os.wait()
        except ChildProcessError:
            return code
        if pid == child:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # we stay to see the end of what is left
            code = os.waitstatus_to_exitcode(status)
            code = code if code >= 0 else 128 - code
            end_what_is_left()


def end_what_is_left() -> None:
    """Kill what the child left to us: what was not set up yet had not asked to die with its parent."""
    me = os.getpid()
    try:
        with open(f"/proc/{me}/task/{me}/children", encoding="ascii") as stream:
            left = [int(pid) for pid in stream.read().split()]
    except FileNotFoundError:
        return  # a kernel that does not list them
    for pid in left:
        os.kill(pid, signal.SIGKILL)


def guarded(act: Callable[[], int | None]) -> None:
    """End this process with the status that `act` returns, or with the reason why it could not."""
    try:
        status = act()
    except OSError as error:
        print(f"sandbox: {error}", file=sys.stderr, flush=True)
        os._exit(FAILED)
    os._exit(status or 0)


def main() -> None:
    """Read the order from the command line, carry it out in a child, and end after all that came of it."""
    spec = json.loads(sys.argv[1])

    launcher = os.getpid()

    def act() -> int | None:
        end_with_parent()
        if os.getppid() != launcher:
            raise OSError("the launcher ended before the sandbox was built")
        if spec["mode"] == "become":
            become_bubblewrap(spec)
        if os.geteuid() == 0:
            hand_over(spec["own"], spec["uid"])
        if spec["mode"] == "unshare":
            return unshare(spec)
        stage(spec)
        return None

    def watch() -> int:
        # Not killed at once: whoever is being set up has not asked to die with its parent yet, and would stay behind.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        end_with_parent(signal.SIGTERM)
        if os.getppid() != spec["parent"]:
            raise OSError("whoever asked for the sandbox ended before it was built")
        forget_keys()
        checked("prctl", libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
        child = os.fork()
        if child == 0:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
            guarded(act)
        signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGKILL))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        return supervise(child)

    guarded(watch)


if __name__ == "__main__":
    main()
