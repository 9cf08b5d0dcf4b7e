"""The rung that is chosen inside a container: its restrictions are put upon a process that opens the sandbox."""

from __future__ import annotations

import asyncio
import json
import os
import struct
import sys
from pathlib import Path

import pytest

from orchestrator.sandbox import Rung
from orchestrator.sandbox.filter import DENIED, MACHINES, seccomp_filter

TOP = Path(__file__).parents[4]
BUBBLEWRAP = ("/usr/bin/bwrap", "--dev-bind", "/", "/", "--unshare-user", "--uid", "10001", "--gid", "10001")

# Restricts itself as told, as the container's runtime would have done, and opens the strongest rung that is left.
PROGRAM = """
import asyncio, json, sys
from orchestrator.sandbox import open_sandbox
from orchestrator.sandbox.launch import PR_SET_NO_NEW_PRIVS, libc, load_filter

async def main():
    sandbox = await open_sandbox()
    print(json.dumps([sandbox.rung, sandbox.runs_untrusted, sandbox.description]))

if sys.argv[1]:
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    load_filter(bytes.fromhex(sys.argv[1]))
asyncio.run(main())
"""


async def opened_in(container: tuple[str, ...], steps: bytes, home: Path) -> tuple[str, bool, str]:
    process = await asyncio.create_subprocess_exec(
        *container, sys.executable, "-c", PROGRAM, steps.hex(),
        cwd=TOP, env={"HOME": str(home), "TMPDIR": str(home), "PATH": "/usr/bin:/bin"},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    assert err == b""
    rung, runs_untrusted, description = json.loads(out)
    return rung, runs_untrusted, description


def no_cloned_namespace() -> bytes:
    """A filter that refuses clone(2) a namespace and clone3(2) everything, and lets unshare(2) through."""
    machine = MACHINES[os.uname().machine]
    steps = [
        (0x20, 0, 0, 0),
        (0x15, 0, 1, 435),
        (0x06, 0, 0, 0x50026),
        (0x15, 0, 3, machine.clone),
        (0x20, 0, 0, 16),
        (0x45, 0, 1, 0x7E020000),
        (0x06, 0, 0, 0x50001),
        (0x06, 0, 0, 0x7FFF0000),
    ]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


@pytest.mark.bubblewrap
async def test_sec_21_in_a_container_that_forbids_namespaces_nothing_untrusted_runs_and_the_report_says_why(
    tmp_path: Path,
) -> None:
    rung, runs_untrusted, description = await opened_in(BUBBLEWRAP, seccomp_filter(), tmp_path)

    assert (rung, runs_untrusted) == (Rung.LIMITS, False)
    assert description.startswith("There was no isolation")
    assert "Not available here: bubblewrap: bwrap: " in description
    assert "; unshare: sandbox: [Errno 1] unshare the users: Operation not permitted." in description


@pytest.mark.bubblewrap
async def test_where_bubblewrap_alone_is_kept_from_working_the_next_rung_holds(tmp_path: Path) -> None:
    rung, runs_untrusted, description = await opened_in(BUBBLEWRAP, no_cloned_namespace(), tmp_path)

    assert (rung, runs_untrusted) == (Rung.UNSHARE, True)
    assert description.startswith("Generated code ran in Linux namespaces of its own")


@pytest.mark.slow
async def test_sec_21_with_a_masked_proc_there_is_no_rung_that_isolates(tmp_path: Path) -> None:
    masked = (*BUBBLEWRAP, "--ro-bind", "/dev/null", "/proc/interrupts", "--tmpfs", "/proc/fs")

    rung, runs_untrusted, description = await opened_in(masked, b"", tmp_path)

    assert (rung, runs_untrusted) == (Rung.LIMITS, False)
    assert "proc" in description


def profile_for_docker() -> bytes:
    """What Docker makes of deploy/seccomp.json on this processor."""
    (group,) = json.loads((TOP / "deploy/seccomp.json").read_text())["syscalls"]
    column = MACHINES[os.uname().machine].column
    numbers = [number for name in group["names"] if (number := DENIED[name][column]) is not None]
    steps = [(0x20, 0, 0, 0)]
    for number in numbers:
        steps += [(0x15, 0, 1, number), (0x06, 0, 0, 0x50000 | group["errnoRet"])]
    return b"".join(struct.pack("=HBBI", *step) for step in [*steps, (0x06, 0, 0, 0x7FFF0000)])


@pytest.mark.bubblewrap
async def test_sec_21_a_container_with_the_documented_settings_has_the_strongest_rung(tmp_path: Path) -> None:
    rung, runs_untrusted, _ = await opened_in((*BUBBLEWRAP, "--cap-drop", "ALL"), profile_for_docker(), tmp_path)

    assert (rung, runs_untrusted) == (Rung.BUBBLEWRAP, True)


@pytest.mark.bubblewrap
async def test_sec_21_the_unshare_rung_works_with_the_documented_settings_too(tmp_path: Path) -> None:
    hidden = (*BUBBLEWRAP, "--cap-drop", "ALL", "--ro-bind", "/dev/null", "/usr/bin/bwrap")

    rung, runs_untrusted, _ = await opened_in(hidden, profile_for_docker(), tmp_path)

    assert (rung, runs_untrusted) == (Rung.UNSHARE, True)


def test_the_profile_for_docker_refuses_all_but_what_builds_the_sandbox() -> None:
    profile = json.loads((TOP / "deploy/seccomp.json").read_text())

    assert profile["defaultAction"] == "SCMP_ACT_ALLOW"
    assert set(DENIED) - set(profile["syscalls"][0]["names"]) == {
        "mount", "mount_setattr", "pivot_root", "sethostname", "umount2", "unshare",
    }  # fmt: skip
