"""SECURITY 23: what a change newly depends on is looked up, and what does not exist or is days old blocks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.checks import Checker
from orchestrator.dependencies import Known, judge, look_up, new_dependencies
from orchestrator.github.rendering.report import review_section
from orchestrator.manifests import Dependency, Ecosystem, declared_in
from orchestrator.sandbox import Sandbox, open_sandbox
from orchestrator.sections import ValidationSpec
from orchestrator.state import ValidationStatus
from orchestrator.workspace import Workspace
from tests.unit.orchestrator.github.states import completed

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def of_pypi(released: datetime, licence: str = "MIT") -> dict[str, Any]:
    files = [{"upload_time_iso_8601": released.isoformat()}]
    later = [{"upload_time_iso_8601": (released + timedelta(days=1)).isoformat()}]
    return {"info": {"version": "2.0", "license_expression": licence}, "releases": {"2.0": later, "1.0": files}}


def of_npm(created: datetime) -> dict[str, Any]:
    return {"dist-tags": {"latest": "5.1.0"}, "time": {"created": created.isoformat()}, "license": "ISC"}


@asynccontextmanager
async def index(packages: Mapping[str, object]) -> AsyncIterator[tuple[str, list[str]]]:
    """Serve documents by path over real HTTP on loopback; gives `host:port`, and the heads of the requests."""
    asked: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        asked.append(head)
        known = packages.get(head.split()[1])
        body = known if isinstance(known, bytes) else json.dumps(known or {}).encode()
        status = "404 Not Found" if known is None else "200 OK"
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", asked


def named(name: str, ecosystem: Ecosystem = Ecosystem.PYPI) -> Dependency:
    return Dependency(ecosystem, name, "requirements.txt", 1)


async def test_sec_23_unknown_and_young_names_block_and_everything_is_listed_with_age_and_licence() -> None:
    old, young, made_up, lib = named("old"), named("young"), named("made-up"), named("@o/lib", Ecosystem.NPM)
    packages = {
        "/pypi/old/json": of_pypi(NOW - timedelta(days=400), "Apache-2.0"),
        "/pypi/young/json": of_pypi(NOW - timedelta(days=13)),
        "/@o%2Flib": of_npm(NOW - timedelta(days=14)),
    }
    async with index(packages) as (host, asked):
        bases = dict.fromkeys(Ecosystem, f"http://{host}")
        judged = judge(await look_up([old, young, made_up, lib], bases), NOW)
    assert judged.status is ValidationStatus.FAILED
    assert judged.detail.splitlines() == [
        "old (PyPI) 2.0: first released 2025-01-25, licence Apache-2.0",
        "young (PyPI) 2.0: first released 2026-02-16, licence MIT",
        "made-up (PyPI): does not exist",
        "@o/lib (npm) 5.1.0: first released 2026-02-15, licence ISC",
    ]
    assert [(it.code, it.severity) for it in judged.findings] == [
        ("dependency_young", "error"),
        ("dependency_unknown", "error"),
    ]
    assert not any("authorization" in head.lower() or "cookie" in head.lower() for head in asked)
    section = review_section(replace(completed(), validation=(judged,)))
    assert "- made-up (PyPI): does not exist" in section


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b"[" * 100_000])
async def test_sec_23_an_index_that_does_not_answer_is_said_and_does_not_block(answer: bytes) -> None:
    async with index({"/pypi/some/json": answer}) as (host, _):
        judged = judge(await look_up([named("some")], dict.fromkeys(Ecosystem, f"http://{host}")), NOW)
    assert judged.passed
    assert judged.detail.startswith("some (PyPI): not looked up, the index does not answer as it should")


async def test_sec_23_names_that_are_too_many_to_be_looked_up_count_as_not_run_and_are_said() -> None:
    wanted = [named(f"some{number}") for number in range(61)]
    packages = {f"/pypi/{it.name}/json": of_pypi(NOW - timedelta(days=90)) for it in wanted}
    async with index(packages) as (host, asked):
        judged = judge(await look_up(wanted, {Ecosystem.PYPI: f"http://{host}"}), NOW)
    assert (judged.status, len(asked)) == (ValidationStatus.NOT_RUN, 60)
    assert judged.detail.splitlines()[-1] == "some60 (PyPI): not looked up, more than 60 are new"


async def test_sec_23_what_comes_from_elsewhere_than_the_index_blocks_and_nobody_is_asked_about_it() -> None:
    evil = Dependency(Ecosystem.NPM, "left-pad", "package.json", 4, "github:evil/x")
    async with index({"/left-pad": of_npm(NOW - timedelta(days=900))}) as (host, asked):
        judged = judge(await look_up([evil], {Ecosystem.NPM: f"http://{host}"}), NOW)
    (found,) = judged.findings
    assert (judged.status, asked) == (ValidationStatus.FAILED, [])
    assert (found.code, found.path, found.line) == ("private_source", "package.json", 4)
    assert judged.detail == "left-pad (npm): not of the index, but from github:evil/x"


@pytest.mark.slow
async def test_sec_23_a_run_s_check_of_the_whole_asks_the_operators_index_whatever_the_spec_validates(
    tmp_path: Path,
) -> None:
    (tmp_path / "requirements.txt").write_text("known\n")
    workspace = Workspace(tmp_path, {"requirements.txt": b"known\nFresh.Name>=1\n"})
    async with index({"/pypi/fresh-name/json": of_pypi(datetime.now(UTC))}) as (host, asked):
        sandbox = Sandbox((await open_sandbox()).rung, hosts=[host])
        async with Checker.open(sandbox, ValidationSpec(validators=("python_syntax",))) as checker:
            results = await checker.check(workspace, None)
    (found,) = results[-1].findings
    assert (results[-1].validator, found.path, found.line) == ("new_dependencies", "requirements.txt", 2)
    assert found.code == "dependency_young"
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("known", "status", "said"),
    [
        (Known("19.3.1", None, "MIT"), "passed", "react (npm) 19.3.1: its index does not say since when, licence MIT"),
        (Known("", None, ""), "failed", "react (npm) : never released, licence not stated"),
    ],
)
def test_sec_23_a_mirror_that_leaves_times_out_is_said_and_blocks_nothing_that_was_released(
    known: Known, status: str, said: str
) -> None:
    judged = judge({Dependency(Ecosystem.NPM, "react", "package.json", 3): known}, NOW)
    assert (judged.status.value, judged.detail) == (status, said)


def test_only_what_the_base_did_not_name_is_new_in_folders_too(tmp_path: Path) -> None:
    (tmp_path / "api").mkdir()
    (tmp_path / "api/pyproject.toml").write_text('[project]\nname = "own"\ndependencies = ["httpx"]\n')
    changes = {
        "api/pyproject.toml": b'[project]\nname = "own"\ndependencies = ["httpx>=1", "Flask[async]", "own[test]"]\n'
        b'optional-dependencies = {x = ["rich"]}\n[dependency-groups]\ndev = ["pytest", {include-group = "x"}]\n'
        b'[build-system]\nrequires = ["hatchling"]\n',
        "web/package.json": b'{"dependencies": {"next": "15", "alias": "npm:@o/real@1", "../x": "1"}}',
        "requirements-dev.txt": b"-r other.txt\nruff==1 --hash=sha256:0\n./local\n# none\n",
        "other.txt": b"included\n",
        "notes.txt": b"requests\n",
        "old/requirements.txt": None,
    }
    found = [(it.ecosystem.value, it.name, it.line) for it in new_dependencies(Workspace(tmp_path, changes))]
    assert found == [
        ("PyPI", "flask", 3),
        ("PyPI", "hatchling", 8),
        ("PyPI", "rich", 4),
        ("PyPI", "pytest", 6),
        ("PyPI", "included", 1),
        ("PyPI", "ruff", 2),
        ("npm", "next", 1),
        ("npm", "@o/real", 1),
    ]


def test_sec_23_a_file_that_standing_requirements_include_is_a_manifest_too(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("-r more/deps.txt\n")
    (tmp_path / "more").mkdir()
    (tmp_path / "more/deps.txt").write_text("known\n-c pins\n")
    changes = {"more/deps.txt": b"known\nfresh\n-c pins\n", "more/pins": b"pinned==1\n"}
    found = [(it.path, it.name) for it in new_dependencies(Workspace(tmp_path, changes))]
    assert found == [("more/deps.txt", "fresh"), ("more/pins", "pinned")]


@given(
    st.sampled_from(
        ["package.json", "package-lock.json", "pyproject.toml", "Pipfile", "setup.cfg", "requirements.txt"]
    ),
    st.binary() | st.text().map(str.encode),
)
def test_sec_23_a_manifest_however_strange_is_read_and_names_only_what_is_a_name(path: str, content: bytes) -> None:
    legal: Callable[[str], bool] = lambda name: name == name.strip() and not set(name) & set("?#\\%: \n")  # noqa: E731
    assert all(legal(it.name) for it in declared_in(path, content))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("pyproject.toml", f"a = {'[' * 100_000}"),
        ("pyproject.toml", f"a = {'1' * 5000}"),
        ("pyproject.toml", f'[project]\ndependencies = ["a; {"(" * 1500}"]'),
        ("requirements.txt", f"a; {'(' * 1900}"),
        ("requirements.txt", f"a{' ' * 200_000}b"),
        ("package.json", "[" * 100_000),
    ],
)
def test_a_manifest_made_to_break_its_reader_names_nothing(path: str, text: str) -> None:
    assert declared_in(path, text.encode()) == ()
