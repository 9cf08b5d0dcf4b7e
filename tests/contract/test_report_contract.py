"""report.json has at least the fields and types of the contract, however a run ended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from orchestrator.providers.base import CompletionRequest
from orchestrator.report import report
from orchestrator.report_schema import report_schema_text
from orchestrator.specs import JobSpec
from orchestrator.state import ProjectStatus
from tests.reports import PUBLISHED, valid
from tests.unit.orchestrator.models import APPROVED, Models, a_job, plan, sent_back, task, task_of

TEXT = {"type": "string"}
COUNT = {"type": "integer", "minimum": 0}
AMOUNT = {"type": "number", "minimum": 0}


def record(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def rows(**properties: Any) -> dict[str, Any]:
    return {"type": "array", "items": record(**properties)}


TASK_STATUS = {"enum": ["pending", "running", "completed", "failed", "skipped"]}
ENDINGS = ["completed", "partial", "budget_exhausted", "timed_out", "failed", "cancelled", "interrupted"]
TASK_TYPE = {
    "enum": [
        "code_generation",
        "code_review",
        "complex_reasoning",
        "creative_writing",
        "data_extraction",
        "summarization",
        "evaluation",
    ]
}
SCHEMA = record(
    project_id={"type": "string", "minLength": 1},
    status={"enum": ENDINGS},
    app_type={"enum": ["fastapi", "nextjs", "react-vite", "html", "library", "cli", "generic"]},
    budget=record(max_usd=AMOUNT, spent_usd=AMOUNT, max_time_seconds=AMOUNT, elapsed_seconds=AMOUNT),
    architecture=record(structural_pattern=TEXT, topology=TEXT, api_paradigm=TEXT, data_paradigm=TEXT, rationale=TEXT),
    tasks=rows(
        id=TEXT,
        title=TEXT,
        type=TASK_TYPE,
        status=TASK_STATUS,
        depends_on={"type": "array", "items": TEXT},
        score={"type": "number", "minimum": 0, "maximum": 1},
        model=TEXT,
        provider=TEXT,
        reviewer_model=TEXT,
        attempts=COUNT,
        cost_usd=AMOUNT,
        input_tokens=COUNT,
        output_tokens=COUNT,
    ),
    calls=rows(
        task_id=TEXT,
        purpose={"enum": ["architecture", "decompose", "generate", "revise", "review", "evaluate", "draft"]},
        provider=TEXT,
        model=TEXT,
        input_tokens=COUNT,
        output_tokens=COUNT,
        cost_usd=AMOUNT,
    ),
    validation=rows(
        validator=TEXT,
        passed={"type": "boolean"},
        findings=rows(path=TEXT, line={"type": "integer", "minimum": 1}, message=TEXT),
    ),
    outcome=record(code={"type": "string", "minLength": 1}, reason={"type": "string", "minLength": 1}),
    files={"type": "array", "items": TEXT, "uniqueItems": True},
)


def review(request: CompletionRequest) -> str:
    return sent_back("wrong") if task_of(request) == "b" else json.dumps(APPROVED)


PLAN = plan(task("a", files=["z.md", "a.md"]), task("b"), task("c", "b"))


@pytest.mark.parametrize(
    ("models", "job", "status"),
    [
        (Models(plan=plan(task("a", files=["z.md", "a.md"]))), a_job(), ProjectStatus.COMPLETED),
        (Models(plan=PLAN, say={"review": review}), a_job(), ProjectStatus.PARTIAL),
        (Models(), a_job(max_usd=0.0), ProjectStatus.BUDGET_EXHAUSTED),
        (Models(names=()), a_job(), ProjectStatus.FAILED),
        (Models(delay_seconds=0.3), a_job(max_time_seconds=0.7), ProjectStatus.TIMED_OUT),
    ],
)
async def test_a_report_keeps_to_the_contract(
    tmp_path: Path, models: Models, job: JobSpec, status: ProjectStatus
) -> None:
    # when
    output = tmp_path / "out"
    state = await models.run(tmp_path / "state", job=job, output=output)
    # then
    assert state.status is status
    report = json.loads((output / ".orchestrator" / "report.json").read_text())
    jsonschema.Draft202012Validator(SCHEMA).validate(report)
    assert valid(report) == report
    assert report["budget"]["spent_usd"] == sum(call["cost_usd"] for call in report["calls"])
    assert report["files"] == sorted(report["files"])
    present = {path.relative_to(output).as_posix() for path in output.rglob("*") if path.is_file()}
    own = {".orchestrator/files.json", ".orchestrator/report.json", ".orchestrator/report.md"}
    assert present - own == set(report["files"])
    by_task: dict[str, float] = {}
    for call in report["calls"]:
        by_task[call["task_id"]] = by_task.get(call["task_id"], 0.0) + call["cost_usd"]
    for row in report["tasks"]:
        assert row["cost_usd"] == pytest.approx(by_task.get(row["id"], 0.0))


def test_the_published_schema_of_the_report_is_up_to_date_and_a_schema() -> None:
    published = PUBLISHED.read_text(encoding="utf-8")
    assert published == report_schema_text(), "report.schema.json differs from the code; run `make docs`"
    jsonschema.Draft202012Validator.check_schema(json.loads(published))


async def test_the_published_schema_refuses_what_no_report_may_hold(tmp_path: Path) -> None:
    # given
    good = report(await Models().run(tmp_path))
    valid(good)
    # then
    for broken in (
        good | {"extra": 1},
        good | {"status": "done"},
        good | {"outcome": {"code": "done", "reason": ""}},
        good | {"tasks": [good["tasks"][0] | {"score": 1.5}]},
        {name: value for name, value in good.items() if name != "calls"},
    ):
        with pytest.raises(jsonschema.ValidationError):
            valid(broken)


async def test_the_report_for_people_says_the_same_and_no_title_breaks_its_table(tmp_path: Path) -> None:
    # given
    models = Models(plan=plan(task("a", title="Pipes | and\nlines")))
    # when
    await models.run(tmp_path / "state", output=tmp_path / "out")
    # then
    text = (tmp_path / "out" / ".orchestrator" / "report.md").read_text()
    for heading in ("## Tasks", "## Architecture", "## Validation", "## Evaluation", "## Files"):
        assert f"\n{heading}\n" in text
    assert "| a: Pipes \\| and lines | completed | 0.90 |" in text
    assert "**completed** · 1/1 tasks" in text
    assert "- `a.md`" in text


async def written(tmp_path: Path, models: Models, job: JobSpec | None = None) -> tuple[dict[str, dict[str, Any]], str]:
    """Return the rows of report.json by task, and report.md."""
    await models.run(tmp_path / "state", job=job or a_job(), output=tmp_path / "out")
    folder = tmp_path / "out" / ".orchestrator"
    rows = {row["id"]: row for row in json.loads((folder / "report.json").read_text())["tasks"]}
    return rows, (folder / "report.md").read_text()


async def test_the_report_tells_a_review_by_another_provider_from_a_judgement(tmp_path: Path) -> None:
    # given: code, and a document that no policy wants reviewed
    document = task("b", files=["README.md"]) | {"type": "creative_writing"}
    # when
    rows, text = await written(tmp_path, Models(plan=plan(task("a"), document)))
    # then
    code, prose = rows["a"], rows["b"]
    assert (code["critical"], code["threshold"], code["judged_by"]) == (True, 0.85, "")
    assert code["reviewer_provider"] not in ("", code["provider"])
    assert (prose["critical"], prose["threshold"], prose["score"]) == (False, 0.8, 0.8)
    assert (prose["reviewer_model"], prose["judgement"]) == ("", "Every criterion is met.")
    assert prose["judged_by"] not in ("", prose["model"])
    assert f"| {prose['judged_by']} (judged, not reviewed) |" in text


async def test_a_review_by_the_writers_own_provider_never_passes_for_another_ones(tmp_path: Path) -> None:
    # given: no other provider is available
    rows, text = await written(tmp_path, Models(names=("openai",)))
    # then
    assert rows["a"]["reviewed_by_own_provider"] is True
    assert rows["a"]["reviewer_provider"] == rows["a"]["provider"]
    assert f"| {rows['a']['reviewer_model']} (the writer's own provider) |" in text
