"""Replies: schemas that strict modes take, and texts that become objects or a sentence for the model."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.state import Purpose
from orchestrator.wire import (
    REPLIES,
    ChangesReply,
    EvaluationReply,
    PlanReply,
    ReviewReply,
    UnreadableAnswer,
    parse,
    schema_for,
)

KEYS = {
    Purpose.ARCHITECTURE: ["structural_pattern", "topology", "api_paradigm", "data_paradigm", "rationale"],
    Purpose.DECOMPOSE: ["tasks"],
    Purpose.GENERATE: ["files", "edits", "deletions", "renames", "notes"],
    Purpose.REVISE: ["files", "edits", "deletions", "renames", "notes"],
    Purpose.REVIEW: ["findings", "verdict", "score"],
    Purpose.EVALUATE: ["reason", "score"],
    Purpose.DRAFT: ["job", "policy", "rationale"],
}


def nodes(schema: Any) -> list[dict[str, Any]]:
    """Return every schema inside a schema, itself included."""
    found = [schema]
    inside = schema.get("properties", {}).values(), [schema["items"]] if "items" in schema else []
    for inner in (*inside[0], *inside[1], *schema.get("anyOf", [])):
        found += nodes(inner)
    return found


@pytest.mark.parametrize("purpose", list(Purpose))
def test_a_schema_has_the_keys_of_the_contract_and_is_strict(purpose: Purpose) -> None:
    schema = schema_for(purpose)

    assert list(schema["properties"]) == KEYS[purpose]
    for node in nodes(schema):
        assert set(node) <= {"type", "enum", "properties", "required", "additionalProperties", "items", "anyOf"}
        assert ("type" in node) != ("anyOf" in node)
        if node.get("type") == "object":
            assert node["required"] == list(node["properties"])
            assert node["additionalProperties"] is False


def test_the_task_types_and_the_severities_travel_as_enums() -> None:
    task = schema_for(Purpose.DECOMPOSE)["properties"]["tasks"]["items"]
    finding = schema_for(Purpose.REVIEW)["properties"]["findings"]["items"]

    assert task["properties"]["type"]["enum"] == [
        "code_generation",
        "code_review",
        "complex_reasoning",
        "creative_writing",
        "data_extraction",
        "summarization",
        "evaluation",
    ]
    assert finding["properties"]["severity"]["enum"] == ["error", "warning", "note"]
    rename = schema_for(Purpose.GENERATE)["properties"]["renames"]["items"]
    assert list(rename["properties"]) == ["from", "to"]


def test_the_four_vocabularies_of_an_architecture_travel_as_enums() -> None:
    properties = schema_for(Purpose.ARCHITECTURE)["properties"]

    assert {name: node.get("enum") for name, node in properties.items()} == {
        "structural_pattern": ["layered", "hexagonal", "cqrs", "event-driven", "mvc", "clean", "script"],
        "topology": ["monolith", "modular-monolith", "microservices", "serverless", "bff", "library"],
        "api_paradigm": ["rest", "graphql", "grpc", "websocket", "cli", "none"],
        "data_paradigm": ["relational", "document", "key-value", "time-series", "graph", "none"],
        "rationale": None,
    }


@pytest.mark.parametrize("purpose", list(Purpose))
def test_no_schema_has_more_fields_of_two_types_than_strict_modes_take(purpose: Purpose) -> None:
    assert len([node for node in nodes(schema_for(purpose)) if "anyOf" in node]) <= 16


@pytest.mark.parametrize(
    "text",
    [
        '{"score": 0.5, "reason": "x"}',
        '  {"score": 0.5, "reason": "x", "mood": "good"}\n',
        '```json\n{"score": 0.5, "reason": "x"}\n```',
        '```\n{"score": 0.5, "reason": "x"}```',
    ],
)
def test_a_reply_is_read_with_or_without_a_code_fence(text: str) -> None:
    assert parse(text, EvaluationReply) == EvaluationReply(score=0.5, reason="x")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the answer was empty"),
        (" \n", "the answer was empty"),
        ("Sure! Here it is.", "the answer was not JSON: Expecting value at line 1, column 1"),
        ('{"score": 0.5', "the answer was not JSON"),
        ("[1]", "the answer does not follow the schema: the object"),
        ("null", "the answer does not follow the schema: the object"),
        ('{"reason": "x"}', "score: Field required"),
        ('{"score": 1.5, "reason": "x"}', "score: Input should be less than or equal to 1"),
        ('{"score": NaN, "reason": "x"}', "score"),
        ('{"score": 1e999, "reason": "x"}', "score"),
        ('{"score": -0.1, "reason": "x"}', "score: Input should be greater than or equal to 0"),
        ('{"score": 85, "reason": "x"}', "score: Input should be less than or equal to 1"),
        ('{"score": "0.85", "reason": "x"}', "score: Input should be a valid number"),
        ('{"score": "85%", "reason": "x"}', "score: Input should be a valid number"),
        ('{"score": true, "reason": "x"}', "score: Input should be a valid number"),
        ('{"score": null, "reason": "x"}', "score: Input should be a valid number"),
        ('{"score": [0.5], "reason": "x"}', "score: Input should be a valid number"),
        ('{"score": 0.5, "reason": "\\ud800"}', "half a surrogate pair"),
        ("[" * 100_000, "nested too deeply"),
        ('{"score": ' + "9" * 5_000 + ', "reason": "x"}', "holds a number that is far too long"),
        ('{"score": ' + "9" * 4_000 + ', "reason": "x"}', "score"),
    ],
)
def test_what_is_no_reply_is_explained(text: str, message: str) -> None:
    with pytest.raises(UnreadableAnswer, match=message):
        parse(text, EvaluationReply)


def test_only_the_first_errors_of_many_go_back() -> None:
    tasks = [{"id": "", "title": "", "type": "magic", "description": "d"} for _ in range(4)]

    with pytest.raises(UnreadableAnswer, match=r"tasks\.0\.id: .*; and 7 more$"):
        parse(json.dumps({"tasks": tasks}), PlanReply)


def test_a_rename_travels_as_from_and_to() -> None:
    reply = parse('{"renames": [{"from": "a.py", "to": "b.py"}]}', ChangesReply)

    assert [(one.source, one.target) for one in reply.renames] == [("a.py", "b.py")]


def test_a_verdict_is_one_of_two() -> None:
    with pytest.raises(UnreadableAnswer, match="verdict"):
        parse('{"score": 1, "verdict": "maybe", "findings": []}', ReviewReply)


def planned(**other: Any) -> dict[str, Any]:
    return {"id": "a", "title": "A", "type": "code_generation", "description": "d", **other}


@pytest.mark.parametrize(
    ("purpose", "value", "message"),
    [
        (Purpose.DECOMPOSE, {"tasks": [planned()] * 101}, "tasks: has 101 items, 1 more than the 100 that are allowed"),
        (
            Purpose.DECOMPOSE,
            {"tasks": [planned(title="t" * 250)]},
            "tasks.0.title: has 250 characters, 50 more than the 200 that are allowed",
        ),
        (
            Purpose.DECOMPOSE,
            {"tasks": [planned(description="d" * 8_001)]},
            "tasks.0.description: has 8,001 characters, 1 more than the 8,000 that are allowed",
        ),
        (
            Purpose.DECOMPOSE,
            {"tasks": [planned(files=["é" * 201])]},
            "tasks.0.files.0: has 402 bytes, 2 more than the 400 that are allowed",
        ),
        (
            Purpose.GENERATE,
            {"files": [{"path": f"f{number}", "content": ""} for number in range(150)], "deletions": ["g"] * 60}
            | {"renames": [{"from": f"f{number}", "to": f"t{number}"} for number in range(60)]},
            "the object: changes 211 files, 11 more than the 200 that are allowed",
        ),
        (
            Purpose.REVISE,
            {"files": [{"path": "f", "content": "x" * 1_048_580}]},
            "files.0.content: has 1,048,580 bytes, 4 more than the 1,048,576 that are allowed",
        ),
        (
            Purpose.REVISE,
            {"files": [{"path": f"f{number}", "content": "x" * 1_048_576} for number in range(11)]},
            "the object: has 11,534,336 bytes in all, 1,048,576 more than the 10,485,760 allowed",
        ),
        (
            Purpose.GENERATE,
            {"notes": "n" * 4_100},
            "notes: has 4,100 characters, 100 more than the 4,000 that are allowed",
        ),
        (
            Purpose.REVIEW,
            {"score": 1, "verdict": "approve"} | {"findings": [{"path": "a", "severity": "note", "message": "m"}] * 51},
            "findings: has 51 items, 1 more than the 50 that are allowed",
        ),
        (
            Purpose.REVIEW,
            {"score": 1, "verdict": "approve"}
            | {"findings": [{"path": "a", "severity": "note", "message": "m" * 2_001}]},
            "findings.0.message: has 2,001 characters, 1 more than the 2,000 that are allowed",
        ),
        (
            Purpose.EVALUATE,
            {"score": 1, "reason": "r" * 4_001},
            "reason: has 4,001 characters, 1 more than the 4,000 that are allowed",
        ),
    ],
)
def test_an_answer_above_a_limit_is_told_which_one_and_by_how_much(purpose: Purpose, value: Any, message: str) -> None:
    assert said_of(json.dumps(value), purpose) == f"the answer does not follow the schema: {message}"


def test_a_score_may_be_a_whole_number() -> None:
    assert parse('{"score": 1, "reason": "x"}', EvaluationReply).score == 1.0


@pytest.mark.parametrize(
    ("said", "read"),
    [("1", 1), ("1048576", 1_048_576), ("1048577", 1), ("0", 1), ("-3", 1), ("9" * 4_000, 1)],
)
def test_a_line_that_no_file_has_is_read_as_the_first(said: str, read: int) -> None:
    finding = f'{{"path": "a.py", "line": {said}, "severity": "note", "message": "m"}}'

    reply = parse(f'{{"findings": [{finding}], "verdict": "approve", "score": 1}}', ReviewReply)

    assert [one.line for one in reply.findings] == [read]


def said_of(text: str, purpose: Purpose) -> str:
    """Return what goes back to the model, or an empty string for a usable reply."""
    try:
        parse(text, REPLIES[purpose])
    except UnreadableAnswer as error:
        return str(error)
    return ""


@given(st.text(max_size=300), st.sampled_from(list(Purpose)))
def test_no_text_breaks_the_parser(text: str, purpose: Purpose) -> None:
    assert said_of(text, purpose)[:11] in ("", "the answer ")


plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
keys = st.sampled_from(["files", "score", "tasks", "findings", "x"])
json_values: st.SearchStrategy[Any] = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner), max_leaves=12
)


@given(json_values, st.sampled_from(list(Purpose)))
def test_no_json_breaks_the_parser(value: object, purpose: Purpose) -> None:
    assert said_of(json.dumps(value), purpose)[:11] in ("", "the answer ")


def test_a_key_that_nobody_knows_goes_back_by_its_begin() -> None:
    answer = json.dumps({"job": {"k" * 9000: 1}, "policy": {}, "rationale": "r"})
    with pytest.raises(UnreadableAnswer, match=r"schema: job\.k{80}: Extra inputs are not permitted\Z"):
        parse(answer, REPLIES[Purpose.DRAFT])


def test_an_amount_without_end_is_no_amount() -> None:
    answer = '{"job": {"budget": {"max_usd": 1e999}}, "policy": {}, "rationale": "r"}'
    with pytest.raises(UnreadableAnswer, match="Input should be a finite number"):
        parse(answer, REPLIES[Purpose.DRAFT])
