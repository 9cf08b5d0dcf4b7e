"""What the inside of the sandbox looks like, as data, and as arguments of bubblewrap."""

from __future__ import annotations

import glob
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from orchestrator.sandbox.limits import MIB, Limits

WORKSPACE = "/workspace"
DEPENDENCIES = "/deps"
TOOLS = "/tools"
PYTHON = f"{TOOLS}/python"
SEARCH_PATH = f"{TOOLS}:/usr/local/bin:/usr/bin:/bin"
HOME = "/home/user"
UID = 65534

_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_CONFIGURATION = (
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/pki/tls/certs",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
)
_PACKAGES = (
    "/usr/lib/python3*/dist-packages",
    "/usr/lib/python3*/site-packages",
    "/usr/lib64/python3*/site-packages",
    "/usr/local/lib/python3*/dist-packages",
    "/usr/local/lib/python3*/site-packages",
)
SCRATCH = ("/tmp", HOME, "/dev/shm")  # noqa: S108  the sandbox's own, in memory
_SCRATCH_BYTES = 64 * MIB

ETC = {
    "passwd": f"user:x:{UID}:{UID}:user:{HOME}:/bin/sh\n",
    "group": f"user:x:{UID}:\n",
    "hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}


class Kind(StrEnum):
    """How a place of the sandbox is made."""

    READ_ONLY = "read_only"
    READ_WRITE = "read_write"
    EMPTY = "empty"  # a read-only empty folder, which hides what would be there
    SCRATCH = "scratch"  # a fresh file system in memory of `size` bytes
    SYMLINK = "symlink"


@dataclass(frozen=True, slots=True)
class Mount:
    """One place of the sandbox: `target` inside, `source` outside (for a symlink: what it points to)."""

    kind: Kind
    target: str
    source: str = ""
    size: int = 0


@dataclass(frozen=True, slots=True)
class Places:
    """Where a program finds its workspace, the read-only paths in the order given, and a Python, as it sees them."""

    workspace: str
    read_only: tuple[str, ...]
    python: str
    search_path: str


def isolated_places(read_only: Sequence[Path]) -> Places:
    """Name the places of every rung that isolates: /workspace, /deps/0, /deps/1 …"""
    return Places(WORKSPACE, tuple(f"{DEPENDENCIES}/{i}" for i in range(len(read_only))), PYTHON, SEARCH_PATH)


def base_python() -> Path:
    """Find the interpreter below any virtual environment, so that none of our own packages comes with it."""
    return Path(getattr(sys, "_base_executable", "") or sys.executable).resolve()


def mounts(workspace: Path, read_only: Sequence[Path], run_folder: Path, limits: Limits) -> tuple[Mount, ...]:
    """List what a program gets to see, in the order in which it must be mounted.

    The system and the interpreter are read-only and without anybody's installed packages; `run_folder` holds the
    files of `ETC` under etc/, and appears as /run.
    """
    prefix = Path(sys.base_prefix).resolve()
    listed = [_system(path) for path in map(Path, _SYSTEM) if path.is_symlink() or path.is_dir()]
    if not prefix.is_relative_to("/usr"):
        listed.append(Mount(Kind.READ_ONLY, str(prefix), str(prefix)))
    packages = {path for pattern in _PACKAGES for path in glob.glob(pattern)}
    packages |= {str(path) for path in prefix.glob("lib*/python3*/site-packages")}
    listed += [Mount(Kind.EMPTY, path) for path in sorted(packages) if not Path(path).is_symlink()]
    listed += [Mount(Kind.READ_ONLY, path, path) for path in _CONFIGURATION if Path(path).exists()]
    listed += [Mount(Kind.READ_ONLY, f"/etc/{name}", str(run_folder / "etc" / name)) for name in ETC]
    listed += [Mount(Kind.SYMLINK, f"{TOOLS}/{name}", str(base_python())) for name in ("python", "python3")]
    listed += [
        Mount(Kind.READ_ONLY, "/run", str(run_folder)),
    ]
    sizes = (limits.file_bytes, _SCRATCH_BYTES, _SCRATCH_BYTES)
    listed += [Mount(Kind.SCRATCH, place, size=size) for place, size in zip(SCRATCH, sizes, strict=True)]
    targets = isolated_places(read_only).read_only
    listed += [
        Mount(Kind.READ_ONLY, target, str(source.resolve())) for target, source in zip(targets, read_only, strict=True)
    ]
    return (*listed, Mount(Kind.READ_WRITE, WORKSPACE, str(workspace.resolve())))


def _system(path: Path) -> Mount:
    if path.is_symlink():
        return Mount(Kind.SYMLINK, str(path), str(path.readlink()))
    return Mount(Kind.READ_ONLY, str(path), str(path))


def bubblewrap_arguments(bubblewrap: str, listed: Sequence[Mount], environment: Mapping[str, str]) -> list[str]:
    """Write the mounts as arguments of bubblewrap; the program to run and its own arguments come after them."""
    argv = [bubblewrap, "--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session"]
    argv += ["--uid", str(UID), "--gid", str(UID), "--hostname", "sandbox", "--clearenv"]
    argv += ["--proc", "/proc", "--dev", "/dev"]
    for mount in listed:
        argv += _bubblewrap_mount(mount)
    for name, value in environment.items():
        argv += ["--setenv", name, value]
    return [*argv, "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", WORKSPACE, "--"]


def _bubblewrap_mount(mount: Mount) -> list[str]:
    match mount.kind:
        case Kind.READ_ONLY:
            return ["--ro-bind", mount.source, mount.target]
        case Kind.READ_WRITE:
            return ["--bind", mount.source, mount.target]
        case Kind.SYMLINK:
            return ["--symlink", mount.source, mount.target]
        case Kind.EMPTY:
            return ["--size", "4096", "--tmpfs", mount.target, "--remount-ro", mount.target]
        case Kind.SCRATCH:
            return ["--size", str(mount.size), "--tmpfs", mount.target]


def limited(argv: Sequence[str], limits: Limits, *, processes: bool) -> list[str]:
    """Put a program behind util-linux's prlimit, which sets the limits of each process and then becomes it.

    The limit on processes is counted for one user in one user namespace (Linux 5.14), so it fits only inside one.
    """
    hard = {
        "data": limits.memory_bytes,
        "fsize": limits.file_bytes,
        "nofile": 1024,
        "core": 0,
        "memlock": 0,
    }
    if processes:
        hard["nproc"] = limits.processes
    return ["/usr/bin/prlimit", *(f"--{name}={value}:{value}" for name, value in hard.items()), "--", *argv]
