"""SECURITY 21: every promise of every rung is attacked, and what no rung promises is shown to be open."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import secrets
import socket
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.sandbox import MIB, Finished, Limits, Rung, Sandbox
from orchestrator.sandbox.claims import CLAIMS, Claim, claims
from orchestrator.sandbox.filter import MACHINES
from tests.unit.orchestrator.sandbox.attacks import ATTACKS, BOUNDS, HIDDEN_MEMORY, PRELUDE
from tests.unit.orchestrator.sandbox.conftest import isolating
from tests.unit.orchestrator.sandbox.test_isolation import hear

RUNGS = (*isolating(), Rung.LIMITS)
# What takes a program's own end to be seen, or is looked for outside after it.
FROM_OUTSIDE = {Claim.TIME, Claim.OUTPUT, Claim.DISK, Claim.TOTAL_MEMORY, Claim.WRITES}


@pytest.fixture
def facts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """What an attacker would like to know, and the servers and files that it would like to reach."""
    secret, name = f"sk-canary-{secrets.token_hex(8)}", secrets.token_hex(8)
    monkeypatch.setenv("ANTHROPIC_API_KEY", secret)
    monkeypatch.setenv("ORCHESTRATOR_HOME", str(tmp_path))
    state = tmp_path / "orchestrator.db"
    state.write_text(secret)
    state.chmod(0o644)
    tmp_path.chmod(0o755)
    places = [f"{folder}/{name}" for folder in ("/tmp", "/var/tmp", "/dev/shm", tmp_path)]
    with contextlib.ExitStack() as stack:
        home = stack.enter_context(tempfile.NamedTemporaryFile("w", dir=Path.home(), prefix=".canary-"))
        home.write(secret)
        home.flush()
        server = stack.enter_context(socket.create_server(("0.0.0.0", 0)))
        server6 = stack.enter_context(socket.create_server(("::1", 0), family=socket.AF_INET6))
        for address in ("\0" + name, str(tmp_path / "socket")):
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(address)
            listener.listen()
        yield {
            "pid": os.getpid(),
            "secret": secret,
            "name": name,
            "places": places,
            "files": [str(state), home.name],
            "port": server.getsockname()[1],
            "port6": server6.getsockname()[1],
            "address": own_address(),
            "abstract": name,
            "socket": str(tmp_path / "socket"),
            "clone": MACHINES[os.uname().machine].clone,
        }
    for place in places:
        Path(place).unlink(missing_ok=True)


def own_address() -> str:
    """Name an address of this machine that is not its loopback's, where it has one; sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(asking.getsockname()[0])


async def attack(rung: Rung, code: str, workspace: Path, facts: dict[str, Any], limits: Limits = BOUNDS) -> Finished:
    sandbox = Sandbox(rung, allow_unisolated=True)
    program = f"{PRELUDE}\n{code}\nprint('tried')"
    told = json.dumps(facts | {"isolated": sandbox.isolated})
    argv = [sandbox.places(workspace).python, "-I", "-S", "-c", program, told]
    return await sandbox.run(argv, workspace=workspace, limits=limits)


def open_ways(claim: Claim, finished: Finished, workspace: Path, facts: dict[str, Any]) -> list[str]:
    """List what the attack got away with."""
    found = [line for line in finished.output.splitlines() if line.startswith("open:")]
    match claim:
        case Claim.TIME:
            return [] if (finished.timed_out, finished.status) == (True, 137) else ["it outlived its deadline"]
        case Claim.OUTPUT:
            return [] if finished.truncated and len(finished.output) < 2100 else ["all its output was kept"]
        case Claim.DISK:
            size = sum(path.stat().st_size for path in workspace.iterdir())
            return found if finished.out_of_disk else [*found, f"it wrote {size} bytes"]
        case Claim.TOTAL_MEMORY:
            return [] if finished.out_of_memory else [*found, "it took its memory"]
        case Claim.WRITES:
            above = [path / facts["name"] for path in workspace.parents]
            return [*found, *(str(path) for path in [*map(Path, facts["places"]), *above] if path.exists())]
        case Claim.FILE_SIZE:
            kept = (workspace / "big").stat().st_size <= BOUNDS.file_bytes
            return found if kept else [*found, "the file grew"]
    return found


@pytest.mark.parametrize("claim", ATTACKS, ids=lambda claim: claim.name.lower())
@pytest.mark.parametrize("rung", RUNGS)
async def test_sec_21_a_rung_holds_what_it_claims_and_claims_nothing_else(
    rung: Rung, claim: Claim, workspace: Path, facts: dict[str, Any]
) -> None:
    code, limits = ATTACKS[claim]

    finished = await attack(rung, code, workspace, facts, limits)

    found = open_ways(claim, finished, workspace, facts)
    for parent in workspace.parents:
        (parent / facts["name"]).unlink(missing_ok=True)
    if claim not in {Claim.TIME, Claim.DISK, Claim.TOTAL_MEMORY, Claim.OUTPUT}:
        # Not at the end: a process that was cloned where nothing refuses it says as much in its own time.
        assert "tried" in finished.output.splitlines()
    assert (found == []) is (claim in claims(rung)), (found, finished.output)


DAEMON = """
read, ready = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork(): os._exit(0)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT): signal.signal(number, signal.SIG_IGN)
    null = os.open("/dev/null", os.O_RDWR)
    for stream in (0, 1, 2): os.dup2(null, stream)
    beat = open("beat", "wb", 0)
    beat.write(b"alive")
    os.write(ready, b"1")
    open("leave", "rb").read()
    os._exit(0)
os.read(read, 1)
"""


@pytest.mark.parametrize("rung", RUNGS)
async def test_sec_21_a_daemon_survives_only_where_nothing_is_said_of_it(
    rung: Rung, workspace: Path, facts: dict[str, Any]
) -> None:
    beat = hear(workspace / "beat")
    os.mkfifo(workspace / "leave")

    finished = await attack(rung, DAEMON, workspace, facts)

    assert finished.output == "tried\n"
    assert os.read(beat, 5) == b"alive"
    assert (writers(beat) == 0) is (Claim.SURVIVORS in claims(rung))
    if Claim.SURVIVORS not in claims(rung):
        os.close(os.open(workspace / "leave", os.O_WRONLY))
    os.close(beat)


def writers(pipe: int) -> int:
    """Count at least whether somebody still holds the other end of a pipe: an empty one then blocks."""
    try:
        return len(os.read(pipe, 1))
    except BlockingIOError:
        return 1


LINGERING = """
if os.fork() == 0:
    os.setsid()
    time.sleep(10)
    os._exit(0)
while facts["endless"]: signal.pause()
"""


@pytest.mark.slow
@pytest.mark.parametrize("endless", [False, True])
async def test_sec_21_who_lingers_with_the_output_in_hand_detains_nobody(
    workspace: Path, facts: dict[str, Any], *, endless: bool
) -> None:
    limits = replace(BOUNDS, seconds=0.5 if endless else 20)
    began = time.monotonic()

    finished = await attack(Rung.LIMITS, LINGERING, workspace, facts | {"endless": endless}, limits)

    assert finished.timed_out is endless
    assert time.monotonic() - began < 9


@pytest.mark.parametrize("rung", isolating())
async def test_sec_21_no_memory_is_had_that_belongs_to_no_process(
    rung: Rung, workspace: Path, facts: dict[str, Any]
) -> None:
    finished = await attack(rung, HIDDEN_MEMORY, workspace, facts)

    assert finished.output == "tried\n"


@pytest.mark.slow
@pytest.mark.parametrize("rung", isolating())
async def test_sec_21_a_gigabyte_of_output_costs_the_caller_no_memory(
    rung: Rung, workspace: Path, facts: dict[str, Any]
) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    code = "for _ in range(512):\n    for stream in (1, 2): os.write(stream, b'x' * 2**20)"

    finished = await attack(rung, code, workspace, facts, replace(BOUNDS, seconds=60))

    assert (finished.status, finished.truncated, len(finished.output) < 2100) == (0, True, True)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024


@pytest.mark.slow
@pytest.mark.parametrize("rung", isolating())
async def test_sec_21_a_bomb_of_processes_that_all_multiply_ends_at_the_deadline(
    rung: Rung, workspace: Path, facts: dict[str, Any]
) -> None:
    code = "while True:\n    try: os.fork()\n    except OSError: time.sleep(0.01)"

    finished = await attack(rung, code, workspace, facts, replace(BOUNDS, seconds=2, memory_bytes=2000 * MIB))

    assert (finished.timed_out, finished.status) == (True, 137)


def test_every_claim_is_attacked() -> None:
    assert set(Claim) - set(ATTACKS) == {Claim.SURVIVORS}
    assert {rung: len(claims) for rung, claims in CLAIMS.items()} == {"bubblewrap": 15, "unshare": 15, "limits": 6}


def test_the_page_on_the_sandbox_has_the_table_of_the_code() -> None:
    page = (Path(__file__).parents[4] / "docs/sandbox.md").read_text(encoding="utf-8")
    section = page.split("## What each rung promises", 1)[1].split("\n\n")[2]
    rows = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in section.splitlines()]

    assert rows[0] == ("promise", "bubblewrap", "unshare", "limits")
    assert rows[2:] == [(claim.value, *("yes" if claim in CLAIMS[rung] else "no" for rung in Rung)) for claim in Claim]
