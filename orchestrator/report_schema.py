"""The JSON Schema of `report.json`, as `report.schema.json` publishes it: its keys, and what may stand in them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from enum import StrEnum
from typing import Any

from orchestrator.budget import Phase
from orchestrator.codes import Code, CodeKind
from orchestrator.sections import APP_TYPES
from orchestrator.state import ProjectStatus, Purpose, RiskLevel, Severity, TaskStatus, TaskType, ValidationStatus

WITHOUT_A_RUN = ("planned", "answered", "refused", "denied", "spec_invalid", "ignored")
"""How a step of the Action ends besides a run's own statuses; its report says so with empty lists."""

_Schema = dict[str, Any]
_TEXT: _Schema = {"type": "string"}
_FLAG: _Schema = {"type": "boolean"}
_COUNT: _Schema = {"type": "integer", "minimum": 0}
_AMOUNT: _Schema = {"type": "number", "minimum": 0}
_SHARE: _Schema = {"type": "number", "minimum": 0, "maximum": 1}


def report_schema() -> _Schema:
    """Return the schema; `required` is everything that each report has, and nothing else may stand in it."""
    usd = "in USD"
    phase = _record(low_usd=_AMOUNT, estimated_usd=_AMOUNT, high_usd=_AMOUNT)
    properties: _Schema = {
        "project_id": _said(_TEXT, "The run's id; empty where there was no run."),
        "title": _TEXT,
        "status": _said(_one_of([*ProjectStatus, *WITHOUT_A_RUN]), "Where the run stands, or how the step ended."),
        "app_type": _one_of([*APP_TYPES, ""]),
        "score": _said(_SHARE, "How far the result meets the criteria."),
        "offline": _said(_FLAG, "True when the built-in model answered, and no vendor's."),
        "budget": _record(
            max_usd=_said(_AMOUNT, f"The cap {usd}."),
            spent_usd=_said(_AMOUNT, f"The sum of the calls' costs {usd}."),
            left_usd=_said(_AMOUNT, f"What the run left of its cap {usd}."),
            max_time_seconds=_AMOUNT,
            elapsed_seconds=_AMOUNT,
            phases=_map(_one_of(Phase), _record(share_usd=_AMOUNT, spent_usd=_AMOUNT)),
        ),
        "architecture": _record(
            structural_pattern=_TEXT, topology=_TEXT, api_paradigm=_TEXT, data_paradigm=_TEXT, rationale=_TEXT
        ),
        "forecast": _record(
            low_usd=_AMOUNT,
            estimated_usd=_AMOUNT,
            high_usd=_AMOUNT,
            risk_level=_one_of(RiskLevel),
            critical_path_seconds=_AMOUNT,
            phases=_map(_one_of(Phase), phase),
            tasks=_map(_TEXT, _record(**phase["properties"], model=_TEXT, routing=_rows(_choice()))),
        ),
        "tasks": _rows(_task()),
        "calls": _said(_rows(_call()), "One row for every answer that a vendor bills."),
        "validation": _rows(
            _record(
                validator=_TEXT,
                passed=_FLAG,
                status=_one_of(ValidationStatus),
                detail=_TEXT,
                findings=_rows(_finding()),
            )
        ),
        "sandbox": _said(_TEXT, "The rung of isolation that generated code ran in; empty when none was opened."),
        "evaluation": _record(score=_SHARE, reason=_TEXT),
        "outcome": _said(
            _record(code=_said(_code(CodeKind.ENDING), "Empty while the run lives."), reason=_TEXT),
            "Why it ended as it did.",
        ),
        "notes": _rows(_TEXT),
        "files": {**_rows(_TEXT), "uniqueItems": True},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "report.json",
        "description": "The report of a run of the multi-LLM orchestrator. Its codes: docs/codes.md.",
        **_record(**properties),
    }


def report_schema_text() -> str:
    """Return the schema as `report.schema.json` holds it."""
    return json.dumps(report_schema(), indent=2, ensure_ascii=False) + "\n"


def _task() -> _Schema:
    return _record(
        id=_TEXT,
        title=_TEXT,
        type=_one_of(TaskType),
        status=_one_of(TaskStatus),
        depends_on=_rows(_TEXT),
        files=_rows(_TEXT),
        critical=_FLAG,
        threshold=_SHARE,
        score=_SHARE,
        model=_TEXT,
        provider=_TEXT,
        reviewer_model=_TEXT,
        reviewer_provider=_TEXT,
        reviewed_by_own_provider=_FLAG,
        judged_by=_TEXT,
        judgement=_TEXT,
        attempts=_COUNT,
        cost_usd=_AMOUNT,
        input_tokens=_COUNT,
        output_tokens=_COUNT,
        code=_said(_code(CodeKind.TASK), "Why the task did not complete; empty when it did, or has not ended."),
        reason=_TEXT,
        findings=_said(_rows(_finding()), "What the last review found."),
        earlier=_said(_rows(_earlier()), "The attempts that were sent back, before the last one."),
        routing=_rows(_choice()),
    )


def _earlier() -> _Schema:
    return _record(
        round=_said(_COUNT, "How many resumes came before."),
        attempt={"type": "integer", "minimum": 1},
        model=_TEXT,
        code=_code(CodeKind.TASK),
        reviewer_model=_TEXT,
        reviewer_provider=_TEXT,
        judged_by=_TEXT,
        score=_SHARE,
        findings=_rows(_finding()),
    )


def _finding() -> _Schema:
    return _record(
        path=_TEXT,
        line={"type": "integer", "minimum": 1},
        severity=_one_of(Severity),
        code=_one_of(code for code in Code if code.kind is CodeKind.FINDING),
        rule=_said(_TEXT, "The tool's own name for it, where it has one."),
        message=_TEXT,
    )


def _choice() -> _Schema:
    return _record(
        purpose=_one_of(Purpose),
        model=_TEXT,
        reason=_TEXT,
        forecast_usd=_AMOUNT,
        next_model=_said(_TEXT, "The runner-up; empty when nobody else was eligible."),
        next_forecast_usd=_AMOUNT,
        excluded=_rows(_record(model=_TEXT, reason=_TEXT)),
        violations=_rows(_TEXT),
    )


def _call() -> _Schema:
    record = _record(
        task_id=_said(_TEXT, "Empty for calls that serve the whole run."),
        purpose=_one_of(Purpose),
        provider=_TEXT,
        model=_TEXT,
        input_tokens=_COUNT,
        output_tokens=_COUNT,
        cost_usd=_AMOUNT,
    )
    lost = _said({"const": True}, "The answer was lost in a crash, and counts at its reservation.")
    return {**record, "properties": {**record["properties"], "estimated": lost}}


def _record(**properties: _Schema) -> _Schema:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _map(names: _Schema, values: _Schema) -> _Schema:
    return {"type": "object", "propertyNames": names, "additionalProperties": values}


def _rows(items: _Schema) -> _Schema:
    return {"type": "array", "items": items}


def _one_of(values: Iterable[StrEnum | str]) -> _Schema:
    return {"enum": [str(value) for value in values]}


def _code(kind: CodeKind) -> _Schema:
    return _one_of([*(code for code in Code if code.kind is kind), ""])


def _said(schema: _Schema, description: str) -> _Schema:
    return {**schema, "description": description}
