"""YAML text into plain data that remembers where each value stood.

The rules are those of YAML 1.2's core schema (https://yaml.org/spec/1.2.2/#103-core-schema), so that `on`, `1:30` and
`2026-01-01` are text, with the merge key `<<` of YAML 1.1. Nothing is constructed but null, booleans, numbers, text,
lists and mappings; size, nesting and alias expansion are bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from orchestrator.errors import SpecError, SpecFinding, UsageError

MAX_BYTES = 1 << 20
MAX_DEPTH = 40
MAX_NODES = 20_000
MAX_DIGITS = 40
MAX_FINDINGS = 50
MAX_KEY_LETTERS = 100

Loc = tuple[str | int, ...]

_TAG = "tag:yaml.org,2002:"
_NULL = re.compile(r"null|Null|NULL|~|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
)
_CORE = (("null", _NULL), ("bool", _BOOL), ("int", _INT), ("float", _FLOAT))
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Place:
    """A position in a text; `line` and `column` count from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Document:
    """The data of one file, and where each key and each value of it stands."""

    path: str
    value: Any
    keys: Mapping[Loc, Place]
    values: Mapping[Loc, Place]

    def place(self, loc: Loc, *, key: bool = False) -> Place:
        """Return where the value (or the key) at `loc` stands, or the nearest place above it."""
        for end in range(len(loc), -1, -1):
            found = self.keys.get(loc[:end]) if key else None
            found = found or self.values.get(loc[:end])
            if found:
                return found
        return Place(1, 1)


def dotted(loc: Loc) -> str:
    """Return a location as people write it, the begin of every key: `policies[0].allowed_providers`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part[:MAX_KEY_LETTERS]}" for part in loc)
    return text.removeprefix(".") or "(top level)"


def read_file(path: Path) -> str:
    """Return a user's text file; raises `UsageError` when it is missing, no file, over 1 MiB or not UTF-8."""
    try:
        if path.exists() and not path.is_file():
            raise UsageError(f"{path} is not a file.", hint="Give the path of a YAML file.")
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise UsageError(f"{path} does not exist.", hint="Check the path.") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"{path} cannot be read: {reason}.", hint="Check the path and its permissions.") from error
    if len(data) > MAX_BYTES:
        raise UsageError(f"{path} is over {MAX_BYTES} bytes.", hint="Keep the file small; it only configures.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{path} is not UTF-8 (line {line}).", hint="Save it as UTF-8.") from error


def read_yaml(text: str, path: str) -> Document:
    """Parse one YAML document, JSON included; an empty one is an empty mapping.

    Raises `SpecError` with a finding for each duplicate key, key that is not text, tag, control character or
    oversized number, or one for a text that is no YAML, too large, or nested or aliased beyond bounds.
    """
    if len(text) > MAX_BYTES:
        raise SpecError((SpecFinding(path, 1, 1, "yaml", f"is over {MAX_BYTES} characters"),))
    try:
        loader = _BoundedLoader(text.replace("\t", " ") if path.endswith(".json") else text)
        node = loader.get_single_node()
    except yaml.YAMLError as error:
        raise SpecError((_syntax_finding(error, text, path),)) from error
    except (ValueError, OverflowError) as error:
        message = f"holds an escape or version number that no character or number has ({error})"
        raise SpecError((SpecFinding(path, 1, 1, "yaml", message),)) from error
    if node is None:
        return Document(path, {}, {}, {})
    reading = _Reading(path)
    value = reading.value(node, ())
    if reading.findings:
        raise SpecError(tuple(reading.findings))
    return Document(path, {} if value is None else value, reading.keys, reading.values)


def _syntax_finding(error: yaml.YAMLError, text: str, path: str) -> SpecFinding:
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        message = ", ".join(part for part in (error.context, error.problem) if part)
        if "'\\t'" in message:
            message += "; YAML is indented with spaces, never with tabs"
        if mark:
            return SpecFinding(path, mark.line + 1, mark.column + 1, "yaml", message)
    position = getattr(error, "position", 0)
    before = text[:position]
    character = text[position : position + 1]
    return SpecFinding(
        path,
        before.count("\n") + 1,
        position - before.rfind("\n"),
        "yaml",
        f"the character U+{ord(character):04X} is not allowed" if character else "is not valid YAML",
    )


class _BoundedLoader(yaml.SafeLoader):
    """PyYAML's safe loader, bounded in nesting and nodes, resolving plain scalars by the core schema."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = 0
        self.nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        self.depth += 1
        self.nodes += 1
        if self.depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem=f"nested deeper than {MAX_DEPTH} levels", problem_mark=mark)
        if self.nodes > MAX_NODES:
            raise yaml.MarkedYAMLError(problem=f"more than {MAX_NODES} values", problem_mark=mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        if kind is yaml.ScalarNode:
            return _TAG + (_plain_tag(value) if implicit[0] else "str")
        return _TAG + ("seq" if kind is yaml.SequenceNode else "map")


def _plain_tag(value: str) -> str:
    return next((tag for tag, pattern in _CORE if pattern.fullmatch(value)), "str")


@dataclass(slots=True)
class _Reading:
    """Turns nodes into values, noting where each stood and everything that is wrong."""

    path: str
    findings: list[SpecFinding] = field(default_factory=list)
    keys: dict[Loc, Place] = field(default_factory=dict)
    values: dict[Loc, Place] = field(default_factory=dict)
    nodes: int = 0

    def wrong(self, node: yaml.Node, loc: Loc, message: str) -> None:
        place = _place(node)
        self.findings.append(SpecFinding(self.path, place.line, place.column, dotted(loc), message))
        if len(self.findings) >= MAX_FINDINGS:
            raise SpecError(tuple(self.findings))

    def value(self, node: yaml.Node, loc: Loc) -> Any:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            self.wrong(node, loc, f"aliases expand to more than {MAX_NODES} values")
            raise SpecError(tuple(self.findings))
        if len(loc) > MAX_DEPTH:
            self.wrong(node, loc, f"aliases nest deeper than {MAX_DEPTH} levels")
            raise SpecError(tuple(self.findings))
        self.values[loc] = _place(node)
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return self.mapping(node, loc)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return [self.value(item, (*loc, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node, loc)
        self.wrong(node, loc, f"the tag {node.tag!r} is not used here; remove it")
        return None

    def mapping(self, node: yaml.MappingNode, loc: Loc) -> dict[str, Any]:
        result: dict[str, Any] = {}
        own: dict[str, Place] = {}
        for key_node, value_node, merged in self.pairs(node, loc, frozenset()):
            key = self.scalar(key_node, loc) if isinstance(key_node, yaml.ScalarNode) else None
            if not isinstance(key, str):
                self.wrong(key_node, loc, "keys must be text; put this key in quotes")
            elif key in own:
                if not merged:
                    self.wrong(key_node, (*loc, key), f"stands twice, first on line {own[key].line}; remove one")
            else:
                own[key] = self.keys[(*loc, key)] = _place(key_node)
                result[key] = self.value(value_node, (*loc, key))
        return result

    def pairs(
        self, node: yaml.MappingNode, loc: Loc, seen: frozenset[int]
    ) -> Iterator[tuple[yaml.Node, yaml.Node, bool]]:
        """Yield the mapping's own pairs, then those of its merge keys, so that its own ones win."""
        merges = []
        for key_node, value_node in node.value:
            if isinstance(key_node, yaml.ScalarNode) and key_node.value == "<<" and not key_node.style:
                merges.append(value_node)
            else:
                yield key_node, value_node, bool(seen)
        for merge in merges:
            for source in merge.value if isinstance(merge, yaml.SequenceNode) else [merge]:
                if not isinstance(source, yaml.MappingNode):
                    self.wrong(source, (*loc, "<<"), "merges only a mapping or a list of mappings")
                    continue
                self.nodes += 1 + len(source.value)
                if id(source) in seen or source is node or len(seen) > MAX_DEPTH or self.nodes > MAX_NODES:
                    self.wrong(source, (*loc, "<<"), "merges itself, or too much")
                    raise SpecError(tuple(self.findings))
                for key_node, value_node, _ in self.pairs(source, loc, seen | {id(node)}):
                    yield key_node, value_node, True

    def scalar(self, node: yaml.ScalarNode, loc: Loc) -> str | bool | int | float | None:
        text: str = node.value
        kind = node.tag.removeprefix(_TAG)
        pattern = dict(_CORE).get(kind)
        if kind != "str" and (pattern is None or not pattern.fullmatch(text)):
            self.wrong(node, loc, f"the tag {node.tag!r} is not used here; remove it")
            return None
        if kind == "str":
            return self.text(node, loc)
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() == "true"
        if len(text) > MAX_DIGITS:
            self.wrong(node, loc, f"a number of more than {MAX_DIGITS} characters")
            return None
        return _number(text, kind)

    def text(self, node: yaml.ScalarNode, loc: Loc) -> str:
        try:
            # JSON writes characters beyond the basic plane as two escapes, which YAML reads as two surrogates.
            text: str = node.value.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
        except UnicodeDecodeError:
            self.wrong(node, loc, "holds half of a surrogate pair, which is no character")
            return ""
        if _CONTROL.search(text):
            self.wrong(node, loc, "holds a control character; remove it")
        return text


def _number(text: str, kind: str) -> int | float:
    if kind == "int":
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


def _place(node: yaml.Node) -> Place:
    return Place(node.start_mark.line + 1, node.start_mark.column + 1)
