"""Declared dependencies: what a Python project names, and their installation in a keyless step of its own."""

from __future__ import annotations

import asyncio
import hashlib
import re
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from orchestrator.codes import Code
from orchestrator.errors import SandboxError
from orchestrator.sandbox import MIB, Finished, Limits, PackageIndex, Sandbox, pip_location
from orchestrator.state import Finding, ValidationResult, ValidationStatus
from orchestrator.validators.plan import DEPENDENCIES, Environment, line_of, not_run, table_in, tail, without
from orchestrator.validators.tests import test_files

_LIMITS = Limits(seconds=300, file_bytes=1024 * MIB)
_EXTRAS = ("test", "tests", "testing", "dev")
_MAX_FILE_BYTES = 256 * 1024
# Of one requirement without its hashes. Source: the longest that real projects declare have a tenth of it.
_MAX_LETTERS = 2000
_PRIVATE = "Private or direct sources are not installed: name a package of the index, with a version if need be."
_UNREACHED = re.compile(
    r"Retrying \(Retry|Could not fetch URL|ProxyError|SSLError|ConnectTimeout|ReadTimeout|NewConnectionError|"
    r"5\d\d (?:Server )?Error|Temporary failure in name resolution"
)


@dataclass(frozen=True, slots=True)
class Declared:
    """What a project asks for: requirement lines without doubles, sorted, and the lines that are not followed."""

    requirements: tuple[str, ...]
    findings: tuple[Finding, ...]


def declared(root: Path) -> Declared:
    """Read requirements*.txt and pyproject.toml, executing nothing; add pytest when there are tests."""
    requirements: set[str] = set()
    findings: list[Finding] = []
    for entry in _entries(root):
        if isinstance(entry, Finding):
            findings.append(entry)
        else:
            requirements.add(entry)
    if test_files(root):
        requirements.add("pytest")
    return Declared(tuple(sorted(requirements)), tuple(findings))


def requirement_key(root: Path) -> str:
    """Identify what a project declares; the same key means that an `Environment` can be used again."""
    found = declared(root)
    text = "\n".join([sys.version, *found.requirements, *map(str, found.findings)])
    return hashlib.sha256(text.encode()).hexdigest()


async def install(root: Path, sandbox: Sandbox, into: Path) -> Environment:
    """Install what the project declares into a folder, with wheels from the package index and nothing else.

    The one result is named `dependencies`: failed for names without a wheel and for private sources, not run when the
    index cannot be reached or nothing isolates; there is none when the project declares nothing.
    """
    found, key = await asyncio.to_thread(lambda: (declared(root), requirement_key(root)))
    if found.findings:
        return without(ValidationResult(DEPENDENCIES, ValidationStatus.FAILED, found.findings, _PRIVATE), key)
    if not found.requirements:
        return Environment(None, (), key)
    await asyncio.to_thread(into.mkdir, parents=True, exist_ok=True)
    try:
        finished = await _pip(sandbox, into, found.requirements)
    except SandboxError as error:
        return without(not_run(DEPENDENCIES, str(error)), key)
    result = read_pip(finished, found.requirements, _origin(root))
    return Environment(into, (result,), key) if result.passed else without(result, key)


def read_pip(finished: Finished, requirements: tuple[str, ...], origin: str) -> ValidationResult:
    """Judge how pip ended; a failure while the index was out of reach says nothing about the project."""
    if finished.status == 0 and not finished.passed(_LIMITS):
        detail = f"{len(requirements)} requirements installed"
        return ValidationResult(DEPENDENCIES, ValidationStatus.PASSED, (), detail)
    if finished.timed_out:
        detail = f"The dependencies were not installed within {_LIMITS.seconds:.0f} seconds."
        return ValidationResult(DEPENDENCIES, ValidationStatus.NOT_RUN, (), detail)
    if passed := finished.passed(_LIMITS):
        return ValidationResult(DEPENDENCIES, ValidationStatus.NOT_RUN, (), f"pip {passed}.")
    if finished.index_failures or _UNREACHED.search(finished.output):
        reasons = "; ".join(dict.fromkeys(finished.index_failures)) or tail(finished.output, 300)
        detail = f"The package index cannot be reached: {reasons}"
        return ValidationResult(DEPENDENCIES, ValidationStatus.NOT_RUN, (), detail)
    errors = [line for line in finished.output.splitlines() if line.startswith("ERROR: ")]
    message = tail("\n".join(errors) or finished.output)
    message += "\nOnly wheels are installed: the name may not exist, or have no wheel for this Python."
    return ValidationResult(
        DEPENDENCIES, ValidationStatus.FAILED, (Finding(origin, 1, message),), "not all dependencies can be installed"
    )


async def _pip(sandbox: Sandbox, into: Path, requirements: tuple[str, ...]) -> Finished:
    """Run our pip with the sandbox's Python; it reads no configuration, no environment and no cache."""
    location = pip_location()
    with tempfile.TemporaryDirectory(prefix="pip-") as folder:
        unpacked = location.suffix != ".whl"
        read_only = [location / "pip" if unpacked else location, Path(folder)]
        places = sandbox.places(into, read_only)
        program = f"{places.read_only[0]}/pip"
        if unpacked:
            _link(Path(folder), places.read_only[0])
            program = f"{places.read_only[1]}/pip"
        argv = [places.python, "-I", program, "install", "--isolated", "--no-input", "--no-cache-dir"]
        argv += ["--only-binary", ":all:", "--disable-pip-version-check", "--progress-bar", "off", "--no-color"]
        argv += ["--root-user-action", "ignore", "--retries", "2", "--timeout", "15", "--target", places.workspace]
        if sandbox.hosts:
            # In place of the public index, never beside it: a name that both know would be taken from either.
            argv += ["--index-url", f"https://{sandbox.hosts[0]}/simple/"]
        return await sandbox.run(
            [*argv, "--", *requirements],
            workspace=into,
            read_only=read_only,
            limits=_LIMITS,
            package_index=PackageIndex.PYPI,
        )


def _link(folder: Path, pip: str) -> None:
    """Make pip available under its own name, without the other packages that are installed beside it."""
    folder.chmod(0o755)
    (folder / "pip").symlink_to(pip)


def _origin(root: Path) -> str:
    files = sorted(path.name for path in root.glob("requirements*.txt"))
    return "pyproject.toml" if (root / "pyproject.toml").is_file() else files[0] if files else "pyproject.toml"


def _entries(root: Path) -> Iterator[str | Finding]:
    for path in sorted(root.glob("requirements*.txt")):
        yield from _file_entries(root, path.name)
    yield from _pyproject_entries(_text(root, "pyproject.toml"))


def _text(root: Path, name: str) -> str:
    """Read a file of the project with no link on the way and not absurdly long; an empty text otherwise."""
    path = root / name
    try:
        if path.resolve() != root.resolve() / name or not path.is_file() or path.stat().st_size > _MAX_FILE_BYTES:
            return ""
    except (OSError, ValueError):
        return ""  # a name that no file can have
    return path.read_text(encoding="utf-8", errors="replace")


def _file_entries(root: Path, name: str) -> Iterator[str | Finding]:
    """Read one requirements file and those that it includes from beside it, each once."""
    waiting, seen = [name], {name}
    while waiting:
        one = waiting.pop(0)
        for number, line in enumerate(_text(root, one).replace("\\\n", " ").splitlines(), 1):
            text = re.sub(r"(^|\s)#.*$", "", line).strip()
            included = re.fullmatch(r"(?:-r|--requirement)[\s=]*([^\s=]\S*)", text)
            if included:
                other = str(PurePosixPath(one).parent / included[1])
                if PurePosixPath(other).is_absolute() or ".." in PurePosixPath(other).parts:
                    yield Finding(one, number, f"{tail(text, 200)}: {_PRIVATE}", code=Code.PRIVATE_SOURCE)
                else:
                    waiting += {other} - seen
                    seen.add(other)
            elif text:
                yield requirement_or_finding(text, one, number)


def requirement_or_finding(line: str, path: str, number: int) -> str | Finding:
    """Accept a plain requirement line, hashes cut off; refuse options, URLs, and paths."""
    text = re.split(r"\s--hash[=\s]", line, maxsplit=1)[0].strip()
    requirement = required(text)
    if requirement is None or requirement.url:
        return Finding(path, number, f"{tail(line, 200)}: {_PRIVATE}", code=Code.PRIVATE_SOURCE)
    return str(requirement)


def required(text: str) -> Requirement | None:
    """Return a requirement, or None for a text that is none, or one that nobody wrote to be read."""
    if len(text) > _MAX_LETTERS:
        return None
    try:
        return Requirement(text)
    except (InvalidRequirement, RecursionError):
        return None


def _pyproject_entries(text: str) -> Iterator[str | Finding]:
    try:
        document: dict[str, Any] = tomllib.loads(text)
    except (ValueError, RecursionError):
        return  # the toml_syntax validator says so, at its line
    project = table_in(document.get("project"))
    own = canonicalize_name(str(project.get("name", "")))
    optional, groups = table_in(project.get("optional-dependencies")), table_in(document.get("dependency-groups"))
    lines = list(_strings(project.get("dependencies")))
    for name in _EXTRAS:
        lines += _strings(optional.get(name))
        lines += _group(groups, name)
    for line in lines:
        entry = requirement_or_finding(line, "pyproject.toml", line_of(text, line))
        if isinstance(entry, str) and canonicalize_name(Requirement(entry).name) == own:
            continue  # the project's own extras, which are read here anyway
        yield entry


def _group(groups: dict[str, Any], name: str) -> Iterator[str]:
    """Read a dependency group with the groups that it includes (PEP 735), each once."""
    waiting, seen = [name], {name}
    while waiting:
        entries = groups.get(waiting.pop())
        for entry in entries if isinstance(entries, list) else []:
            if isinstance(entry, str):
                yield entry
            elif isinstance(entry, dict) and isinstance(other := entry.get("include-group"), str):
                waiting += {other} - seen
                seen.add(other)


def _strings(value: object) -> Iterable[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
