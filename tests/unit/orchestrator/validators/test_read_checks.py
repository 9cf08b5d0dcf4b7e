"""Checks that only read: data against the project's own schemas, without a network, and how long files are."""

from __future__ import annotations

import json

import pytest

from orchestrator.sandbox import Sandbox
from orchestrator.state import ValidationResult, ValidationStatus
from orchestrator.validators import ValidationPlan, validate
from tests.unit.orchestrator.validators.conftest import Write

SCHEMA = json.dumps(
    {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "port": {"type": "integer", "minimum": 1},
            "hosts": {"type": "array", "items": {"type": "string"}},
            "since": {"type": "string"},
        },
        "required": ["port"],
    }
)


async def checked(
    write: Write,
    sandbox: Sandbox,
    files: dict[str, str],
    *,
    validator: str = "json_schema",
    paths: list[str] | None = None,
) -> ValidationResult | None:
    plan = ValidationPlan(None if validator == "json_schema" else (validator,))
    results = await validate(write(files), sandbox, plan, environment=None, paths=paths)
    return next((one for one in results if one.validator == validator), None)


def places(result: ValidationResult | None) -> list[tuple[str, int, str]]:
    return [] if result is None else [(one.path, one.line, one.message) for one in result.findings]


@pytest.mark.parametrize(
    ("name", "text", "line", "message"),
    [
        (
            "server.json",
            '{\n\t"$schema": "./schemas/server.json",\n\t"port": "80"\n}',
            3,
            "$.port: '80' is not of type",
        ),
        (
            "conf/a.json",
            '{"$schema": "../schemas/server.json", "hosts":\n ["a",\n 1], "port": 1}',
            3,
            "$.hosts[1]: 1 is",
        ),
        ("a.yaml", "$schema: schemas/server.json\nport: 0\n", 2, "$.port: 0 is less than the minimum of 1"),
        ("b.yml", "# yaml-language-server: $schema=schemas/server.json\nhosts: []\n", 2, "$: 'port' is a required"),
        ("app.json", '{"port": 0}', 1, "$.port: 0 is less"),
        ("app.yaml", "port: 1\nhosts:\n  - 1\n", 3, "$.hosts[0]: 1 is not of type 'string'"),
        ("c.json", '{"$schema": "https://example.com/server#", "port": 0}', 1, "$.port: 0 is less"),
    ],
)
async def test_data_are_checked_against_the_schema_of_the_project_that_they_name_or_stand_beside(
    write: Write, sandbox: Sandbox, name: str, text: str, line: int, message: str
) -> None:
    identified = json.dumps({"$id": "https://example.com/server"} | json.loads(SCHEMA))
    files = {"schemas/server.json": SCHEMA, "app.schema.json": SCHEMA, "by_id.schema.json": identified, name: text}
    result = await checked(write, sandbox, files)
    assert result is not None
    assert result.status is ValidationStatus.FAILED
    assert [(path, number) for path, number, _ in places(result)] == [(name, line)]
    assert places(result)[0][2].startswith(message)


async def test_data_that_fit_pass_and_dates_stay_texts(write: Write, sandbox: Sandbox) -> None:
    files = {"a.schema.json": SCHEMA, "a.yaml": "port: 80\nsince: 2026-11-25\n", "a.json": '{"port": 80}'}
    result = await checked(write, sandbox, files)
    assert result is not None
    assert (result.status, result.detail) == (ValidationStatus.PASSED, "3 files")


async def test_data_without_a_schema_in_the_project_are_left_alone_and_nothing_is_fetched(
    write: Write, sandbox: Sandbox
) -> None:
    files = {
        "package.json": '{"$schema": "https://json.schemastore.org/package", "name": 1}',
        "b.json": '{"$schema": "./node_modules/tool/schema.json", "port": 0}',
        "c.json": '{"$schema": "../outside.json", "port": 0}',
        "d.yaml": "just: data\n---\nmore: data\n",
        "broken.json": "{",
    }
    assert await checked(write, sandbox, files) is None


async def test_a_reference_to_another_file_of_the_project_is_followed(write: Write, sandbox: Sandbox) -> None:
    outer = {"properties": {"server": {"$ref": "parts/server.json"}}}
    files = {"a.schema.json": json.dumps(outer), "parts/server.json": SCHEMA, "a.json": '{"server": {"port": 0}}'}
    assert places(await checked(write, sandbox, files)) == [
        ("a.json", 1, "$.server.port: 0 is less than the minimum of 1")
    ]


async def test_a_reference_that_leads_nowhere_is_a_finding_and_one_to_elsewhere_is_not_fetched(
    write: Write, sandbox: Sandbox
) -> None:
    files = {
        "a.schema.json": '{"$ref": "missing.json"}',
        "a.json": "{}",
        "b.schema.json": '{"$ref": "https://example.com/x.json"}',
        "b.json": "{}",
    }
    found = places(await checked(write, sandbox, files))
    assert [path for path, _, _ in found] == ["a.json"]
    assert "refers to missing.json, which does not exist" in found[0][2]


async def test_schemas_are_checked_against_the_draft_that_they_name(write: Write, sandbox: Sandbox) -> None:
    files = {
        "a.schema.json": '{"type": 3}',
        "a.json": "{}",
        "plain.json": '{"$schema": "http://json-schema.org/draft-07/schema#", "minimum": "x"}',
    }
    found = places(await checked(write, sandbox, files))
    assert [path for path, _, _ in found] == ["a.json", "a.schema.json", "plain.json"]
    assert found[0][2] == "its schema a.schema.json is not a JSON Schema"


async def test_a_task_is_checked_against_a_schema_that_it_did_not_write(write: Write, sandbox: Sandbox) -> None:
    files = {"a.schema.json": SCHEMA, "a.json": "{}"}
    assert places(await checked(write, sandbox, files, paths=["a.json"])) == [
        ("a.json", 1, "$: 'port' is a required property")
    ]


async def test_length_names_files_that_are_empty_or_too_long(write: Write, sandbox: Sandbox) -> None:
    files = {
        "empty.py": "\n",
        "pkg/__init__.py": "",
        "py.typed": "",
        "long.md": "x\n" * 4_001,
        "poetry.lock": "x\n" * 5_000,
        "just.md": "x\n" * 4_000,
        "large.txt": "x" * (1024 * 1024 + 1),
        "image.png": "\0" + "\n" * 5_000,
    }
    result = await checked(write, sandbox, files, validator="length")
    assert places(result) == [
        ("empty.py", 1, "this file is empty; write its content, or leave the file out"),
        ("large.txt", 1, "this file has 1048577 bytes, 1 more than the 1048576 that are allowed"),
        ("long.md", 4_001, "this file has 4001 lines, 1 more than the 4000 that are allowed; split it"),
    ]


async def test_length_is_checked_only_where_the_spec_asks_for_it(write: Write, sandbox: Sandbox) -> None:
    results = await validate(write({"empty.md": ""}), sandbox, ValidationPlan(), environment=None)
    assert [one.validator for one in results] == []


async def test_an_unknown_validator_is_not_run_and_the_nearest_is_named(write: Write, sandbox: Sandbox) -> None:
    (result,) = await validate(write({"a.md": "x"}), sandbox, ValidationPlan(("json_shema",)), environment=None)
    assert (result.status, result.detail) == (
        ValidationStatus.NOT_RUN,
        "There is no validator of this name; did you mean 'json_schema'?",
    )
