"""What manifests declare: packages of an index by their names, and what comes from elsewhere; nothing is executed."""

from __future__ import annotations

import codecs
import configparser
import json
import posixpath
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from orchestrator.npm_manifests import Named, named_in, named_in_lock

_PUBLIC_INDEX = re.compile(r"https://pypi\.org/simple/?\Z")
# pip takes any abbreviation of a long option that is none of another's,
# https://pip.pypa.io/en/stable/reference/requirements-file-format/
_SOURCES = ("--index-url", "--extra-index-url", "--find-links", "--trusted-host", "--editable")
_SHORT = {"-i": "--index-url", "-f": "--find-links", "-e": "--editable", "-r": "--requirement", "-c": "--constraint"}
_INCLUDES = ("--requirement", "--constraint")
_OPTION = re.compile(r"(?P<name>-[a-z](?=\W|$)|-[ifrce]|--[a-z-]+)[\s=]*(?P<value>.*)")
_ARCHIVE = re.compile(r"\.(?:whl|zip|tgz|tar(?:\.\w+)?)(?:[#\[].*)?\Z", re.IGNORECASE)
_EGG = re.compile(r"#(?:.*&)?egg=([A-Za-z0-9._-]+)")
_REVISION = re.compile(r"(?<=[^/])@[^/@]*\Z")
# Of Poetry, Pipenv and uv; where one of the indexes is named, it is one that the file itself declares.
_SOURCE_KEYS = ("git", "url", "path", "file", "source", "index")
# As the install reads them: a longer one is not installed.
_REQUIREMENT_LETTERS = 2000
_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_CODECS = ("utf-8", "utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be")


class Ecosystem(StrEnum):
    """Which index knows a name."""

    PYPI = "PyPI"
    NPM = "npm"


@dataclass(frozen=True, slots=True)
class Dependency:
    """A package that a manifest names at a line, or a `source` that is not the index; then the name may be empty."""

    ecosystem: Ecosystem
    name: str
    path: str
    line: int
    source: str = ""


def newly_declared(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> tuple[Dependency, ...]:
    """Return what manifests, by their paths, name and did not name before from the same source; each once, pure."""
    found: dict[tuple[Ecosystem, str, str], Dependency] = {}
    for path, content in sorted(after.items()):
        known = {(it.name, it.source) for it in declared_in(path, before.get(path, b""))}
        for it in declared_in(path, content):
            if (it.name, it.source) not in known:
                found.setdefault((it.ecosystem, it.name, it.source), it)
    return tuple(found.values())


def declared_in(path: str, content: bytes) -> tuple[Dependency, ...]:
    """Return the packages and foreign sources that a manifest names; what cannot be parsed names nothing."""
    text = decoded(content)
    name = PurePosixPath(path).name
    ecosystem = Ecosystem.NPM if name in _NPM_READERS else Ecosystem.PYPI
    named = _NPM_READERS[name](text) if name in _NPM_READERS else _READERS.get(name, _requirements)(text)
    found: dict[tuple[str, str], Dependency] = {}
    for it in named:
        line = _line_of(text, it.key, exact=name in _NPM_READERS)
        found.setdefault((it.name, it.source), Dependency(ecosystem, it.name, path, line, it.source))
    return tuple(found.values())


def decoded(content: bytes) -> str:
    """Return a manifest's text by its byte order mark, as pip reads it, or as UTF-8."""
    for mark, codec in zip(_MARKS, _CODECS, strict=True):
        if content.startswith(mark):
            return content[len(mark) :].decode(codec, "replace")
    return content.decode("utf-8", "replace")


def is_manifest(path: str) -> bool:
    """Tell whether a file declares dependencies that are read here, by its name."""
    return PurePosixPath(path).name in (*_NPM_READERS, *_READERS) or is_requirements(path)


def is_requirements(path: str) -> bool:
    """Tell whether a file is one of pip's requirements or constraints, by its name."""
    name = PurePosixPath(path).name
    return name.startswith(("requirements", "constraints")) and name.endswith((".txt", ".in"))


def included_in(path: str, content: bytes) -> frozenset[str]:
    """Return the paths of the project that one of pip's requirements or constraints includes."""
    folder = posixpath.dirname(path)
    found = (posixpath.normpath(posixpath.join(folder, name)) for name in _included(decoded(content)))
    return frozenset(it for it in found if not it.startswith(("/", "..")))


# Python


def _pyproject(text: str) -> Iterator[Named]:
    document = _toml(text)
    project, tools = _table(document.get("project")), _table(document.get("tool"))
    lists = [project.get("dependencies"), _table(document.get("build-system")).get("requires")]
    lists += [*_table(project.get("optional-dependencies")).values()]
    lists += [*_table(document.get("dependency-groups")).values()]
    uv, poetry = _table(tools.get("uv")), _table(tools.get("poetry"))
    lists += [uv.get("dev-dependencies"), uv.get("override-dependencies"), uv.get("constraint-dependencies")]
    own = canonicalize_name(str(project.get("name") or poetry.get("name") or ""))
    sources: dict[str, Any] = {canonicalize_name(name): table for name, table in _table(uv.get("sources")).items()}
    required = [it for listed in lists for line in _strings(listed) for it in _required(line)]
    named = [it for it in required if it.name not in sources]
    named += _tables({it.name: sources[it.name] for it in required if it.name in sources})
    groups = [_table(it).get("dependencies") for it in _table(poetry.get("group")).values()]
    for table in (poetry.get("dependencies"), poetry.get("dev-dependencies"), *groups):
        named += _tables(_table(table))
    for entry in (*_listed(uv.get("index")), *_listed(poetry.get("source"))):
        named += _index(_table(entry).get("url"))
    return (it for it in named if it.source or it.name != own)


def _pipfile(text: str) -> Iterator[Named]:
    document = _toml(text)
    for entry in _listed(document.get("source")):
        yield from _index(_table(entry).get("url"))
    for name, table in document.items():
        if name not in ("source", "requires", "scripts", "pipenv"):
            yield from _tables(_table(table))


def _setup_cfg(text: str) -> Iterator[Named]:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(text)
    except configparser.Error:
        return
    options = parser["options"] if parser.has_section("options") else {}
    lists = [options.get(name, "") for name in ("install_requires", "setup_requires", "tests_require")]
    lists += parser["options.extras_require"].values() if parser.has_section("options.extras_require") else []
    for listed in lists:
        for line in listed.splitlines() if "\n" in listed else listed.split(";"):
            yield from _required(line)


def _requirements(text: str) -> Iterator[Named]:
    for line in _lines(text):
        option = _OPTION.fullmatch(line)
        if option is None:
            yield from _required(re.split(r"\s--?[a-z]", line, maxsplit=1)[0])
            continue
        name, value = _long(option["name"]), option["value"].strip("\"' ")
        if name == "--editable":
            yield from _required(value)
        elif name in _SOURCES:
            yield from _index(value)
        elif name in _INCLUDES and "://" in value:
            yield Named("", value, value)


def _included(text: str) -> Iterator[str]:
    for line in _lines(text):
        option = _OPTION.fullmatch(line)
        if option and _long(option["name"]) in _INCLUDES and "://" not in option["value"]:
            yield option["value"].strip("\"' ")


def _lines(text: str) -> Iterator[str]:
    """Give the lines of a requirements file as pip joins them, without comments."""
    for line in text.replace("\\\r\n", " ").replace("\\\n", " ").splitlines():
        if said := re.sub(r"(^|\s)#.*", "", line).strip():
            yield said


def _long(option: str) -> str:
    """Return the long option that is meant: pip takes every abbreviation."""
    known = (*_SOURCES, *_INCLUDES)
    return _SHORT.get(option) or next((it for it in known if len(option) > 3 and it.startswith(option)), option)


def _required(line: str) -> Iterator[Named]:
    """Read one requirement: a name, a name with an address, or an address alone; a folder of the project is nothing."""
    line = line.strip()
    if len(line) > _REQUIREMENT_LETTERS:
        return
    try:
        requirement = Requirement(line)
    except (InvalidRequirement, RecursionError):
        if "://" in line or "${" in line or re.match(r"(?:git|hg|svn|bzr)\+", line) or _ARCHIVE.search(line):
            egg = _EGG.search(line)
            yield Named(canonicalize_name(egg[1]) if egg else "", line, _without_revision(line))
        return
    source = _without_revision(requirement.url) if requirement.url else ""
    yield Named(canonicalize_name(requirement.name), requirement.name, source)


def _tables(table: Mapping[str, Any]) -> Iterator[Named]:
    """Read a table of names as Poetry and Pipenv write it."""
    for name, wanted in table.items():
        if re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?", name) and name.lower() != "python":
            for source in dict.fromkeys(map(_source, wanted if isinstance(wanted, list) else [wanted])):
                if source is not None:
                    yield Named(canonicalize_name(name), name, source)


def _source(entry: object) -> str | None:
    """Return where a table takes a package from if not from the index, None for a folder of the project itself."""
    table = _table(entry)
    if table.get("workspace") or not _ARCHIVE.search(str(table.get("path", ".whl"))):
        return None
    given = next((key for key in _SOURCE_KEYS if isinstance(table.get(key), str)), "")
    return f"{given} {table[given]}" if given in ("source", "index") else str(table.get(given, ""))


def _index(address: object) -> Iterator[Named]:
    if isinstance(address, str) and not _PUBLIC_INDEX.match(address):
        yield Named("", address, address)


def _without_revision(address: str) -> str:
    address = address.partition("#")[0]
    return _REVISION.sub("", address) if re.match(r"\w+\+", address) else address


def _toml(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError):
        return {}  # toml_syntax says so, at its line


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _strings(value: object) -> Iterable[str]:
    return (it for it in _listed(value) if isinstance(it, str))


_Reader = Callable[[str], Iterator[Named]]
_NPM_READERS: Mapping[str, _Reader] = {
    "package.json": named_in,
    "package-lock.json": named_in_lock,
    "npm-shrinkwrap.json": named_in_lock,
}
_READERS: Mapping[str, _Reader] = {"pyproject.toml": _pyproject, "Pipfile": _pipfile, "setup.cfg": _setup_cfg}


def _line_of(text: str, name: str, *, exact: bool) -> int:
    if exact:
        at = max(text.find(f"{json.dumps(name)}:"), text.find(json.dumps(name)))
    else:
        written = re.sub(r"[-_.]+", "[-_.]+", re.escape(name).replace(r"\-", "-").replace(r"\.", "."))
        match = re.search(written, text, re.IGNORECASE) if name else None
        at = match.start() if match else -1
    return text.count("\n", 0, at) + 1 if at >= 0 else 1
