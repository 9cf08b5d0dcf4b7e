"""The public API as data: every name of the public modules, with the signatures of what can be called."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from collections.abc import Mapping
from enum import Enum
from importlib import import_module
from types import ModuleType
from typing import Any

MODULES = (
    "orchestrator",
    "orchestrator.optimization",
    "orchestrator.hooks",
    "orchestrator.metrics",
    "orchestrator.policy_dsl",
)


def public_api() -> dict[str, dict[str, Any]]:
    """Return each public module's names and what they are."""
    return {name: _module(import_module(name)) for name in MODULES}


def _module(module: ModuleType) -> dict[str, Any]:
    own = [name for name, thing in vars(module).items() if getattr(thing, "__module__", "") == module.__name__]
    names = getattr(module, "__all__", [name for name in own if not name.startswith("_")])
    return {name: _shape(getattr(module, name)) for name in sorted(names)}


def _shape(thing: Any) -> Any:
    """Return what a name is: an enum's values, a class's signature and members, a function's signature, or a type."""
    if inspect.isclass(thing) and issubclass(thing, Enum):
        return {member.name: member.value for member in thing}
    if inspect.isclass(thing):
        return {"()": _signature(thing, _annotations(thing)), **_members(thing)}
    return _signature(thing) if inspect.isroutine(thing) else str(thing)


def _annotations(kind: type) -> dict[str, Any]:
    """Return the annotations of a dataclass's fields as they are written; a checked one's signature shows no more."""
    if not dataclasses.is_dataclass(kind):
        return {}
    return {name: written for one in reversed(kind.__mro__) for name, written in inspect.get_annotations(one).items()}


def _members(kind: type) -> dict[str, str]:
    """Return the public properties and methods of a class, those of our own classes above it included."""
    ours = [one for one in reversed(kind.__mro__) if one.__module__.partition(".")[0] == "orchestrator"]
    found = {name: member for one in ours for name, member in vars(one).items() if not name.startswith("_")}
    return {name: said for name, member in sorted(found.items()) if (said := _member(member))}


def _member(member: Any) -> str:
    if isinstance(member, (classmethod, staticmethod)):
        return f"{type(member).__name__} {_signature(member.__func__)}"
    if isinstance(member, property):
        return f"property{_signature(member.fget).partition(')')[2]}"
    return _signature(member) if inspect.isfunction(member) else ""


def _signature(thing: Any, annotations: Mapping[str, Any] | None = None) -> str:
    signature = inspect.signature(thing)
    written = annotations or {}
    parameters = [
        one.replace(annotation=_Written(written.get(name, one.annotation))) if one.annotation is not one.empty else one
        for name, one in signature.parameters.items()
        if not name.startswith("_")
    ]
    result = signature.return_annotation
    if result is not signature.empty:
        result = _Written(result)
    kind = "async " if inspect.iscoroutinefunction(thing) or inspect.isasyncgenfunction(thing) else ""
    return f"{kind}{signature.replace(parameters=parameters, return_annotation=result)}"


class _Written:
    """An annotation as its author wrote it, without what a checked dataclass says about the value besides its type."""

    def __init__(self, annotation: Any) -> None:
        self._text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)

    def __repr__(self) -> str:
        tree = ast.parse(self._text, mode="eval").body
        if isinstance(tree, ast.Subscript) and ast.unparse(tree.value) == "Annotated":
            assert isinstance(tree.slice, ast.Tuple)
            tree = tree.slice.elts[0]
        return ast.unparse(tree)
