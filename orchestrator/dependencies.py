"""New dependencies: what changed manifests declare that was not there, and what the package indexes know of it."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any
from urllib.parse import quote

from orchestrator.codes import Code
from orchestrator.errors import SandboxError
from orchestrator.manifests import (
    Dependency,
    Ecosystem,
    included_in,
    is_manifest,
    is_requirements,
    newly_declared,
)
from orchestrator.sandbox import npm_hosts
from orchestrator.sandbox.index import index_hosts
from orchestrator.state import Finding, ValidationResult, ValidationStatus
from orchestrator.workspace import Workspace

NEW_DEPENDENCIES = "new_dependencies"
YOUNG_DAYS = 14
"""A name whose first release is younger may have been taken because models invent it."""
MAX_LOOK_UPS = 60
MAX_ANSWER_BYTES = 64 * 2**20
_SECONDS = 30.0
_AT_ONCE = 4
_LETTERS = 60
_SOURCE_LETTERS = 200
_TOO_MANY = f"more than {MAX_LOOK_UPS} are new"
_LOCAL = re.compile(r"(?:127\.0\.0\.1|localhost)(?::\d+)?\Z")


@dataclass(frozen=True, slots=True)
class Known:
    """What an index says of a package: its newest version, when its first one was released, and its licence.

    Some mirrors leave times out: `released` is None there, although there is a version.
    """

    version: str
    released: datetime | None
    licence: str


Answer = Known | None | str
"""What is known of a package, None when no index knows the name, or why nobody could be asked."""


def new_dependencies(workspace: Workspace) -> tuple[Dependency, ...]:
    """Return what the manifests among a workspace's changes name and did not name in its base; each name once."""
    base = Workspace(workspace.base)
    changed = {path: content for path, content in workspace.accepted.items() if content is not None}
    pending = [path for path in workspace.paths() if is_requirements(path)]
    followed: set[str] = set()
    while pending:
        path = pending.pop()
        if path not in followed:
            followed.add(path)
            pending += included_in(path, workspace.read(path) or b"")
    manifests = {path: content for path, content in changed.items() if is_manifest(path) or path in followed}
    return newly_declared({path: base.read(path) or b"" for path in manifests}, manifests)


def judge(answers: Mapping[Dependency, Answer], now: datetime) -> ValidationResult:
    """Return what the look-up amounts to; pure.

    Unknown and young names block, and so do foreign sources. An index out of reach does not; names that were too many
    to be looked up count as not run.
    """
    findings: list[Finding] = []
    lines: list[str] = []
    for it, answer in answers.items():
        named = f"{it.name[:_LETTERS] or 'a package'} ({it.ecosystem})"
        if it.source:
            said = f"{named}: comes from {it.source[:_SOURCE_LETTERS]}, and nobody vouches for what that holds."
            said += " Name a package of the index, with a version if need be."
            findings.append(Finding(it.path, it.line, said, code=Code.PRIVATE_SOURCE))
            lines.append(f"{named}: not of the index, but from {it.source[:_SOURCE_LETTERS]}")
            continue
        if isinstance(answer, str):
            lines.append(f"{named}: not looked up, {answer}")
            continue
        if answer is None:
            said = f"{named}: no such package. A model may have made the name up; name another one, or do without."
            findings.append(Finding(it.path, it.line, said, code=Code.DEPENDENCY_UNKNOWN))
            lines.append(f"{named}: does not exist")
            continue
        since = "never released"
        if answer.released is not None:
            since = f"first released {answer.released:%Y-%m-%d}"
        elif answer.version:
            since = "its index does not say since when"
        lines.append(f"{named} {answer.version}: {since}, licence {answer.licence or 'not stated'}")
        young = answer.released is not None and (now - answer.released).days < YOUNG_DAYS
        if young or not answer.version:
            said = f"{named}: {since}, and only what is at least {YOUNG_DAYS} days old is taken. Name another one."
            findings.append(Finding(it.path, it.line, said, code=Code.DEPENDENCY_YOUNG))
    missed = ValidationStatus.NOT_RUN if _TOO_MANY in answers.values() else ValidationStatus.PASSED
    status = ValidationStatus.FAILED if findings else missed
    return ValidationResult(NEW_DEPENDENCIES, status, tuple(findings), "\n".join(lines))


async def check_new_dependencies(
    wanted: Sequence[Dependency], hosts: Sequence[str], now: datetime | None = None
) -> tuple[ValidationResult, ...]:
    """Look up what a change newly depends on; no result where that is nothing.

    `hosts` are the operator's: the first is the index that installs use, and the only one that is asked.
    """
    if not wanted:
        return ()
    answers: dict[Dependency, Answer] = {}
    indexes: dict[Ecosystem, str] = {}
    for ecosystem in {it.ecosystem for it in wanted if not it.source}:
        try:
            own = hosts or await (npm_hosts() if ecosystem is Ecosystem.NPM else index_hosts())
        except (SandboxError, TimeoutError) as error:
            answers |= {it: str(error) for it in wanted if it.ecosystem is ecosystem}
        else:
            indexes[ecosystem] = base_url(own[0])
    answers |= await look_up([it for it in wanted if it not in answers], indexes)
    return (judge({it: answers[it] for it in wanted}, now or datetime.now(UTC)),)


def base_url(host: str) -> str:
    """Return the address of an index: https, unless it is on this machine (SECURITY 25)."""
    return f"{'http' if _LOCAL.match(host) else 'https'}://{host}"


async def look_up(wanted: Sequence[Dependency], indexes: Mapping[Ecosystem, str]) -> dict[Dependency, Answer]:
    """Ask the index of each kind, without any key, what it knows; what is not of an index is asked of nobody."""
    import httpx2

    turn = asyncio.Semaphore(_AT_ONCE)

    async def one(client: httpx2.AsyncClient, it: Dependency) -> Answer:
        async with turn:
            try:
                async with asyncio.timeout(_SECONDS):
                    body = await _asked(client, f"{indexes[it.ecosystem]}{_place(it)}")
                return None if body is None else await asyncio.to_thread(_known, it.ecosystem, body)
            except (httpx2.HTTPError, TimeoutError, ValueError, RecursionError) as error:
                return f"the index does not answer as it should ({type(error).__name__})"

    of_index = [it for it in wanted if not it.source]
    # To read all certificates takes long enough that every other run would wait for it.
    certificates = await asyncio.to_thread(_certificates)
    async with (
        httpx2.AsyncClient(follow_redirects=False, verify=certificates) as client,
        asyncio.TaskGroup() as group,
    ):
        asked = {it: group.create_task(one(client, it)) for it in of_index[:MAX_LOOK_UPS]}
    found = {it: task.result() for it, task in asked.items()}
    return {it: found.get(it, "not of an index" if it.source else _TOO_MANY) for it in wanted}


@cache
def _certificates() -> ssl.SSLContext:
    import httpx2

    return httpx2.create_ssl_context()


async def _asked(client: Any, address: str) -> bytes | None:
    """Return what an index answers, None for a name that it does not know; raises `ValueError` for all else."""
    async with client.stream("GET", address, headers={"Accept": "application/json"}) as answer:
        if answer.status_code == 404:
            return None
        if answer.status_code != 200:
            raise ValueError(f"status {answer.status_code}")
        body = bytearray()
        async for chunk in answer.aiter_bytes():
            body += chunk
            if len(body) > MAX_ANSWER_BYTES:
                raise ValueError("the answer is too long")
    return bytes(body)


def _known(ecosystem: Ecosystem, body: bytes) -> Known:
    """Return what an index knows by its answer, which may hold millions of letters; raises `ValueError` for none."""
    document = json.loads(body)
    if not isinstance(document, dict):
        raise ValueError("no object")
    return _READERS[ecosystem](document)


def _place(it: Dependency) -> str:
    # https://docs.pypi.org/api/json/ and https://github.com/npm/registry/blob/main/docs/REGISTRY-API.md
    return f"/pypi/{quote(it.name, safe='')}/json" if it.ecosystem is Ecosystem.PYPI else f"/{quote(it.name, safe='@')}"


def _known_of_pypi(document: dict[str, Any]) -> Known:
    info, releases = _table(document.get("info")), _table(document.get("releases"))
    files = (file for listed in releases.values() if isinstance(listed, list) for file in listed)
    times = [at for file in files if (at := _time(_table(file).get("upload_time_iso_8601")))]
    marks = [it for it in info.get("classifiers") or () if isinstance(it, str) and it.startswith("License :: ")]
    licence = info.get("license_expression") or (marks[-1].rpartition(" :: ")[2] if marks else info.get("license"))
    return Known(_word(info.get("version")), min(times, default=None), _word(licence))


def _known_of_npm(document: dict[str, Any]) -> Known:
    licence = document.get("license")
    named = licence.get("type") if isinstance(licence, dict) else licence
    newest = _table(document.get("dist-tags")).get("latest")
    return Known(_word(newest), _time(_table(document.get("time")).get("created")), _word(named))


_READERS = {Ecosystem.PYPI: _known_of_pypi, Ecosystem.NPM: _known_of_npm}


def _word(value: object) -> str:
    return " ".join(value.split())[:_LETTERS] if isinstance(value, str) else ""


def _time(value: object) -> datetime | None:
    try:
        at = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return at.replace(tzinfo=UTC) if at and at.tzinfo is None else at


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
