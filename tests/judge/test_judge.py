"""The judge itself, on a small description: what is right passes, and each kind of mistake is told at its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from graphql import build_schema, introspection_from_schema

from tests.judge.__main__ import shortfalls
from tests.judge.graphql import Schema
from tests.judge.openapi import Description
from tests.judge.verdict import judge

JSON = dict[str, Any]

THING: JSON = {
    "type": "object",
    "required": ["id", "made_at"],
    "properties": {
        "id": {"type": "integer", "example": 1},
        "made_at": {"type": "string", "format": "date-time"},
        "owner": {"nullable": True, "anyOf": [{"$ref": "#/components/schemas/owner"}]},
        "kind": {"type": "string", "nullable": True, "enum": ["big", "small"]},
    },
}
OWNER: JSON = {"type": "object", "required": ["login"], "properties": {"login": {"type": "string"}}}
ERROR: JSON = {"type": "object", "properties": {"message": {"type": "string"}}}
SLUG: JSON = {"name": "slug", "in": "path", "schema": {"type": "string"}}
PAGE: JSON = {"name": "page", "in": "query", "schema": {"type": "integer"}}
STATE: JSON = {"name": "state", "in": "query", "schema": {"type": "string", "enum": ["open", "closed"]}}


def _json(schema: JSON) -> JSON:
    return {"content": {"application/json": {"schema": schema}}}


DOCUMENT: JSON = {
    "paths": {
        "/things": {
            "get": {
                "parameters": [{"$ref": "#/components/parameters/page"}, STATE],
                "responses": {"200": _json({"type": "array", "items": {"$ref": "#/components/schemas/thing"}})},
            },
            "post": {
                "requestBody": {
                    "required": True,
                    **_json(
                        {
                            "type": "object",
                            "required": ["name"],
                            "properties": {"name": {"type": "string"}, "parts": {"type": "array", "items": OWNER}},
                        }
                    ),
                },
                "responses": {"201": _json({"$ref": "#/components/schemas/thing"})},
            },
        },
        "/things/{slug}": {"parameters": [SLUG], "delete": {"responses": {"204": {"description": "Gone"}}}},
        "/things/new": {"get": {"responses": {"200": _json({"$ref": "#/components/schemas/thing"})}}},
    },
    "components": {
        "schemas": {"thing": THING, "owner": OWNER, "basic-error": ERROR},
        "parameters": {"page": PAGE},
    },
    "x-webhooks": {
        "thing-made": {
            "post": {
                "requestBody": _json(
                    {
                        "type": "object",
                        "required": ["thing"],
                        "properties": {"action": {"type": "string"}, "thing": {"$ref": "#/components/schemas/thing"}},
                    }
                )
            }
        }
    },
}
GOOD: JSON = {"id": 7, "made_at": "2026-11-25T10:00:00Z", "owner": None, "kind": None}
SDL = """
type Query { node(id: ID!): Node }
type Mutation { close(input: CloseInput!): ClosePayload }
input CloseInput { id: ID!, reason: String }
type ClosePayload { thing: Thing }
interface Node { id: ID! }
type Thing implements Node { id: ID!, closed: Boolean! }
type Other implements Node { id: ID!, size: Int }
"""


@pytest.fixture(scope="module")
def description() -> Description:
    return Description(DOCUMENT)


@pytest.fixture(scope="module")
def schema() -> Schema:
    return Schema(introspection_from_schema(build_schema(SDL)))


def _mistakes(description: Description, schema: Schema, folder: Path, **line: Any) -> list[str]:
    exchange = {"kind": "exchange", "query": "", "accept": "", "request": None, "status": 200, "answer": None, **line}
    (folder / "one.jsonl").write_text(json.dumps(exchange) + "\n")
    return list(judge(folder, description, schema).mistakes)


@pytest.mark.parametrize(
    "line",
    [
        {"method": "GET", "path": "/things", "query": "page=2&state=open", "answer": [GOOD]},
        {"method": "GET", "path": "/api/v3/things/new", "answer": {**GOOD, "owner": {"login": "a"}, "kind": "big"}},
        {"method": "POST", "path": "/things", "request": {"name": "x"}, "status": 201, "answer": GOOD},
        {"method": "DELETE", "path": "/things/one", "status": 204},
        {"method": "GET", "path": "/things", "status": 304},
        {"method": "DELETE", "path": "/things/one", "status": 404, "answer": {"message": "No", "status": "404"}},
        {"kind": "webhook", "event": "thing", "payload": {"action": "made", "thing": GOOD}},
    ],
)
def test_what_is_described_passes(description: Description, schema: Schema, tmp_path: Path, line: JSON) -> None:
    assert _mistakes(description, schema, tmp_path, **line) == []


POST: JSON = {"method": "POST", "path": "/things", "request": {"name": "x"}, "status": 201, "answer": GOOD}


@pytest.mark.parametrize(
    ("line", "mistake"),
    [
        ({"method": "GET", "path": "/thongs"}, "GET /thongs: GitHub has no such operation"),
        ({"method": "PATCH", "path": "/things"}, "PATCH /things: GitHub has no such operation"),
        (
            {"method": "GET", "path": "/things", "query": "sort=id", "answer": []},
            "GET /things: request: query parameter 'sort' is not known",
        ),
        (
            {"method": "GET", "path": "/things", "query": "page=last", "answer": []},
            "GET /things: request: query parameter 'page' is 'last', not a whole number",
        ),
        (
            {"method": "GET", "path": "/things", "query": "state=shut", "answer": []},
            "GET /things: request: query parameter 'state' is 'shut', not one of ['open', 'closed']",
        ),
        ({**POST, "request": {"name": "x", "nmae": 1}}, "POST /things: request: nmae is not known"),
        (
            {**POST, "request": {"name": "x", "parts": [{"login": "a", "age": 1}]}},
            "POST /things: request: parts[0].age is not known",
        ),
        ({**POST, "request": {}}, "POST /things: request: the body: 'name' is a required property"),
        ({**POST, "request": None}, "POST /things: request: the body: None is not of type 'object'"),
        (
            {"method": "DELETE", "path": "/things/one", "request": {"why": "x"}, "status": 204},
            "DELETE /things/{slug}: request: a body was sent where none is known: {'why': 'x'}",
        ),
        (
            {**POST, "answer": {"id": 7}},
            "POST /things: answer 201: the body: 'made_at' is a required property",
        ),
        ({**POST, "answer": {**GOOD, "size": 1}}, "POST /things: answer 201: size is not known"),
        ({**POST, "answer": {**GOOD, "kind": "huge"}}, "POST /things: answer 201: kind: 'huge' is not one of"),
        (
            {**POST, "answer": {**GOOD, "made_at": "now"}},
            "POST /things: answer 201: made_at: 'now' is not a 'date-time'",
        ),
        ({**POST, "answer": {**GOOD, "owner": {}}}, "POST /things: answer 201: owner: 'login' is a required property"),
        ({**POST, "status": 304}, "POST /things: answer 304: status 304 is not documented"),
        (
            {"method": "GET", "path": "/things", "status": 304, "answer": []},
            "GET /things: answer 304: a body was answered where nothing was modified: []",
        ),
        ({**POST, "status": 200}, "POST /things: answer 200: status 200 is not documented"),
        ({**POST, "answer": None}, "POST /things: answer 201: the body: None is not of type 'object'"),
        (
            {"kind": "webhook", "event": "thing", "payload": {"action": "made"}},
            "webhook thing made: the body: 'thing' is a required property",
        ),
        (
            {"kind": "webhook", "event": "thing", "payload": {"action": "lost"}},
            "webhook thing lost: there is no webhook 'thing-lost'",
        ),
    ],
)
def test_a_mistake_is_told_at_its_place(
    description: Description, schema: Schema, tmp_path: Path, line: JSON, mistake: str
) -> None:
    (found,) = _mistakes(description, schema, tmp_path, **line)

    assert found.startswith(mistake)


NODE = "query($id: ID!) { node(id: $id) { id ... on Thing { shut: closed } } }"
CLOSE = "mutation($input: CloseInput!) { close(input: $input) { thing { closed } } }"


@pytest.mark.parametrize(
    ("query", "variables", "data", "mistake"),
    [
        (NODE, {"id": "1"}, {"node": {"id": "1", "shut": True}}, None),
        (CLOSE, {"input": {"id": "1"}}, {"close": {"thing": {"closed": True}}}, None),
        ("query { node(", {}, None, "graphql: Syntax Error"),
        ("query { thing { id } }", {}, None, "graphql: Cannot query field 'thing' on type 'Query'"),
        (CLOSE, {"input": {"id": "1", "why": "x"}}, None, "graphql: Variable '$input' has invalid value"),
        (NODE, {"id": "1", "size": 3}, {"node": None}, "graphql: variable 'size' is not declared"),
        (NODE, {"id": "1"}, None, "graphql: the answer has neither data nor errors"),
        (CLOSE, {"input": {"id": "1"}}, {"close": {"thing": {}}}, "graphql: answer: 'closed' is missing at"),
        (
            CLOSE,
            {"input": {"id": "1"}},
            {"close": {"thing": {"closed": True, "id": "1"}}},
            "graphql: the answer holds what was not asked for",
        ),
    ],
)
def test_graphql_is_judged_too(
    description: Description,
    schema: Schema,
    tmp_path: Path,
    query: str,
    variables: JSON,
    data: JSON | None,
    mistake: str | None,
) -> None:
    found = _mistakes(
        description,
        schema,
        tmp_path,
        method="POST",
        path="/api/graphql",
        request={"query": query, "variables": variables},
        answer={"data": data},
    )

    assert [it[: len(mistake or "")] for it in found] == ([mistake] if mistake else [])


def test_an_empty_or_incomplete_journal_is_not_taken_for_a_good_one(
    description: Description, schema: Schema, tmp_path: Path
) -> None:
    line = {"kind": "exchange", "method": "GET", "path": "/things", "query": "", "accept": "", "request": None}
    nothing = judge(tmp_path, description, schema)
    (tmp_path / "a.jsonl").write_text(2 * (json.dumps({**line, "status": 200, "answer": []}) + "\n"))
    little = judge(tmp_path, description, schema)

    assert str(nothing) == "Judged nothing: 0 mistakes"
    assert str(little) == "Judged 2 exchange: 0 mistakes"
    assert [len(shortfalls(it)) for it in (nothing, little)] == [3, 3]
