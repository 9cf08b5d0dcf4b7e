"""GitHub's OpenAPI description as a judge: which operation a request is, and what is wrong with it and its answer.

The description is OpenAPI 3.0 (https://spec.openapis.org/oas/v3.0.3); its schemas are read as JSON Schema 2020-12.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import ValidationError, best_match
from referencing import Registry
from referencing.jsonschema import DRAFT202012

JSON = dict[str, Any]

HOME = "urn:github"
WITH_SLASHES = ("path", "ref", "branch", "basehead", "dir")
"""Parameters of paths that may hold slashes themselves."""
MAY_BE_EMPTY = "path"
"""Without a path it is the contents of the repository's root, which the description says in its prose only.

https://docs.github.com/en/rest/repos/contents#get-repository-content
"""
COMMON_ERRORS = (401, 403, 404, 422, 429)
"""Any operation may answer these, though the description does not name them everywhere.

https://docs.github.com/en/rest/using-the-rest-api/troubleshooting-the-rest-api
"""
NOT_MODIFIED = 304
"""What any GET with an ETag may be answered, without a body.

https://docs.github.com/en/rest/using-the-rest-api/best-practices-for-using-the-rest-api#use-conditional-requests-if-appropriate
"""
LEGACY = {r"(/repos/[^/]+/[^/]+)/statuses/([0-9a-f]{40})": r"\1/commits/\2/statuses"}
"""Older paths of GET that the description names in its prose only."""
UNDESCRIBED = ("client_id", "user_view_type")
"""What GitHub says of Apps and accounts in more places than the description names."""
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*:\S+")
_NO_SCHEMA = ("nullable", "example", "examples", "externalDocs", "xml", "discriminator")

FORMATS = FormatChecker(formats=())
FORMATS.checks("date-time")(lambda it: not isinstance(it, str) or _TIME.fullmatch(it) is not None)
FORMATS.checks("uri")(lambda it: not isinstance(it, str) or _ADDRESS.fullmatch(it) is not None)


@dataclass(frozen=True, slots=True)
class Operation:
    """A method on a path template, such as `POST /repos/{owner}/{repo}/pulls`."""

    name: str
    described: JSON


class Description:
    """An OpenAPI document of GitHub's."""

    def __init__(self, document: JSON) -> None:
        self._document = document
        self._paths = sorted(
            ((_pattern(template), template) for template in document["paths"]),
            key=lambda pair: (pair[1].count("{"), -len(pair[1])),
        )
        components: JSON = {"components": {"schemas": _named(document["components"]["schemas"])}}
        resource = DRAFT202012.create_resource(components)
        self._components: JSON = components["components"]["schemas"]
        self._registry: Registry[Any] = Registry().with_resource(HOME, resource)
        self._validators: dict[str, Draft202012Validator] = {}

    def operation(self, method: str, path: str) -> Operation | None:
        """Return what a request is, or None when GitHub has no such method or path."""
        if method == "GET":
            for legacy, path_now in LEGACY.items():
                path = re.sub(rf"{legacy}\Z", path_now, path)
        for pattern, template in self._paths:
            if pattern.fullmatch(path) and method.lower() in self._document["paths"][template]:
                described = self._document["paths"][template]
                return Operation(f"{method} {template}", {**described, **described[method.lower()]})
        return None

    def request(self, operation: Operation, query: str, body: Any) -> Iterator[str]:
        """Yield what is wrong with a request's query and body."""
        known = {it["name"]: it for it in map(self._resolved, operation.described.get("parameters", ()))}
        for name, value in parse_qsl(query, keep_blank_values=True):
            schema = known[name].get("schema", {}) if known.get(name, {}).get("in") == "query" else None
            if schema is None:
                yield f"query parameter {name!r} is not known"
            elif schema.get("type") == "integer" and not value.isdigit():
                yield f"query parameter {name!r} is {value!r}, not a whole number"
            elif value not in schema.get("enum", [value]):
                yield f"query parameter {name!r} is {value!r}, not one of {schema['enum']}"
        described = self._resolved(operation.described.get("requestBody", {}))
        schema = described.get("content", {}).get("application/json", {}).get("schema")
        if schema is None:
            if body not in (None, {}):
                yield f"a body was sent where none is known: {body!r:.200}"
        elif body is not None or described.get("required"):
            yield from self._judged(f"{operation.name} request", schema, body)

    def answer(self, operation: Operation, status: int, body: Any, accept: str = "") -> Iterator[str]:
        """Yield what is wrong with an answer."""
        if status == NOT_MODIFIED and operation.name.startswith("GET "):
            if body is not None:
                yield f"a body was answered where nothing was modified: {body!r:.200}"
            return
        described = operation.described["responses"].get(str(status))
        if described is None:
            if status not in COMMON_ERRORS:
                yield f"status {status} is not documented"
                return
            schema: JSON | None = {"$ref": "#/components/schemas/basic-error"}
        else:
            content = self._resolved(described).get("content", {})
            schema = next((it.get("schema") for kind, it in content.items() if "json" in kind), None)
        if isinstance(body, str) and re.search(r"application/vnd\.github\.(v3\.)?(diff|patch|raw|html|sha)", accept):
            return
        if schema is None:
            if body not in (None, {}) and status < 400:
                yield f"a body was answered where none is known: {body!r:.200}"
            return
        yield from self._judged(f"{operation.name} {status}", schema, body)

    def webhook(self, event: str, payload: JSON) -> Iterator[str]:
        """Yield what is wrong with the payload of an event."""
        action = f"-{payload['action']}" if "action" in payload else ""
        name = f"{event}{action}".replace("_", "-")
        described = self._document["x-webhooks"].get(name)
        if described is None:
            yield f"there is no webhook {name!r}"
            return
        schema = described["post"]["requestBody"]["content"]["application/json"]["schema"]
        yield from self._judged(f"webhook {name}", schema, payload)

    def _judged(self, name: str, schema: JSON, value: Any) -> Iterator[str]:
        if name not in self._validators:
            self._validators[name] = Draft202012Validator(
                _json_schema(schema), registry=self._registry, format_checker=FORMATS
            )
        validator = self._validators[name]
        for error in validator.iter_errors(value):
            yield _sentence(best_match([error]) or error)
        # Errors carry a `status` that only some of their schemas name.
        if not re.search(r" 4\d\d$", name):
            yield from (f"{place} is not known" for place in self._unknown([validator.schema], value, ""))

    def _unknown(self, schemas: list[Any], value: Any, place: str) -> Iterator[str]:
        """Yield the places of keys that no schema for their object names, unless one is open to any key."""
        parts = list(self._parts(schemas))
        if isinstance(value, list):
            items = [part["items"] for part in parts if "items" in part]
            for number, entry in enumerate(value if items else ()):
                yield from self._unknown(items, entry, f"{place}[{number}]")
        elif isinstance(value, dict):
            named = [part["properties"] for part in parts if "properties" in part]
            if not named or any(part.get("additionalProperties") for part in parts):
                return
            for key, entry in value.items():
                below = [properties[key] for properties in named if key in properties]
                here = f"{place}.{key}".lstrip(".")
                if not below and key not in UNDESCRIBED:
                    yield here
                yield from self._unknown(below, entry, here)

    def _parts(self, schemas: list[Any]) -> Iterator[JSON]:
        """Yield schemas with all that they refer to or are composed of."""
        for schema in schemas:
            if isinstance(schema, dict):
                if "$ref" in schema:
                    yield from self._parts([self._components[schema["$ref"].rpartition("/")[2]]])
                    continue
                yield schema
                for word in ("allOf", "anyOf", "oneOf"):
                    yield from self._parts(schema.get(word, []))

    def _resolved(self, it: JSON) -> JSON:
        if "$ref" not in it:
            return it
        *_, kind, name = it["$ref"].split("/")
        resolved: JSON = self._document["components"][kind][name]
        return resolved


def _pattern(template: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", template)
    return re.compile("".join(_parameter(part) if index % 2 else re.escape(part) for index, part in enumerate(parts)))


def _parameter(name: str) -> str:
    if name == MAY_BE_EMPTY:
        return ".*"
    return ".+" if name in WITH_SLASHES else "[^/]+"


def _named(schemas: JSON) -> JSON:
    return {name: _json_schema(schema) for name, schema in schemas.items()}


def _json_schema(schema: Any) -> Any:
    """Return a schema of OpenAPI 3.0 in JSON Schema 2020-12, its references as those of the document `HOME`."""
    if isinstance(schema, list):
        return [_json_schema(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return {"$ref": HOME + schema["$ref"]}
    plain: JSON = {}
    for word, value in schema.items():
        if word == "properties":
            plain[word] = _named(value)
        elif word in ("enum", "default"):
            plain[word] = value
        elif word not in _NO_SCHEMA:
            plain[word] = _json_schema(value)
    return {"anyOf": [plain, {"type": "null"}]} if schema.get("nullable") else plain


def _sentence(error: ValidationError) -> str:
    place = error.json_path.removeprefix("$").lstrip(".")
    return f"{place or 'the body'}: {error.message[:300]}"
