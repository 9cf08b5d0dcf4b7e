"""SECURITY 22: the only way out of the sandbox leads to the package index, and nowhere private."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.sandbox import Limits, PackageIndex, Sandbox, npm_hosts, pip_location
from orchestrator.sandbox.index import index_hosts, is_private, requested_host

CONNECT = """
import os, socket, sys, urllib.parse
host, port = urllib.parse.urlsplit(os.environ["HTTPS_PROXY"]).netloc.split(":")
with socket.create_connection((host, int(port)), 5) as proxy:
    proxy.sendall(sys.argv[1].encode().decode("unicode_escape").encode())
    print(proxy.recv(200).decode().splitlines()[0])
"""


async def ask(sandbox: Sandbox, workspace: Path, request: str, index: PackageIndex = PackageIndex.PYPI) -> str:
    argv = [sandbox.places(workspace).python, "-I", "-S", "-c", CONNECT, request]
    finished = await sandbox.run(argv, workspace=workspace, package_index=index, limits=Limits(seconds=30))
    return finished.output.strip()


async def test_sec_22_a_host_of_the_index_is_let_through(sandbox: Sandbox, workspace: Path) -> None:
    host = (await index_hosts())[0]

    answer = await ask(sandbox, workspace, f"CONNECT {host}:443 HTTP/1.1\\r\\n\\r\\n")

    assert answer == "HTTP/1.1 200 Connection established"


@pytest.mark.parametrize(
    "request_line",
    [
        "CONNECT example.com:443 HTTP/1.1",
        "CONNECT INDEX:80 HTTP/1.1",
        "GET http://INDEX/ HTTP/1.1",
        "CONNECT [::1]:443 HTTP/1.1",
    ],
)
async def test_sec_22_every_other_request_is_refused(sandbox: Sandbox, workspace: Path, request_line: str) -> None:
    host = (await index_hosts())[0]

    answer = await ask(sandbox, workspace, request_line.replace("INDEX", host) + "\\r\\n\\r\\n")

    assert answer == "HTTP/1.1 403 Forbidden"


async def test_sec_22_an_allowed_name_with_a_private_address_is_refused(workspace: Path, sandbox: Sandbox) -> None:
    trusting = Sandbox(sandbox.rung, hosts=["localhost"])

    answer = await ask(trusting, workspace, "CONNECT localhost:443 HTTP/1.1\\r\\n\\r\\n")

    assert answer == "HTTP/1.1 403 Forbidden"


@pytest.fixture
def deep_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))


@pytest.mark.usefixtures("deep_temporary_folder")
async def test_the_way_out_works_below_a_temporary_folder_however_deep(sandbox: Sandbox, workspace: Path) -> None:
    assert await ask(sandbox, workspace, "GET http://x/ HTTP/1.1\\r\\n\\r\\n") == "HTTP/1.1 403 Forbidden"


async def test_sec_22_without_being_asked_for_there_is_no_way_out(sandbox: Sandbox, workspace: Path) -> None:
    finished = await sandbox.run(["/bin/sh", "-c", "ls /run; env"], workspace=workspace)

    assert "index.sock" not in finished.output
    assert "PROXY" not in finished.output


async def test_the_status_of_the_program_comes_through_the_relay(sandbox: Sandbox, workspace: Path) -> None:
    finished = await sandbox.run(["/bin/sh", "-c", "exit 9"], workspace=workspace, package_index=PackageIndex.PYPI)

    assert finished.status == 9


@pytest.mark.node
@pytest.mark.slow
async def test_sec_22_who_is_let_out_to_one_index_does_not_reach_the_other(sandbox: Sandbox, workspace: Path) -> None:
    (npm,), (pypi, _) = await npm_hosts(), await index_hosts()

    assert await ask(sandbox, workspace, f"CONNECT {npm}:443 HTTP/1.1\\r\\n\\r\\n") == "HTTP/1.1 403 Forbidden"
    assert await ask(sandbox, workspace, f"CONNECT {pypi}:443 HTTP/1.1\\r\\n\\r\\n", PackageIndex.NPM) == (
        "HTTP/1.1 403 Forbidden"
    )
    assert await ask(sandbox, workspace, f"CONNECT {npm}:443 HTTP/1.1\\r\\n\\r\\n", PackageIndex.NPM) == (
        "HTTP/1.1 200 Connection established"
    )


async def test_pip_names_two_hosts_and_is_found_where_it_can_be_run() -> None:
    hosts = await index_hosts()

    assert len(hosts) == 2
    assert pip_location().exists()


ASKED_THREE_TIMES = """
import asyncio, sys
from orchestrator.sandbox.{module} import {name}

started = []
sys.addaudithook(lambda event, _: started.append(event) if event == "subprocess.Popen" else None)
told = [asyncio.run({name}()) for _ in range(3)]
print(len(started), len(set(told)))
"""


@pytest.mark.parametrize(
    ("module", "name"), [("index", "index_hosts"), pytest.param("node", "npm_hosts", marks=pytest.mark.node)]
)
async def test_a_package_manager_is_asked_once_a_process_whichever_event_loop_asks(module: str, name: str) -> None:
    program = ASKED_THREE_TIMES.format(module=module, name=name)
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()

    assert said == b"1 1\n"


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "172.31.0.1", "192.168.0.9", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
     "::1", "::", "fe80::1%eth0", "fd00::1", "ff02::1", "::ffff:10.0.0.1", "2002:7f00:1::"],
)  # fmt: skip
def test_sec_22_addresses_of_somebodys_inside_are_private(address: str) -> None:
    assert is_private(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "151.101.0.223", "172.32.0.1", "2a04:4e42::223"])
def test_addresses_of_the_world_are_not_private(address: str) -> None:
    assert not is_private(address)


@pytest.mark.parametrize(("asked", "host"), [("443", "index.example"), ("8443", "index.example:8443")])
def test_the_host_is_read_in_small_letters_with_a_port_of_its_own(asked: str, host: str) -> None:
    assert requested_host(f"CONNECT Index.Example:{asked} HTTP/1.1\r\nHost: x\r\n\r\n".encode()) == host


@given(st.binary(max_size=200))
def test_no_request_but_connect_names_a_host(head: bytes) -> None:
    assert requested_host(head) is None or (head[:8].upper() == b"CONNECT " and b" HTTP/1." in head)


async def test_sec_22_the_operators_hosts_stand_in_place_of_the_public_index(sandbox: Sandbox, workspace: Path) -> None:
    host = (await index_hosts())[0]
    own = Sandbox(sandbox.rung, hosts=["packages.invalid:8443"])

    answer = await ask(own, workspace, f"CONNECT {host}:443 HTTP/1.1\\r\\n\\r\\n")

    assert answer == "HTTP/1.1 403 Forbidden"
