from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.budget import Budget
from orchestrator.errors import SpecFinding
from orchestrator.github import notes, report, status
from orchestrator.github.checks import Annotation, spec_check
from orchestrator.github.markdown import CUT_NOTE, duration, fit, one_line, usd
from orchestrator.github.plan import plan_comment
from orchestrator.github.status import Links, how_to_go_on, status_line
from orchestrator.github.summaries import check_runs
from orchestrator.state import ArchitectureDecision, Evaluation, Outcome, ProjectState, ProjectStatus, Task, TaskType
from tests.unit.orchestrator.github.states import completed, exhausted, failing, running

GOLDEN = Path(__file__).parent / "golden"
SPEC_FINDINGS = (SpecFinding(".orchestrator.yaml", 2, 1, "bugdet", "is unknown; did you mean budget?"),)


def _offline() -> ProjectState:
    state = completed()
    state.offline = True
    return state


RENDERS: dict[str, Callable[[], str]] = {
    "status_completed": lambda: status.status_comment(completed(), Links(42, "https://x/pull/42", "orchestrator/1-x")),
    "status_running": lambda: status.status_comment(running()),
    "status_exhausted": lambda: status.status_comment(exhausted()),
    "status_offline_without_permission": lambda: status.status_comment(
        _offline(), Links(None, "https://x/compare/main...b", "b", "This token may not open pull requests.")
    ),
    "report_completed": lambda: report.report_comment(completed(), ["Built on abc; main has moved."]),
    "report_failing": lambda: report.report_comment(failing()),
    "pull_request": lambda: report.pull_request_body(completed(), 7),
    "pull_request_failing": lambda: report.pull_request_body(failing(), 7),
    "plan": lambda: plan_comment(completed()),
    "help": notes.help_comment,
    "spec": lambda: notes.spec_comment(SPEC_FINDINGS),
    "refusal": lambda: notes.refusal_comment("a pull request is open."),
}


@pytest.mark.parametrize("name", RENDERS)
def test_a_text_is_rendered_as_its_golden_file_says(name: str) -> None:
    assert f"{RENDERS[name]()}\n" == (GOLDEN / f"{name}.md").read_text(encoding="utf-8")


def test_the_first_line_of_the_status_is_the_answer() -> None:
    assert status_line(completed(), Links(42)) == "Done: #42 · 2/2 tasks · $1.84 of $5.00 · 6 min"
    assert status_line(running()) == "1/2 tasks · $0.91 of $5.00"
    waiting = replace(running(), status=ProjectStatus.PLANNING, tasks=())
    assert status_line(waiting) == "Planning · $0.91 of $5.00"


def _conclusions(state: ProjectState) -> dict[str, str]:
    return {run.name.removeprefix("orchestrator/"): run.conclusion for run in check_runs(state)}


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (completed(), ("success", "success", "success", "success")),
        (failing(), ("success", "failure", "success", "failure")),
        (exhausted(), ("failure", "failure", "failure", "failure")),
        (replace(running(), status=ProjectStatus.TIMED_OUT), ("timed_out", "failure", "timed_out", "timed_out")),
        (replace(running(), status=ProjectStatus.CANCELLED), ("cancelled", "cancelled", "cancelled", "cancelled")),
    ],
)
def test_the_four_checks_conclude_what_the_run_shows(state: ProjectState, expected: tuple[str, ...]) -> None:
    assert tuple(_conclusions(state).values()) == expected
    assert list(_conclusions(state)) == ["budget", "review", "architecture", "validation"]


def test_validation_fails_when_nothing_ran() -> None:
    assert _conclusions(replace(completed(), validation=()))["validation"] == "failure"


def test_the_checks_annotate_findings_at_file_and_line() -> None:
    (validation,) = (run for run in check_runs(failing()) if run.name == "orchestrator/validation")
    assert validation.annotations == (Annotation("limiter.py", 7, "failure", "test_burst failed", "validation"),)


def test_one_check_run_holds_all_four_and_concludes_the_worst() -> None:
    (run,) = check_runs(failing(), single=True)
    assert (run.name, run.conclusion) == ("orchestrator/run", "failure")
    assert all(f"## {name}" in run.summary for name in ("Budget", "Review", "Architecture", "Validation"))


def test_the_review_says_so_when_only_one_provider_was_allowed() -> None:
    state = completed()
    for name, result in state.results.items():
        assert result.review is not None
        state.results[name] = replace(result, review=replace(result.review, same_provider=True))
    assert "No other provider is allowed" in report.review_section(state)
    (review,) = (run for run in check_runs(state) if run.name == "orchestrator/review")
    assert "by the provider that wrote them" in review.title


def test_a_document_that_was_judged_counts_as_done_and_the_report_says_that_nobody_reviewed_it() -> None:
    # given: two finished tasks, of which one is a text that was judged
    state = completed()
    first, last = state.tasks
    document = replace(last, type=TaskType.WRITING, files=("README.md",), critical=False)
    state.tasks = (first, document)
    judged = replace(state.results[last.id], review=None, evaluation=Evaluation(0.8, "It says all.", "gpt-5-mini"))
    state.results[last.id] = judged
    # then
    assert "| `gpt-5-mini` | 0.80 | a document: judged, not reviewed |" in report.review_section(state)
    (review,) = (run for run in check_runs(state) if run.name == "orchestrator/review")
    assert (review.conclusion, review.title) == ("success", "2 of 2 tasks approved")
    # and code that was only judged does not count
    state.tasks = (first, replace(document, files=("a.py",)))
    (review,) = (run for run in check_runs(state) if run.name == "orchestrator/review")
    assert review.conclusion == "failure"


def test_a_spec_check_annotates_every_error() -> None:
    check = spec_check(SPEC_FINDINGS)
    assert (check.conclusion, check.title) == ("failure", "1 error in .orchestrator.yaml")
    assert check.annotations[0].line == 2
    assert spec_check(()).conclusion == "success"


def test_every_place_where_a_result_is_shown_names_the_offline_model() -> None:
    shown = [status.status_comment(_offline()), report.report_comment(_offline()), plan_comment(_offline())]
    shown += [report.pull_request_body(_offline(), 1), *(run.summary for run in check_runs(_offline()))]
    assert all("offline model" in text for text in shown)


def test_a_report_beyond_the_limit_is_cut_at_a_line_with_a_note() -> None:
    state = completed()
    state.notes = tuple(f"note {number} " + "x" * 500 for number in range(300))
    text = report.report_comment(state)
    assert len(text) <= 60_000
    assert text.endswith(CUT_NOTE)
    assert text.removesuffix(CUT_NOTE).splitlines()[-1].startswith("- note ")


def test_a_block_of_code_that_is_cut_is_closed() -> None:
    cut = fit("```mermaid\n" + "a --> b\n" * 100 + "```", 400)
    assert cut.count("```") == 2


HOSTILE = st.text("`|#<!->\n @octo/\\[]()x", max_size=80)


@given(HOSTILE, HOSTILE)
def test_a_hostile_title_breaks_no_table_and_no_block(title: str, reason: str) -> None:
    task = Task("t", title, TaskType.CODE_GENERATION, "")
    decision = ArchitectureDecision(title, title, title, title, reason)
    state = ProjectState(
        "r", title, "", "", Budget(1.0), ProjectStatus.FAILED, architecture=decision, tasks=(task,),
        outcome=Outcome("failed", reason),
    )  # fmt: skip
    text = report.report_comment(state)
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        "## Budget",
        "## Review",
        "## Architecture",
        "## Validation",
    ]
    assert [line for line in text.splitlines() if line.startswith("```")] == ["```mermaid", "```"]
    (row,) = (line for line in status.status_comment(state).splitlines() if line.startswith("| · "))
    assert row.replace("\\|", "").count("|") == 7


@pytest.mark.parametrize(
    ("amount", "said"), [(0.0, "$0.00"), (0.0012, "$0.0012"), (0.01, "$0.01"), (1.84, "$1.84"), (1234.5, "$1,234.50")]
)
def test_money_is_said_in_cents(amount: float, said: str) -> None:
    assert usd(amount) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (59.4, "59 s"), (60, "1 min"), (360, "6 min"), (5400, "1 h 30 min"), (3600, "1 h")],
)
def test_time_is_said_as_people_do(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_a_text_of_several_lines_is_put_on_one() -> None:
    assert one_line("# a\n\n```\nb") == "\\# a ``` b"


def _cancelled() -> ProjectState:
    state = running()
    state.status, state.outcome = ProjectStatus.CANCELLED, Outcome("cancelled", "Cancelled by maria")
    return state


def test_the_first_line_of_a_cancelled_run_says_who_what_was_spent_what_is_left_and_how_to_go_on() -> None:
    first, *rest = status.status_comment(_cancelled(), Links(42, resumable=True)).split("\n\n")
    assert first.startswith("Cancelled by maria: #42 · 1/2 tasks · $0.91 of $5.00 · ")
    assert first.endswith(". Left undone: `tests`. To go on, comment `/orchestrate resume`.")
    assert [part.splitlines()[0] for part in rest] == ["|  | Task | What | Model | Review | Cost |"]


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (ProjectStatus.BUDGET_EXHAUSTED, "comment `/orchestrate resume --budget USD` with the amount"),
        (ProjectStatus.TIMED_OUT, "raise `budget.max_time_seconds` in `.orchestrator.yaml` and comment"),
        (ProjectStatus.PARTIAL, "To go on, comment `/orchestrate resume`."),
        (ProjectStatus.FAILED, "To go on, comment `/orchestrate resume`."),
        (ProjectStatus.COMPLETED, ""),
    ],
)
def test_a_run_that_can_be_found_again_says_the_very_command_that_goes_on(status: ProjectStatus, says: str) -> None:
    state = running()
    state.status = status
    assert says in how_to_go_on(state, Links(42, resumable=True))
    assert bool(how_to_go_on(state, Links(42, resumable=True))) == bool(says)


def test_a_plan_that_can_be_approved_says_so() -> None:
    assert plan_comment(completed(), approvable=True).endswith("comment `/orchestrate approve`.")
