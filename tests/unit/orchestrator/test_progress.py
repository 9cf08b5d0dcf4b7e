"""What a person sees while a run goes and when it has ended."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from orchestrator.budget import Budget
from orchestrator.events import Event, EventType
from orchestrator.progress import Picture, architecture_block, follow, line, plain, plan_text, show, summary
from orchestrator.sections import BudgetSpec
from orchestrator.state import (
    Forecast,
    Outcome,
    ProjectState,
    ProjectStatus,
    RiskLevel,
    Task,
    TaskResult,
    TaskStatus,
    TaskType,
)

TASK = Task("a", "Write a", TaskType.CODE_GENERATION, "")


def event(kind: EventType, /, **data: object) -> Event:
    return Event(kind, "run-1", data, 0.0)


EVENTS = [
    event(EventType.PROJECT_STARTED, title="Notes", app_type="generic"),
    event(
        EventType.ARCHITECTURE_DECIDED,
        structural_pattern="layered",
        topology="library",
        api_paradigm="none",
        data_paradigm="none",
        rationale="A library needs no more.",
    ),
    event(
        EventType.PLAN_READY,
        tasks=[{"id": "a", "title": "Write a"}, {"id": "b", "title": "Write b"}],
        low_usd=0.1,
        high_usd=0.2,
    ),
    event(EventType.TASK_STARTED, task_id="a", title="Write a"),
    event(EventType.CALL_SETTLED, task_id="a", purpose="generate", model="m", cost_usd=0.01, spent_usd=0.03),
    event(EventType.CALL_FAILED, task_id="a", purpose="generate", model="m", kind="rate_limited", retried=True),
    event(EventType.ANSWER_REJECTED, task_id="", purpose="decompose", model="m", kind="malformed", retried=False),
    event(EventType.VALIDATION_COMPLETED, task_id="a", results={"ruff": "failed", "pytest": "not_run"}),
    event(EventType.VALIDATION_COMPLETED, task_id="", results={}),
    event(EventType.BUDGET_WARNING, phase="generation", ratio=0.83, spent_usd=0.02),
    event(EventType.BUDGET_WARNING, phase="total", ratio=0.5, spent_usd=0.03),
    event(EventType.VALIDATION_FAILED, task_id="a", validators=["ruff"]),
    event(EventType.TASK_FAILED, task_id="a", title="Write a", reason="no\nmore"),
    event(EventType.TASK_SKIPPED, task_id="b", reason="a task it depends on did not complete"),
    event(EventType.REPAIR_STARTED, task_id="repair-1", validators=["pytest"]),
    event(
        EventType.TASK_COMPLETED,
        task_id="repair-1",
        title="Repair",
        score=0.9,
        cost_usd=0.02,
        model="m",
        reason="",
    ),
    event(EventType.PROJECT_COMPLETED, status="partial", reason="", spent_usd=0.05),
]
LINES = [
    "started: Notes (generic)",
    "architecture: layered, library",
    "plan: 2 tasks, $0.1000 to $0.2000",
    "task a: started",
    "call: generate for a by m, $0.0100, $0.0300 spent",
    "call: generate for a by m failed: rate limited, asked again",
    "call: decompose by m failed: malformed",
    "task a: checked: ruff failed, pytest not run",
    "the whole project: checked: no check applied",
    "budget: 83% of the share of generation used, $0.0200",
    "budget: 50% of the budget used, $0.0300",
    "task a: checks failed: ruff",
    "task a: failed: no",
    "task b: skipped: a task it depends on did not complete",
    "repair-1: the whole project fails pytest",
    "task repair-1: completed, score 0.90, $0.0200",
    "ended: partial, $0.0500 spent",
]


@pytest.mark.parametrize(("happened", "said"), list(zip(EVENTS, LINES, strict=True)))
def test_every_event_is_one_line(happened: Event, said: str) -> None:
    assert line(happened) == said


BLOCK = [
    "🏗 Architecture",
    "   Structural pattern: layered",
    "   Topology:           library",
    "   API paradigm:       none",
    "   Data paradigm:      none",
    "   Rationale:          A library needs no more.",
]


async def test_in_a_pipe_there_is_one_line_per_event_and_a_block_for_the_architecture() -> None:
    out = io.StringIO()
    async with follow(out, BudgetSpec()) as on_event:
        for one in EVENTS:
            await on_event(one)
    assert out.getvalue().splitlines() == [*LINES[:2], *BLOCK, *LINES[2:]]


async def test_on_a_terminal_the_block_of_the_architecture_stays_above_the_table() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    async with follow(out, BudgetSpec()) as on_event:
        await on_event(EVENTS[1])
    for said in BLOCK:
        assert said in out.getvalue()


def test_the_block_of_an_architecture_wraps_long_texts_and_lets_nothing_steer_the_terminal() -> None:
    decided = dict(EVENTS[1].data) | {"rationale": "\x1b[2JIt \u202e" + "is small. " * 12, "topology": "a\nb"}
    block = architecture_block(event(EventType.ARCHITECTURE_DECIDED, **decided))
    assert "   Topology:           a b\n" in block
    assert "   Rationale:          [2JIt is small." in block
    assert block.splitlines()[-1].startswith(" " * 23)
    assert max(map(len, block.splitlines())) <= 78
    assert {character for character in block if ord(character) < 32} == {"\n"}
    assert architecture_block(EVENTS[0]) == ""


def test_a_stream_that_cannot_hold_a_character_gets_a_question_mark() -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="latin-1", write_through=True)
    show("🏗 layered", out)
    assert raw.getvalue() == b"? layered\n"


def test_what_a_model_wrote_steers_no_terminal() -> None:
    said = line(event(EventType.ARCHITECTURE_DECIDED, structural_pattern="\x1b[2Jlayered\nended:", topology="\u202ex"))
    assert said == "architecture: [2Jlayered ended:, x"
    assert plain("a\r\nb\x07\u200bc") == "a bc"


def test_the_picture_shows_tasks_spending_and_the_time_left() -> None:
    # given
    picture = Picture(BudgetSpec(max_usd=2.0, max_time_seconds=600))
    # when
    for one in EVENTS:
        picture.take(one)
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(picture)
    # then
    text = console.export_text()
    assert "1/3 tasks" in text
    assert "$0.05 of $2.00" in text
    assert "10 min left" in text
    assert "failed" in text
    assert "skipped" in text


def state(status: ProjectStatus) -> ProjectState:
    return ProjectState(
        project_id="run-1",
        title="Notes",
        description="",
        criteria="",
        budget=Budget(2.0, 100.0),
        status=status,
        tasks=(TASK,),
        results={"a": TaskResult("a", TaskStatus.COMPLETED)},
        outcome=Outcome("failed", "Because."),
        forecast=Forecast(0.1, 0.3, {"a": (0.1, 0.3)}, {"a": "m"}, 0.2, RiskLevel.MEDIUM),
    )


@pytest.mark.parametrize(
    ("status", "last"),
    [
        (ProjectStatus.BUDGET_EXHAUSTED, "Go on with: python -m orchestrator --resume run-1 --budget 4"),
        (ProjectStatus.TIMED_OUT, "Go on with: python -m orchestrator --resume run-1 --max-time 200"),
        (ProjectStatus.PARTIAL, "Go on with: python -m orchestrator --resume run-1"),
        (ProjectStatus.COMPLETED, "0 files in out; report: out/.orchestrator/report.md"),
    ],
)
def test_the_summary_ends_with_how_to_go_on(status: ProjectStatus, last: str) -> None:
    lines = summary(state(status), "out").splitlines()
    assert lines[0] == f"{status.value}: 1/1 tasks · $0.0000 of $2.00 · 0 s"
    assert lines[1] == "Because."
    assert lines[-1] == last


def test_a_run_whose_cap_was_nothing_is_told_to_set_one() -> None:
    broke = state(ProjectStatus.BUDGET_EXHAUSTED)
    broke.budget = Budget(0.0, 100.0)
    assert summary(broke, "out").splitlines()[-1].endswith("--budget 8")


def test_a_plan_names_its_tasks_with_model_and_forecast() -> None:
    text = plan_text(state(ProjectStatus.WAITING))
    assert "- a: Write a [m, $0.1000 to $0.3000]" in text
    assert "Forecast: $0.1000 to $0.3000, about $0.2000 (medium risk); $0.0000 spent on planning" in text
