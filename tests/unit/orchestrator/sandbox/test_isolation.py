"""SECURITY 21: generated code attacks each rung that claims isolation, forced in turn."""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import sys
import tempfile
import time
from pathlib import Path

import pytest

from orchestrator.sandbox import MIB, Finished, Limits, Sandbox

QUICK = Limits(seconds=20)


async def python(sandbox: Sandbox, workspace: Path, code: str, limits: Limits = QUICK) -> Finished:
    argv = [sandbox.places(workspace).python, "-I", "-S", "-c", code]
    return await sandbox.run(argv, workspace=workspace, limits=limits)


async def test_a_program_runs_in_its_workspace_and_leaves_its_files_there(sandbox: Sandbox, workspace: Path) -> None:
    finished = await python(sandbox, workspace, "import os; open('made', 'w').write('x'); print(os.getcwd())")

    assert finished == Finished(status=0, output="/workspace\n")
    assert (workspace / "made").read_text() == "x"


async def test_streams_are_interleaved_and_the_exit_status_is_kept(sandbox: Sandbox, workspace: Path) -> None:
    finished = await sandbox.run(["/bin/sh", "-c", "echo a; echo b >&2; echo c; exit 7"], workspace=workspace)

    assert (finished.status, finished.output) == (7, "a\nb\nc\n")


async def test_death_by_a_signal_is_128_and_its_number(sandbox: Sandbox, workspace: Path) -> None:
    finished = await sandbox.run(["/bin/sh", "-c", "kill -ABRT $$"], workspace=workspace)

    assert finished.status == 134


async def test_sec_21_a_loopback_server_of_the_host_cannot_be_reached(sandbox: Sandbox, workspace: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code = f"import socket; socket.create_connection(('127.0.0.1', {port}), 3)"

        finished = await python(sandbox, workspace, code)

        assert "ConnectionRefusedError" in finished.output


async def test_sec_21_no_other_network_exists_and_names_are_not_resolved(sandbox: Sandbox, workspace: Path) -> None:
    code = (
        "import socket\n"
        "print([name for _, name in socket.if_nameindex()])\n"
        "try: socket.create_connection(('192.0.2.1', 443), 3)\n"
        "except OSError as error: print(type(error).__name__, error.errno)\n"
        "try: socket.getaddrinfo('example.com', 443)\n"
        "except OSError as error: print(type(error).__name__)"
    )

    finished = await python(sandbox, workspace, code)

    assert finished.output == "['lo']\nOSError 101\ngaierror\n"


async def test_sec_21_its_own_loopback_works_for_tests_that_need_a_server(sandbox: Sandbox, workspace: Path) -> None:
    code = (
        "import socket\n"
        "server = socket.create_server(('127.0.0.1', 0))\n"
        "socket.create_connection(server.getsockname(), 3)\n"
        "print('connected')"
    )

    finished = await python(sandbox, workspace, code)

    assert finished.output == "connected\n"


async def test_sec_21_no_key_is_in_any_readable_environment(
    sandbox: Sandbox, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary-in-the-environment")
    code = (
        "import glob, os\n"
        "found = [str(dict(os.environ))]\n"
        "places = ('/proc/*/environ', '/proc/*/cmdline', '/proc/*/task/*/environ')\n"
        "for path in sum(map(glob.glob, places), []):\n"
        "    try: found.append(open(path, 'rb').read().decode())\n"
        "    except OSError: pass\n"
        "print('sk-can' 'ary' in str(found), len(found) > 1)"
    )

    finished = await python(sandbox, workspace, code)

    assert finished.output == "False True\n"


async def test_sec_21_the_callers_kernel_keyring_is_out_of_reach(sandbox: Sandbox, workspace: Path) -> None:
    libc = ctypes.CDLL(None)
    add, request = (248, 249) if os.uname().machine == "x86_64" else (217, 218)  # add_key(2), request_key(2)
    find = f"libc.syscall(ctypes.c_long({request}), b'user', b'canary', None, ctypes.c_int(0)) > 0"
    ours = libc.syscall(ctypes.c_long(add), b"user", b"canary", b"secret", ctypes.c_long(6), ctypes.c_int(-3))

    finished = await python(sandbox, workspace, f"import ctypes; libc = ctypes.CDLL(None); print({find})")

    assert finished.output == "False\n"
    assert libc.syscall(ctypes.c_long(request), b"user", b"canary", None, ctypes.c_int(0)) == ours


async def test_sec_21_only_named_variables_are_set(sandbox: Sandbox, workspace: Path) -> None:
    finished = await sandbox.run(
        ["/usr/bin/env", "-u", "SSL_CERT_FILE", "-u", "REQUESTS_CA_BUNDLE", "-u", "NODE_EXTRA_CA_CERTS"],
        workspace=workspace,
        environment={"COLOUR": "blue"},
    )

    assert sorted(line.partition("=")[0] for line in finished.output.splitlines()) == [
        "COLOUR", "HOME", "LANG", "PATH", "PWD", "PYTHONDONTWRITEBYTECODE", "TMPDIR",
    ]  # fmt: skip


async def test_sec_21_files_of_the_caller_cannot_be_read(sandbox: Sandbox, workspace: Path) -> None:
    with tempfile.NamedTemporaryFile("w", dir=Path.home(), prefix=".canary-") as canary:
        canary.write("secret")
        canary.flush()
        os.chmod(canary.name, 0o644)
        paths = [canary.name, "/etc/shadow", str(Path(__file__)), f"/proc/1/root{canary.name}", "/proc/kcore"]
        code = (
            "for path in " + repr(paths) + ":\n"
            "    try: print(len(open(path, 'rb').read(1)))\n"
            "    except OSError as error: print(type(error).__name__)"
        )

        finished = await python(sandbox, workspace, code)

        assert set(finished.output.split()) <= {"FileNotFoundError", "PermissionError"}
        assert len(finished.output.split()) == 5


async def test_sec_21_nothing_can_be_written_outside(sandbox: Sandbox, workspace: Path) -> None:
    places = [
        "/",
        "/usr",
        "/etc",
        "/deps",
        "/run",
        "/dev",
        "/proc/sys/kernel",
        "/tools",
        "/usr/bin",
        "/home",
        "/usr/lib/python3/dist-packages",
    ]
    code = (
        "import os\n"
        f"for place in {places!r}:\n"
        "    try: open(os.path.join(place, 'made'), 'w'); print('wrote to', place)\n"
        "    except OSError: pass\n"
        "for path in ('/proc/sys/kernel/core_pattern', '/proc/sysrq-trigger', '/usr/bin/env', '/run/relay.py'):\n"
        "    try: open(path, 'r+'); print('opened', path)\n"
        "    except OSError: pass"
    )

    finished = await python(sandbox, workspace, code)

    assert finished == Finished(status=0, output="")


async def test_sec_21_a_link_in_the_workspace_leads_nowhere_outside(
    sandbox: Sandbox, workspace: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.write_text("untouched")
    owner = outside.stat().st_uid
    (workspace / "link").symlink_to(outside)
    (workspace / "folder").symlink_to(tmp_path)

    await python(sandbox, workspace, "open('link', 'w').write('overwritten')")
    await python(sandbox, workspace, "open('folder/outside', 'w').write('overwritten')")

    assert (outside.read_text(), outside.stat().st_uid) == ("untouched", owner)


async def test_sec_21_read_only_paths_can_be_read_and_not_written(
    sandbox: Sandbox, workspace: Path, tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second.txt"
    first.mkdir()
    (first / "a").write_text("one\n")
    second.write_text("two\n")
    for path in (tmp_path, first):
        path.chmod(0o755)
    command = "cat /deps/0/a /deps/1; echo x 2>/dev/null > /deps/0/b || echo x 2>/dev/null > /deps/1 || echo no"

    finished = await sandbox.run(["/bin/sh", "-c", command], workspace=workspace, read_only=[first, second])

    assert sandbox.places(workspace, [first, second]).read_only == ("/deps/0", "/deps/1")
    assert finished.output == "one\ntwo\nno\n"


async def test_sec_21_none_of_our_packages_can_be_imported(sandbox: Sandbox, workspace: Path) -> None:
    code = (
        "import importlib.util\n"
        "names = ('orchestrator', 'openai', 'pytest', 'pip', 'yaml')\n"
        "print([name for name in names if importlib.util.find_spec(name)])"
    )
    argv = [sandbox.places(workspace).python, "-c", code]

    finished = await sandbox.run(argv, workspace=workspace)

    assert finished.output == "[]\n"


async def test_sec_21_it_is_an_ordinary_user_without_a_way_to_become_more(sandbox: Sandbox, workspace: Path) -> None:
    code = (
        "import ctypes, os, re\n"
        "status = open('/proc/self/status').read()\n"
        "empty = re.findall(r'Cap(?:Prm|Eff|Bnd|Amb):\\s+0+\\n', status)\n"
        "print(os.getuid(), len(empty), 'NoNewPrivs:\\t1' in status)\n"
        "print(ctypes.CDLL(None).unshare(0x10000000))"
    )

    finished = await python(sandbox, workspace, code)

    assert finished.output == "65534 4 True\n-1\n"


async def test_sec_21_a_fork_bomb_is_contained(sandbox: Sandbox, workspace: Path) -> None:
    code = (
        "import os, time\n"
        "made = 0\n"
        "while made < 2000:\n"
        "    try: child = os.fork()\n"
        "    except BlockingIOError: break\n"
        "    if child == 0: time.sleep(60); os._exit(0)\n"
        "    made += 1\n"
        "print(made)"
    )

    finished = await python(sandbox, workspace, code, Limits(seconds=20, processes=50))

    assert 20 < int(finished.output) < 50
    assert finished.status == 0


async def test_sec_21_one_process_cannot_take_more_memory_than_allowed(sandbox: Sandbox, workspace: Path) -> None:
    finished = await python(sandbox, workspace, "bytearray(300 * 2**20)", Limits(seconds=20, memory_bytes=200 * MIB))

    assert "MemoryError" in finished.output


async def test_sec_21_many_processes_cannot_take_more_together(sandbox: Sandbox, workspace: Path) -> None:
    code = (
        "import os, time\n"
        "for _ in range(6):\n"
        "    if os.fork() == 0: hog = b'x' * (100 * 2**20); time.sleep(60)\n"
        "time.sleep(60)"
    )

    finished = await python(sandbox, workspace, code, Limits(seconds=30, memory_bytes=250 * MIB))

    assert (finished.out_of_memory, finished.timed_out, finished.status) == (True, False, 137)


async def test_sec_21_output_is_cut_in_the_middle(sandbox: Sandbox, workspace: Path) -> None:
    code = "print('first'); print('x' * 30_000_000); print('last')"

    finished = await python(sandbox, workspace, code, Limits(seconds=20, output_bytes=2000))

    assert finished.truncated
    assert finished.output.startswith("first\nxxx")
    assert finished.output.endswith("xxx\nlast\n")
    assert "[... 29998012 bytes cut out ...]" in finished.output


async def test_sec_21_a_file_cannot_grow_beyond_its_limit(sandbox: Sandbox, workspace: Path) -> None:
    code = "open('big', 'wb').write(b'x' * 3_000_000)"

    finished = await python(sandbox, workspace, code, Limits(seconds=20, file_bytes=1 * MIB))

    assert "File too large" in finished.output
    assert (workspace / "big").stat().st_size == 1 * MIB


async def test_sec_21_temporary_files_cannot_fill_the_memory(sandbox: Sandbox, workspace: Path) -> None:
    code = (
        "for place in ('/tmp', '/home/user', '/dev/shm'):\n"
        "    try:\n"
        "        for number in range(200): open(f'{place}/{number}', 'wb').write(b'x' * 2**20)\n"
        "    except OSError as error: print(error.strerror)"
    )

    finished = await python(sandbox, workspace, code, Limits(seconds=20, file_bytes=20 * MIB))

    assert finished.output == "No space left on device\n" * 3


BEAT = "beat = open('beat', 'w', buffering=1)\nwhile True: beat.write('x\\n'); time.sleep(0.01)"


async def test_sec_21_the_deadline_kills_daemons_that_ignore_signals(sandbox: Sandbox, workspace: Path) -> None:
    beat = hear(workspace / "beat")
    code = (
        "import os, signal, time\n"
        "for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP): signal.signal(number, signal.SIG_IGN)\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork(): os._exit(0)\n"
        f"    exec({BEAT!r})\n"
        "time.sleep(60)"
    )
    started = time.monotonic()

    finished = await python(sandbox, workspace, code, Limits(seconds=1.5))

    assert (finished.timed_out, finished.status) == (True, 137)
    assert time.monotonic() - started < 6
    assert (await last_words(beat)).startswith(b"x\n")


async def test_sec_21_nothing_survives_the_end_of_the_program(sandbox: Sandbox, workspace: Path) -> None:
    beat = hear(workspace / "beat")
    code = (
        "import os, time\n"
        "ready, go = os.pipe()\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    null = os.open('/dev/null', os.O_RDWR)\n"
        "    for stream in (0, 1, 2): os.dup2(null, stream)\n"
        "    beat = open('beat', 'w', buffering=1); beat.write('x\\n'); os.write(go, b'1')\n"
        f"    exec({BEAT!r})\n"
        "os.read(ready, 1)"
    )

    finished = await python(sandbox, workspace, code)

    assert (finished.status, finished.timed_out) == (0, False)
    assert (await last_words(beat)).startswith(b"x\n")


async def test_sec_21_cancelling_the_caller_ends_the_program(sandbox: Sandbox, workspace: Path) -> None:
    beat = hear(workspace / "beat")
    started = asyncio.Event()
    asyncio.get_running_loop().add_reader(beat, started.set)
    task = asyncio.create_task(python(sandbox, workspace, f"import time\n{BEAT}"))
    await started.wait()
    asyncio.get_running_loop().remove_reader(beat)

    task.cancel()
    await asyncio.wait({task})

    assert task.cancelled()
    assert (await last_words(beat)).startswith(b"x\n")


CALLER = """
import asyncio, sys
from pathlib import Path
from orchestrator.sandbox import Rung, Sandbox
sandbox, workspace = Sandbox(Rung(sys.argv[1])), Path(sys.argv[2])
asyncio.run(sandbox.run([sandbox.places(workspace).python, "-c", sys.argv[3]], workspace=workspace))
"""


async def test_sec_21_the_program_ends_when_its_caller_is_killed(sandbox: Sandbox, workspace: Path) -> None:
    beat = hear(workspace / "beat")
    started = asyncio.Event()
    asyncio.get_running_loop().add_reader(beat, started.set)
    caller = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CALLER, sandbox.rung, workspace, f"import time\n{BEAT}",
        cwd=Path(__file__).parents[4], env={**os.environ, "TMPDIR": str(workspace.parent)},
    )  # fmt: skip
    await started.wait()
    asyncio.get_running_loop().remove_reader(beat)

    caller.kill()
    await caller.wait()

    assert (await last_words(beat)).startswith(b"x\n")


def hear(path: Path) -> int:
    """Make a named pipe; its reading end sees the end of the file when the last process that writes to it is gone."""
    os.mkfifo(path)
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK)


async def last_words(beat: int) -> bytes:
    """Read until no writer lives; the deadline fails the test when one survives."""
    os.set_blocking(beat, True)
    with os.fdopen(beat, "rb") as stream:
        async with asyncio.timeout(5):
            return await asyncio.to_thread(stream.read)
