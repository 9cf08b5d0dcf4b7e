"""Typed values in columns: JSON on the way in, validated by their types on the way out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import TypeAdapter

Value = TypeVar("Value")

_ADAPTERS: dict[type[Any], TypeAdapter[Any]] = {}


def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def dump(value: object) -> str:
    """Return a value as JSON, after its type."""
    return _adapter(type(value)).dump_json(value).decode()


def must(kind: type[Value], text: str) -> Value:
    """Return the value of that type that a column's JSON holds."""
    value: Value = _adapter(kind).validate_json(text)
    return value


def load(kind: type[Value], text: str | None) -> Value | None:
    """Return the value of that type that a column's JSON holds, or None for an empty column."""
    return None if text is None else must(kind, text)


def columns_of(values: Mapping[str, object]) -> dict[str, object]:
    """Return values as the columns of those names keep them: texts and numbers plain, the rest as JSON."""
    return {name: _column(value) for name, value in values.items()}


def _column(value: object) -> object:
    if value is None or isinstance(value, str | int | float):
        return value
    return json.dumps(value) if isinstance(value, list | tuple) else dump(value)
