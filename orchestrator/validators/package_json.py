"""What a `package.json` declares: packages of the registry, scripts, and what is not installed (SECURITY 22)."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from orchestrator.codes import Code
from orchestrator.npm_manifests import KINDS, NAME, address_of, is_of_registry, locked_in, overrides
from orchestrator.state import Finding
from orchestrator.validators.plan import FINDINGS, line_of, table_in, tail

PACKAGE_JSON = "package.json"
LOCK = "package-lock.json"
NPMRC = ".npmrc"

_KEPT = ("name", "version", "engines", *KINDS, "overrides")
_MAX_BYTES = 256 * 1024
_MAX_LOCK_BYTES = 16 * 1024 * 1024
_REGISTRY_KEY = re.compile(r"\s*(?:@[^\s:]+:)?registry\s*=\s*(\S+)")
_PRIVATE = "Private or direct sources are not installed: name a package of the registry, with a version if need be."
# What `npm init` writes where nobody has written a test yet.
_NO_TEST = "no test specified"


@dataclass(frozen=True, slots=True)
class Package:
    """What a project asks of npm.

    `manifest` is what npm gets to see of package.json, without any script; `lock` and `npmrc` are the texts of
    package-lock.json and .npmrc, or empty; `scripts` gives the line of each script; `direct` names the packages that
    the project asks for itself; `findings` name what package.json asks for and is not installed; `problem` says why
    nothing can be.
    """

    manifest: str = ""
    lock: str = ""
    npmrc: str = ""
    scripts: Mapping[str, int] = field(default_factory=dict)
    direct: frozenset[str] = frozenset()
    findings: tuple[Finding, ...] = ()
    problem: str = ""

    def foreign(self, hosts: Collection[str]) -> tuple[Finding, ...]:
        """Name what lock and .npmrc take from elsewhere than the registry at `hosts`, as far as anybody reads."""
        found = (*islice(_locked(self.lock, hosts), FINDINGS), *islice(_registries(self.npmrc, hosts), FINDINGS))
        return found[:FINDINGS]


def read_package(root: Path) -> Package | None:
    """Read a project's package.json, its lock and its .npmrc; None when there is no package.json to follow."""
    text = _text(root, PACKAGE_JSON, _MAX_BYTES)
    if not text:
        return None
    try:
        return _read(root, text)
    except (ValueError, RecursionError) as error:
        return Package(problem=f"package.json is not JSON: {tail(str(error), 200)}")


def _read(root: Path, text: str) -> Package:
    """Read a package.json that is there; raises `ValueError` or `RecursionError` for one that cannot be read."""
    document = json.loads(text)
    if not isinstance(document, dict):
        return Package(problem="package.json holds no object.")
    kept = {name: document[name] for name in _KEPT if name in document}
    problem = "package.json declares workspaces, which are not installed here." if document.get("workspaces") else ""
    return Package(
        manifest=json.dumps(kept, sort_keys=True),
        lock=_text(root, LOCK, _MAX_LOCK_BYTES),
        npmrc=_text(root, NPMRC, _MAX_BYTES),
        scripts={
            name: _key_line(text, name) for name, body in table_in(document.get("scripts")).items() if _says(body)
        },
        direct=frozenset(name for kind in KINDS for name in table_in(document.get(kind))),
        findings=tuple(islice(_sources(document, text), FINDINGS)),
        problem=problem,
    )


def _sources(document: dict[str, Any], text: str) -> Iterator[Finding]:
    for kind in KINDS:
        for name, spec in table_in(document.get(kind)).items():
            if not (NAME.fullmatch(name) and is_of_registry(spec)):
                yield _private(PACKAGE_JSON, _key_line(text, name), f"{name}: {spec}")
    for name, spec in overrides(table_in(document.get("overrides"))):
        # `$name` means the version that the project itself asks for, which is read above.
        if not is_of_registry(spec.removeprefix("$")):
            yield _private(PACKAGE_JSON, _key_line(text, name), f"{name}: {spec}")


def _private(path: str, line: int, said: str) -> Finding:
    return Finding(path, line, f"{tail(said, 200)}: {_PRIVATE}", code=Code.PRIVATE_SOURCE)


def _locked(lock: str, hosts: Collection[str]) -> Iterator[Finding]:
    """Name the entries of a lock that were resolved to elsewhere than the registry, or to another package."""
    for it in locked_in(lock):
        address = address_of(it.resolved)
        if it.resolved and (address.scheme != "https" or address.hostname not in hosts or it.of_another()):
            yield _private(LOCK, _key_line(lock, it.key), f"{it.key}: {it.resolved}")


def _registries(npmrc: str, hosts: Collection[str]) -> Iterator[Finding]:
    for number, line in enumerate(npmrc.splitlines(), 1):
        named = _REGISTRY_KEY.match(line)
        if named and address_of(named[1]).hostname not in hosts:
            yield _private(NPMRC, number, line)


def _says(script: object) -> bool:
    return isinstance(script, str) and bool(script.strip()) and _NO_TEST not in script


def _key_line(text: str, key: str) -> int:
    return line_of(text, f"{json.dumps(key)}:")


def _text(root: Path, name: str, limit: int) -> str:
    """Read a file of the project that is no link and not absurdly long; an empty text otherwise."""
    path = root / name
    if path.is_symlink() or not path.is_file() or path.stat().st_size > limit:
        return ""
    return path.read_text(encoding="utf-8", errors="replace")
