"""Run one program in its own session: output capped, memory watched, everything killed at the deadline."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from pathlib import Path

from orchestrator.errors import SandboxError
from orchestrator.sandbox.disk import DiskWatch, scratch_entries
from orchestrator.sandbox.limits import Finished, Limits

_WATCH_SECONDS = 0.1
_LAST_WORDS_SECONDS = 2.0
_MEMORY_LINE = re.compile(rb"^Rss(?:Anon|Shmem):\s+(\d+) kB$", re.MULTILINE)


class Capture:
    """The head and the tail of a stream, at most `limit` bytes of it in memory."""

    def __init__(self, limit: int) -> None:
        self._half = max(1, limit // 2)
        self._head = bytearray()
        self._tail = bytearray()
        self._lost = 0

    @property
    def truncated(self) -> bool:
        """True once the middle had to be cut out."""
        return self._lost > 0

    def add(self, chunk: bytes) -> None:
        """Take the next bytes of the stream."""
        room = self._half - len(self._head)
        self._head += chunk[:room]
        self._tail += chunk[room:] if room > 0 else chunk
        surplus = len(self._tail) - self._half
        if surplus > 0:
            del self._tail[:surplus]
            self._lost += surplus

    def text(self) -> str:
        """Decode what was kept, with a line in the middle that says how much is missing."""
        gap = f"\n[... {self._lost} bytes cut out ...]\n".encode() if self._lost else b""
        return (bytes(self._head) + gap + bytes(self._tail)).decode("utf-8", "replace")


def descendants(pid: int) -> list[int]:
    """List a process and all its descendants; those that end while being looked at may be missing."""
    found = [pid]
    for parent in found:
        try:
            for task in Path("/proc", str(parent), "task").iterdir():
                found += map(int, (task / "children").read_bytes().split())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def tree_memory(pid: int) -> int:
    """Add up the anonymous and shared memory of a process and all its descendants, in bytes.

    Processes that end while being looked at count as nothing. Pages shared after a fork count once per process.
    """
    return memory_of(descendants(pid))


def memory_of(pids: Iterable[int]) -> int:
    """Add up the anonymous and shared memory of processes, in bytes."""
    total = 0
    for process in pids:
        try:
            status = Path("/proc", str(process), "status").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += sum(int(kib) for kib in _MEMORY_LINE.findall(status)) * 1024
    return total


def sees_children() -> bool:
    """Tell whether this kernel lists the children of a process, which `tree_memory` relies on."""
    return Path("/proc", str(os.getpid()), "task", str(os.getpid()), "children").exists()


async def run_process(
    argv: Sequence[str], *, limits: Limits, environment: Mapping[str, str], cwd: Path, scratch: Sequence[str] = ()
) -> Finished:
    """Run a program to its end or to its deadline, and leave nothing of its process group behind.

    `scratch` are the places of the sandbox that lie in memory. Where there are any, the program is our own launcher,
    which on SIGTERM ends all that it started, and itself after them.
    Raises OSError when the program cannot be started at all.
    """
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=dict(environment),
        cwd=cwd,
        start_new_session=True,
    )
    capture = Capture(limits.output_bytes)
    reader = asyncio.create_task(_read(process, capture))
    disk = DiskWatch(cwd, limits.disk_bytes, limits.disk_entries)
    passed: Passed | None = None
    try:
        async with asyncio.timeout(limits.seconds):
            passed = await _watch(process, limits, disk, scratch)
    except TimeoutError:
        passed = Passed.TIME
    finally:
        if scratch and process.returncode is None:
            await _told_to_end(process)
        _kill_group(process.pid)
        status = await _ended(process)
        await asyncio.wait({reader}, timeout=_LAST_WORDS_SECONDS)
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
        process._transport.close()  # type: ignore[attr-defined]  # a survivor outside the group may hold the pipe
        disk.close()
    return Finished(
        status=status if status >= 0 else 128 - status,
        output=capture.text(),
        timed_out=passed is Passed.TIME,
        truncated=capture.truncated,
        out_of_memory=passed is Passed.MEMORY,
        out_of_disk=passed is Passed.DISK,
    )


async def ask(
    argv: Sequence[str], *, seconds: float, environment: Mapping[str, str], cwd: Path | None = None
) -> tuple[int, bytes, bytes]:
    """Run a program of this machine's own that nobody has written for us, and return its status and both outputs.

    Nothing of its process group is left behind, however this ends. Raises `SandboxError` when it does not start or end.
    """
    name = Path(argv[0]).name
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=dict(environment),
            cwd=cwd,
            start_new_session=True,
        )
    except OSError as error:
        raise SandboxError(f"{name} does not start: {error.strerror}") from error
    try:
        async with asyncio.timeout(seconds):
            out, err = await process.communicate()
    except TimeoutError as error:
        raise SandboxError(f"{name} did not answer within {seconds:g} seconds.") from error
    finally:
        if process.returncode is None:
            _kill_group(process.pid)
        status = await _ended(process)
        process._transport.close()  # type: ignore[attr-defined]  # a survivor outside the group may hold a pipe
    return status, out, err


class Passed(Enum):
    """The limit that a program passed and was killed for."""

    TIME = "time"
    MEMORY = "memory"
    DISK = "disk"


async def _watch(
    process: asyncio.subprocess.Process, limits: Limits, disk: DiskWatch, scratch: Sequence[str]
) -> Passed | None:
    """Wait for the end; say which limit all processes together passed first.

    What stands on the disk is looked at once more after the end, since a quick program may have filled it meanwhile.
    """
    end = asyncio.create_task(_ended(process))
    look: asyncio.Task[bool] | None = None
    try:
        while True:
            pids = descendants(process.pid)
            if memory_of(pids) > limits.memory_bytes:
                return Passed.MEMORY
            if scratch and scratch_entries(pids, scratch) > limits.disk_entries:
                return Passed.DISK
            if look is None and disk.due():
                look = asyncio.create_task(asyncio.to_thread(disk.passed, pids))
            await asyncio.wait({end}, timeout=_WATCH_SECONDS)
            if look is not None and (look.done() or end.done()):
                if await look:
                    return Passed.DISK
                look = None
            if end.done():
                return Passed.DISK if disk.due() and await asyncio.to_thread(disk.passed, ()) else None
    finally:
        end.cancel()
        if look is not None:
            await asyncio.wait({look})


async def _ended(process: asyncio.subprocess.Process) -> int:
    """Wait for the process alone: asyncio's own wait lasts until nobody holds the other end of its pipe any more."""
    waiting = asyncio.create_task(process.wait())
    try:
        while process.returncode is None:
            await asyncio.wait({waiting}, timeout=_WATCH_SECONDS)
        return process.returncode
    finally:
        waiting.cancel()


async def _told_to_end(process: asyncio.subprocess.Process) -> None:
    """Have our own program end what it started; when it does not in time, everything is killed that can be."""
    process.terminate()
    end = asyncio.create_task(_ended(process))
    try:
        await asyncio.wait({end}, timeout=_LAST_WORDS_SECONDS)
    finally:
        end.cancel()


async def _read(process: asyncio.subprocess.Process, capture: Capture) -> None:
    assert process.stdout is not None
    while chunk := await process.stdout.read(65536):
        capture.add(chunk)


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return  # everything in it has already ended
