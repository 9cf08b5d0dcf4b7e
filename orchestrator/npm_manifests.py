"""What package.json and package-lock.json name: packages of the registry, and sources of every other kind; pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

KINDS = ("dependencies", "devDependencies", "optionalDependencies", "peerDependencies")
_NPM = "npmjs.org"
REGISTRY = f"registry.{_NPM}"
"""npm's public registry, https://docs.npmjs.com/cli/using-npm/config#registry"""

NAME = re.compile(r"(?:@[a-z0-9][a-z0-9._~-]*/)?[A-Za-z0-9][A-Za-z0-9._~-]*")
# A range of versions or a tag, https://docs.npmjs.com/cli/configuring-npm/package-json#dependencies: what has a colon
# or a slash, begins with a dot, or ends like an archive is a source of another kind.
_RANGE = re.compile(r"(?!\.)(?!.*\.(?:tgz|tar|tar\.gz)$)[-+*^~<>=|\w .]*")
# A folder of the repository itself, whose files are reviewed like all others.
_FOLDER = re.compile(r"(?:(?:workspace|catalog|file|link|portal):|\.{0,2}/)(?!.*\.t(?:ar|gz))(?!/)")


@dataclass(frozen=True, slots=True)
class Named:
    """A package that a file of npm's names beside a key; `source` is where it comes from if not the registry."""

    name: str
    key: str
    source: str = ""


@dataclass(frozen=True, slots=True)
class Locked:
    """An entry of a lock: its key, the package that shall stand there by `name`, and where it was resolved to."""

    key: str
    name: str
    resolved: str

    def of_another(self) -> bool:
        """Tell whether the address is another package's: in a registry each has its archives below its own name."""
        owner = unquote(address_of(self.resolved).path).partition("/-/")[0]
        return not f"/{owner.lstrip('/')}".casefold().endswith(f"/{self.name}".casefold())


def address_of(text: str) -> SplitResult:
    """Return the parts of an address; what is none has neither scheme nor host."""
    try:
        return urlsplit(text)
    except ValueError:
        return urlsplit("")


def is_of_registry(spec: object) -> bool:
    """Tell whether a dependency's version names nothing but versions, a tag, or another package of the registry."""
    return isinstance(spec, str) and _package("x", spec) is not None


def named_in(text: str) -> Iterator[Named]:
    """Read a package.json: what it depends on, and what it puts in the place of what others depend on."""
    document = _document(text)
    for kind in KINDS:
        for name, spec in _table(document.get(kind)).items():
            if NAME.fullmatch(name) and isinstance(spec, str):
                yield from _named(name, spec)
    pnpm = _table(document.get("pnpm"))
    for table in (document.get("overrides"), document.get("resolutions"), pnpm.get("overrides")):
        for name, spec in overrides(_table(table)):
            # A range alone names no other package, `$name` the one that the project itself asks for.
            if spec.startswith("npm:") or not is_of_registry(spec.removeprefix("$")):
                yield from _named(name, spec)


def overrides(table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Give the rules of a table of overrides, however deep they stand."""
    for name, value in table.items():
        if isinstance(value, dict):
            yield from overrides(value)
        else:
            yield name, str(value)


def named_in_lock(text: str) -> Iterator[Named]:
    """Read a lock: aliases, archives of other packages, and registries and sources that are not npm's public one."""
    for it in locked_in(text):
        folder = it.key.rpartition("node_modules/")[2]
        address = address_of(it.resolved)
        if it.name != folder and NAME.fullmatch(it.name):
            yield Named(it.name, it.key)
        if not it.resolved or _FOLDER.match(it.resolved) or not address.scheme:
            continue
        if it.of_another():
            yield Named(folder, it.key, _without_version(it.resolved))
        elif address.scheme != "https" or address.hostname != REGISTRY:
            yield Named("", it.key, f"{address.scheme}://{address.netloc}")


def locked_in(text: str) -> Iterator[Locked]:
    """Read the entries of a package-lock.json of any version."""
    document = _document(text)
    for key, entry in _table(document.get("packages")).items():
        if key:
            given, resolved = _table(entry).get("name"), _table(entry).get("resolved")
            name = given if isinstance(given, str) else key.rpartition("node_modules/")[2]
            yield Locked(key, name, resolved if isinstance(resolved, str) else "")
    # npm reads the older tree only where the newer table is missing.
    pending = [] if "packages" in document else [_table(document.get("dependencies"))]
    while pending:
        for key, entry in pending.pop().items():
            version, resolved = _table(entry).get("version"), _table(entry).get("resolved")
            alias = _package(key, version) if isinstance(version, str) else None
            yield Locked(key, alias or key, resolved if isinstance(resolved, str) else "")
            pending.append(_table(_table(entry).get("dependencies")))


def _named(key: str, spec: str) -> Iterator[Named]:
    name = _package(key, spec)
    if name is not None:
        yield Named(name, key)
    elif not _FOLDER.match(spec):
        yield Named(re.sub(r"(?<=.)@.*", "", key), key, _without_version(spec))


def _package(name: str, spec: str) -> str | None:
    """Return the package of the registry that a version means, None for a source of another kind."""
    if spec.startswith("npm:"):
        named, at, wanted = spec.removeprefix("npm:").rpartition("@")
        name, spec = (named, wanted) if at and named else (f"{named}{at}{wanted}", "")
    return name if NAME.fullmatch(name) and _RANGE.fullmatch(spec) else None


def _without_version(source: str) -> str:
    return source.partition("#")[0]


def _document(text: str) -> dict[str, Any]:
    try:
        return _table(json.loads(text or "{}"))
    except (ValueError, RecursionError):
        return {}  # json_syntax says so, at its line


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
