"""One strict reading of a user's file: a form's types against a document, every finding at its line.

A form is a tree of Pydantic dataclasses that forbid unknown keys. Pydantic says what does not fit; this file says it
so that a person can act on it, with the nearest known name. Keys that begin with `x-` are free in every section.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any, Generic, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from orchestrator.errors import SpecError, SpecFinding, UsageError
from orchestrator.yaml_marks import Document, Loc, dotted

T = TypeVar("T")

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False, str_strip_whitespace=True)
EXTENSION = "x-"
MAX_FINDINGS = 50

_NAMES = ("properties", "$defs")
_NULL_SCHEMA = {"type": "null"}


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the known name nearest to `name`, or the known names where none is near."""
    names = list(known)
    folded = {candidate.casefold(): candidate for candidate in names}
    close = difflib.get_close_matches(name.casefold().replace("-", "_"), folded, n=1, cutoff=0.6)
    close = close or difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    return f"; did you mean {folded[close[0]]!r}?" if close else f"; known are {', '.join(names)}"


def argument(name: str, value: object, kind: type, example: str) -> None:
    """Raise `UsageError` unless a library's argument is of its kind: who checks no types would hear of it too late."""
    if not isinstance(value, kind):
        raise UsageError(f"{name} must be a {kind.__name__}, not {value!r}.", hint=f"Give {example}.")


class Form(Generic[T]):
    """A type that files are read into, and the JSON Schema of those files."""

    def __init__(self, kind: type[T]) -> None:
        self._adapter: TypeAdapter[T] = TypeAdapter(kind)

    @cached_property
    def schema(self) -> dict[str, Any]:
        """The JSON Schema of the files, with `x-` keys free in every section."""
        schema = self._adapter.json_schema()
        for node in (schema, *schema.get("$defs", {}).values()):
            if "properties" in node:
                node["patternProperties"] = {f"^{EXTENSION}": {}}
        untitled: dict[str, Any] = _untitled(schema)
        return untitled

    def read(self, document: Document) -> T:
        """Return the document as the form's type; raises `SpecError` with up to 50 findings, in the file's order."""
        try:
            return self._adapter.validate_python(self._without_extensions(document.value, self.schema))
        except ValidationError as error:
            details = error.errors(include_url=False)[:MAX_FINDINGS]
            findings = [self._finding(document, detail) for detail in details]
            raise SpecError(tuple(sorted(findings, key=lambda one: (one.line, one.column)))) from error

    def dump(self, value: T) -> Any:
        """Return the value as JSON data, which `load` turns back into an equal value."""
        return self._adapter.dump_python(value, mode="json")

    def load(self, data: object) -> T:
        """Return the value that `dump` made; raises `ValueError` when the data do not fit."""
        return self._adapter.validate_python(data)

    def _without_extensions(self, value: Any, node: Mapping[str, Any]) -> Any:
        node = self._resolved(node)
        if isinstance(value, dict):
            record = "properties" in node
            return {
                key: self._without_extensions(item, self._child(node, key))
                for key, item in value.items()
                if not (record and key.startswith(EXTENSION))
            }
        if isinstance(value, list):
            return [self._without_extensions(item, self._child(node, index)) for index, item in enumerate(value)]
        return value

    def _resolved(self, node: Mapping[str, Any]) -> Mapping[str, Any]:
        while True:
            if "$ref" in node:
                node = self.schema["$defs"][node["$ref"].rsplit("/", 1)[-1]]
            elif "anyOf" in node:
                node = next(branch for branch in node["anyOf"] if branch != _NULL_SCHEMA)
            else:
                return node

    def _child(self, node: Mapping[str, Any], part: str | int) -> Mapping[str, Any]:
        if isinstance(part, int):
            child = node.get("items", {})
        elif "properties" in node:
            child = node["properties"].get(part, {})
        else:
            # A mapping of free names: its values have one schema, under the pattern of the names where they have one.
            child = next(iter(node.get("patternProperties", {}).values()), node.get("additionalProperties", {}))
        return child if isinstance(child, Mapping) else {}

    def _node(self, loc: Loc) -> Mapping[str, Any]:
        node = self._resolved(self.schema)
        for part in loc:
            node = self._resolved(self._child(node, part))
        return node

    def _finding(self, document: Document, detail: Mapping[str, Any]) -> SpecFinding:
        loc: Loc = detail["loc"]
        kind: str = detail["type"]
        place = document.place(loc, key=kind == "unexpected_keyword_argument")
        return SpecFinding(document.path, place.line, place.column, dotted(loc), self._message(loc, kind, detail))

    def _message(self, loc: Loc, kind: str, detail: Mapping[str, Any]) -> str:
        context = detail.get("ctx", {})
        given = _shown(detail.get("input"))
        if kind == "unexpected_keyword_argument":
            return self._unknown_key(loc)
        if kind in ("literal_error", "enum"):
            node = self._node(loc)
            choices = [str(choice) for choice in node.get("enum", [node.get("const")])]
            return f"must be one of {', '.join(choices)}, not {given}" + _meant(detail.get("input"), choices)
        if kind == "dataclass_type":
            keys = ", ".join(self._node(loc).get("properties", {}))
            what = "is empty" if detail.get("input") is None else f"must be a section, not {given}"
            return f"{what}; its keys are {keys}"
        if kind == "value_error":
            return str(context["error"])
        if kind == "missing":
            return "is required and missing"
        rule = _RULES.get(kind)
        return rule.format(given=given, **context) if rule else str(detail["msg"])

    def _unknown_key(self, loc: Loc) -> str:
        *section, key = loc
        known = self._node(tuple(section)).get("properties", {})
        if key in known:
            return "is another name for a key that is given too; remove one"
        elsewhere = self._section_of(str(key))
        if elsewhere and not difflib.get_close_matches(str(key), known, n=1, cutoff=0.8):
            return f"is not known here; it belongs under {elsewhere!r}"
        return f"is not a known key{nearest(str(key), known)}"

    def _section_of(self, key: str) -> str | None:
        for name, node in self.schema.get("properties", {}).items():
            if key in self._resolved(node).get("properties", {}):
                return str(name)
        return None


_RULES = {
    "float_type": "must be a number, not {given}",
    "int_type": "must be a whole number, not {given}",
    "int_from_float": "must be a whole number, not {given}",
    "bool_type": "must be true or false, not {given}",
    "string_type": "must be text, not {given}; put it in quotes",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "must match {pattern}, not {given}",
    "finite_number": "must be a finite number, not {given}",
    "greater_than": "must be more than {gt:g}, not {given}",
    "greater_than_equal": "must be at least {ge:g}, not {given}",
    "less_than_equal": "must be at most {le:g}, not {given}",
    "tuple_type": "must be a list, not {given}",
    "sequence_str": "must be a list, not {given}",
    "is_instance_of": "must be a list, not {given}",
    "dict_type": "must be a mapping, not {given}",
    "too_long": "must have at most {max_length} entries",
}


def _shown(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _meant(given: object, choices: list[str]) -> str:
    close = difflib.get_close_matches(str(given).casefold(), choices, n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def _untitled(node: Any, *, names: bool = False) -> Any:
    """Drop the titles that Pydantic derives from names; `names` says that the keys of `node` are names themselves."""
    if isinstance(node, dict):
        return {
            key: item if key == "default" and not names else _untitled(item, names=not names and key in _NAMES)
            for key, item in node.items()
            if names or key != "title"
        }
    return [_untitled(item) for item in node] if isinstance(node, list) else node
