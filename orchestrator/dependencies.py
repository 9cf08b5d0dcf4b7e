"""New dependencies: what changed manifests declare that was not there, and what the package indexes know of it."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from orchestrator.codes import Code
from orchestrator.errors import SandboxError
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
# As the install reads them: a longer one is not installed.
_REQUIREMENT_LETTERS = 2000
_KINDS = ("dependencies", "devDependencies", "optionalDependencies", "peerDependencies")
_NPM_NAME = re.compile(r"(?:@[a-z0-9][a-z0-9._~-]*/)?[A-Za-z0-9][A-Za-z0-9._~-]*")
_LOCAL = re.compile(r"(?:127\.0\.0\.1|localhost)(?::\d+)?\Z")


class Ecosystem(StrEnum):
    """Which index knows a name."""

    PYPI = "PyPI"
    NPM = "npm"


@dataclass(frozen=True, slots=True)
class Dependency:
    """A package that a manifest names at a line."""

    ecosystem: Ecosystem
    name: str
    path: str
    line: int


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
    manifests = {path: text for path, text in workspace.accepted.items() if text is not None and is_manifest(path)}
    return newly_declared({path: base.read(path) or b"" for path in manifests}, manifests)


def newly_declared(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> tuple[Dependency, ...]:
    """Return what manifests, by their paths, name and did not name before; each name once, pure."""
    found: dict[tuple[Ecosystem, str], Dependency] = {}
    for path, content in sorted(after.items()):
        known = {it.name for it in declared_in(path, before.get(path, b""))}
        for it in declared_in(path, content):
            if it.name not in known:
                found.setdefault((it.ecosystem, it.name), it)
    return tuple(found.values())


def declared_in(path: str, content: bytes) -> tuple[Dependency, ...]:
    """Return the packages of an index that a manifest names; what cannot be parsed names nothing."""
    text = content.decode("utf-8", "replace")
    name = PurePosixPath(path).name
    ecosystem = Ecosystem.NPM if name == "package.json" else Ecosystem.PYPI
    read = {"package.json": _npm, "pyproject.toml": _pyproject}.get(name, _requirements)
    names = dict.fromkeys(read(text))
    return tuple(Dependency(ecosystem, it, path, _line_of(text, it)) for it in names)


def judge(answers: Mapping[Dependency, Answer], now: datetime) -> ValidationResult:
    """Return what the look-up amounts to: unknown and young names block, an index out of reach does not; pure."""
    findings: list[Finding] = []
    lines: list[str] = []
    for it, answer in answers.items():
        named = f"{it.name[:_LETTERS]} ({it.ecosystem})"
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
    status = ValidationStatus.FAILED if findings else ValidationStatus.PASSED
    return ValidationResult(NEW_DEPENDENCIES, status, tuple(findings), "\n".join(lines))


async def check_new_dependencies(
    wanted: Sequence[Dependency], hosts: Collection[str], now: datetime | None = None
) -> tuple[ValidationResult, ...]:
    """Look up what a change newly depends on; no result where that is nothing.

    `hosts` are the operator's additions to the package indexes, which are asked first.
    """
    if not wanted:
        return ()
    indexes: dict[Ecosystem, Sequence[str] | str] = {}
    for ecosystem in {it.ecosystem for it in wanted}:
        try:
            own = (await (npm_hosts() if ecosystem is Ecosystem.NPM else index_hosts()))[0]
        except (SandboxError, TimeoutError) as error:
            indexes[ecosystem] = str(error)
        else:
            indexes[ecosystem] = [base_url(host) for host in (*hosts, own)]
    return (judge(await look_up(wanted, indexes), now or datetime.now(UTC)),)


def base_url(host: str) -> str:
    """Return the address of an index: https, unless it is on this machine (SECURITY 25)."""
    return f"{'http' if _LOCAL.match(host) else 'https'}://{host}"


async def look_up(
    wanted: Sequence[Dependency], indexes: Mapping[Ecosystem, Sequence[str] | str]
) -> dict[Dependency, Answer]:
    """Ask the indexes, without any key, what they know; a text in place of addresses says why nobody can be asked.

    A name does not exist only where every index says so.
    """
    import httpx2

    turn = asyncio.Semaphore(_AT_ONCE)

    async def one(client: httpx2.AsyncClient, it: Dependency, bases: Sequence[str]) -> Answer:
        unasked = ""
        async with turn:
            for base in bases:
                try:
                    async with asyncio.timeout(_SECONDS):
                        body = await _asked(client, f"{base}{_place(it)}")
                    if body is not None:
                        return await asyncio.to_thread(_known, it.ecosystem, body)
                except (httpx2.HTTPError, TimeoutError, ValueError, RecursionError) as error:
                    unasked = f"the index does not answer as it should ({type(error).__name__})"
        return unasked or None

    answers: dict[Dependency, Answer] = {}
    asked: dict[Dependency, asyncio.Task[Answer]] = {}
    # To read all certificates takes long enough that every other run would wait for it.
    certificates = await asyncio.to_thread(_certificates)
    async with (
        httpx2.AsyncClient(follow_redirects=False, verify=certificates) as client,
        asyncio.TaskGroup() as group,
    ):
        for number, it in enumerate(wanted):
            bases = indexes[it.ecosystem]
            if isinstance(bases, str) or number >= MAX_LOOK_UPS:
                answers[it] = bases if isinstance(bases, str) else f"more than {MAX_LOOK_UPS} are new"
            else:
                asked[it] = group.create_task(one(client, it, bases))
    return {it: asked[it].result() if it in asked else answers[it] for it in wanted}


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


# manifests


def is_manifest(path: str) -> bool:
    """Tell whether a file declares dependencies that are read here, by its name."""
    name = PurePosixPath(path).name
    return name in ("package.json", "pyproject.toml") or (
        name.startswith(("requirements", "constraints")) and name.endswith((".txt", ".in"))
    )


def _npm(text: str) -> Iterator[str]:
    try:
        document = _table(json.loads(text or "{}"))
    except (ValueError, RecursionError):
        return  # json_syntax says so, at its line
    for kind in _KINDS:
        for name, spec in _table(document.get(kind)).items():
            if isinstance(spec, str) and spec.startswith("npm:"):
                name = spec.removeprefix("npm:").rpartition("@")[0] or spec.removeprefix("npm:")
            if _NPM_NAME.fullmatch(name):
                yield name


def _pyproject(text: str) -> Iterator[str]:
    try:
        document: dict[str, Any] = tomllib.loads(text)
    except (ValueError, RecursionError):
        return  # toml_syntax says so, at its line
    project = _table(document.get("project"))
    lists = [project.get("dependencies"), _table(document.get("build-system")).get("requires")]
    lists += [*_table(project.get("optional-dependencies")).values()]
    lists += [*_table(document.get("dependency-groups")).values()]
    own = canonicalize_name(str(project.get("name", "")))
    for listed in lists:
        for line in listed if isinstance(listed, list) else ():
            if isinstance(line, str) and (name := _required(line)) and name != own:
                yield name


def _requirements(text: str) -> Iterator[str]:
    for line in text.replace("\\\n", " ").splitlines():
        if name := _required(re.split(r"\s--hash[=\s]|(?:^|\s)#", line, maxsplit=1)[0]):
            yield name


def _required(line: str) -> str:
    if len(line) > _REQUIREMENT_LETTERS:
        return ""
    try:
        return canonicalize_name(Requirement(line.strip()).name)
    except (InvalidRequirement, RecursionError):
        return ""  # an option, a path or an address, which the install refuses by itself


def _line_of(text: str, name: str) -> int:
    wanted = re.compile(re.sub(r"[-_.]+", "[-_.]+", re.escape(name).replace(r"\-", "-").replace(r"\.", ".")), re.I)
    match = wanted.search(text)
    return text.count("\n", 0, match.start()) + 1 if match else 1
