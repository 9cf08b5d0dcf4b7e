from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from orchestrator.budget import Budget
from orchestrator.codes import Code
from orchestrator.errors import SpecFinding
from orchestrator.github.rendering import notes, report, status
from orchestrator.github.rendering.checks import Annotation, spec_check
from orchestrator.github.rendering.findings import disagreements, open_reviews, resolved
from orchestrator.github.rendering.graph import task_graph
from orchestrator.github.rendering.markdown import CUT_NOTE, duration, fit, folded, one_line, usd
from orchestrator.github.rendering.plan import plan_comment
from orchestrator.github.rendering.sanitize import inert
from orchestrator.github.rendering.status import Links, answer_line, how_to_go_on, status_line
from orchestrator.github.rendering.summaries import check_runs
from orchestrator.state import (
    ArchitectureDecision,
    CallRecord,
    EarlierAttempt,
    Evaluation,
    Finding,
    Forecast,
    Outcome,
    ProjectState,
    ProjectStatus,
    Purpose,
    Review,
    RouteChoice,
    Task,
    TaskResult,
    TaskStatus,
    TaskType,
    ValidationResult,
    ValidationStatus,
)
from tests.unit.orchestrator.github.states import completed, exhausted, failing, planned, revised, running

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
    "report_revised": lambda: report.report_comment(revised(), tree_url="https://github.com/o/r/blob/orchestrator/1-x"),
    "status_revised": lambda: status.status_comment(
        revised(), Links(42, "https://x/pull/42", "orchestrator/1-x", resumable=True)
    ),
    "plan_waiting": lambda: plan_comment(planned(), approvable=True, waits_above_usd=2.0),
    "pull_request": lambda: report.pull_request_body(completed(), 7),
    "pull_request_failing": lambda: report.pull_request_body(failing(), 7),
    "plan": lambda: plan_comment(planned()),
    "help": notes.help_comment,
    "spec": lambda: notes.spec_comment(SPEC_FINDINGS),
    "refusal": lambda: notes.refusal_comment("a pull request is open."),
}


def test_help_lists_only_the_commands_that_work_here() -> None:
    def listed(text: str) -> list[str]:
        return re.findall(r"^\| `/orchestrate (\[?\w+)", text, re.MULTILINE)

    every = ["[run", "plan", "approve", "status", "cancel", "resume", "revise", "review", "ci", "help"]
    assert listed(notes.help_comment()) == every
    alone = notes.help_comment(resumable=False)
    assert listed(alone) == ["[run", "plan", "status", "revise", "review", "ci", "help"]
    assert alone.endswith("`approve`, `cancel` and `resume` need a database that jobs share, and there is none here.")
    halves = notes.help_comment(resumable=False, revisable=False)
    assert listed(halves) == ["[run", "plan", "status", "ci", "help"]


@pytest.mark.parametrize(
    ("links", "said"),
    [
        (Links(42, resumable=True), "To go on, comment `/orchestrate resume`."),
        (Links(42), "To go on, comment `/orchestrate revise` on #42 with what is left to do."),
        (
            Links(42, revisable=False),
            "To try again, close or merge #42, then comment `/orchestrate` with a hint about what to do otherwise.",
        ),
        (Links(), "To try again, comment `/orchestrate` with a hint about what to do otherwise."),
    ],
)
def test_a_run_that_stopped_early_is_advised_what_works_there(links: Links, said: str) -> None:
    assert how_to_go_on(failing(), links) == said
    assert said in status.status_comment(failing(), links)


@pytest.mark.parametrize("name", RENDERS)
def test_a_text_is_rendered_as_its_golden_file_says(name: str) -> None:
    assert f"{RENDERS[name]()}\n" == (GOLDEN / f"{name}.md").read_text(encoding="utf-8")


def test_the_first_line_of_the_status_is_the_answer() -> None:
    assert status_line(completed(), Links(42)) == "Done: #42 · 2/2 tasks · $1.84 of $5.00 · 6 min"
    assert status_line(running()) == "1/2 tasks · $0.91 of $5.00"
    waiting = replace(running(), status=ProjectStatus.PLANNING, tasks=())
    assert status_line(waiting) == "Planning · $0.91 of $5.00"
    assert answer_line(running(), Links(42)) == "Running: #42 · 1/2 tasks · $0.91 of $5.00 · 6 min"
    assert answer_line(completed(), Links(42)) == status_line(completed(), Links(42))


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
    assert validation.annotations == (
        Annotation("limiter.py", 7, "failure", "test_burst failed", "validation: pytest"),
    )


def test_one_check_run_holds_all_four_and_concludes_the_worst() -> None:
    (run,) = check_runs(failing(), single=True)
    assert (run.name, run.conclusion) == ("orchestrator/run", "failure")
    assert all(f"## {name}" in run.summary for name in ("Budget", "Review", "Architecture", "Validation"))


def test_every_finding_refusal_and_ending_on_github_carries_its_code() -> None:
    shown = report.report_comment(revised())
    for code in ("incomplete", "review_note", "review_error", "python_syntax", "pytest"):
        assert f"(code `{code}`)" in shown
    assert "(code `nothing_changed`)" in status.status_comment(revised())
    assert "(code `pull_request_open`)" in notes.refusal_comment("it is open.", "Not started", Code.PULL_REQUEST_OPEN)
    assert "(code `spec_field`)" in spec_check(SPEC_FINDINGS).summary
    (review,) = (run for run in check_runs(failing()) if run.name == "orchestrator/review")
    assert [note.title for note in review.annotations] == ["review: review_error", "review: review_note"]


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
    assert row.replace("\\|", "").count("|") == 5


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
    assert one_line("`a` and `b") == "'a' and 'b"
    assert one_line("</details> <https://x>") == "<\u2060/details> <https://x>"


def _cancelled() -> ProjectState:
    state = running()
    state.status, state.outcome = ProjectStatus.CANCELLED, Outcome("cancelled", "Cancelled by maria")
    return state


def test_the_first_line_of_a_cancelled_run_says_who_what_was_spent_what_is_left_and_how_to_go_on() -> None:
    first, *rest = status.status_comment(_cancelled(), Links(42, resumable=True)).split("\n\n")
    assert first.startswith("Cancelled by maria: #42 · 1/2 tasks · $0.91 of $5.00 · ")
    assert first.endswith(". Left undone: `tests`. To go on, comment `/orchestrate resume`.")
    assert [part.splitlines()[0] for part in rest[:2]] == ["|  | Task | Review | Cost |", "<details>"]


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
    assert "To build it, comment `/orchestrate approve`. " in plan_comment(planned(), approvable=True)
    assert "To build it, comment `/orchestrate`. " in plan_comment(planned())


def test_a_plan_above_the_threshold_says_that_it_waits_and_which_words_go_on() -> None:
    waits = plan_comment(planned(), approvable=True, waits_above_usd=2.0)
    assert "The forecast is above `require_approval_above_usd` ($2.00), so it waits." in waits
    assert "`/orchestrate approve`" in waits
    assert "`/orchestrate plan --budget USD`" in waits
    # where no later command finds the run, nothing can wait
    fails = plan_comment(planned(), waits_above_usd=2.0)
    assert "so nothing was built. Raise it in `.orchestrator.yaml`, or ask for less." in fails
    assert "approve`" not in fails


def test_the_report_links_the_record_of_the_decision_in_the_branch() -> None:
    state = completed()
    state.files = ("docs/adr/0007-cache the keys.md", "limiter.py")
    shown = report.architecture_section(state, "https://github.example/o/r/blob/orchestrator/1-x")
    link = "https://github.example/o/r/blob/orchestrator/1-x/docs/adr/0007-cache%20the%20keys.md"
    assert f"Recorded in [`docs/adr/0007-cache the keys.md`]({link})." in shown
    assert "Recorded in" not in report.architecture_section(completed(), "https://github.example/o/r/blob/x")


def test_a_finding_that_a_later_review_repeats_is_open_and_one_that_it_does_not_is_resolved() -> None:
    state = revised()
    assert [it.finding.message for it in resolved(state)] == ["divides by zero", "invalid syntax"]
    assert [it.finding.message for it in open_reviews(state)] == ["name it better"]
    # given: the last version failed its checks, so that nobody has looked at it again
    core = state.results["core"]
    state.results["core"] = replace(core, review=None, earlier=core.earlier[1:])
    assert [it.finding.message for it in open_reviews(state)] == ["divides by zero", "name it better"]
    assert resolved(state) == ()


def test_who_contradicts_whom_is_told() -> None:
    assert [head for head, _ in disagreements(revised())] == [
        "Two reviewers",
        "Reviewer and checks",
        "Reviewers and evaluator",
    ]
    assert disagreements(completed()) == ()


def test_what_an_earlier_version_stored_is_rendered_without_phases_routes_and_earlier_attempts() -> None:
    state = completed()
    state.forecast = Forecast(0.9, 2.4, {"core": (0.5, 1.4)}, {"core": "gpt-x"})
    for name, result in state.results.items():
        state.results[name] = replace(result, routes=(), earlier=())
    assert "| `core` Token bucket | $0.50 to $1.40 | $1.20 |  |" in report.report_comment(state)
    assert "| `core` Token bucket |  | `gpt-x` |  | $0.50 to $1.40 |" in plan_comment(state)


LETTERS = 65_535
HOSTILE_LINES = (
    "</details>", "<details>", "```mermaid", "~~~", "| --- |", "## Budget", "<!-- orchestrator:status run=r -->",
    '"]:::x --> t9["', "end", "/orchestrate", "</summary>", "`", "<script>", "\\|",
)  # fmt: skip


def _balanced(text: str) -> bool:
    """Tell whether every fence and fold that a text opens is closed again, in order."""
    fenced, folds = False, 0
    for line in text.split("\n"):
        if line.startswith("```"):
            fenced = not fenced
        elif not fenced:
            folds += line.count("<details>") - line.count("</details>")
        if folds < 0:
            return False
    return not fenced and folds == 0


@settings(max_examples=4, phases=[Phase.generate], suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.lists(st.sampled_from(HOSTILE_LINES), min_size=1, max_size=4),
    st.sampled_from([0, 3, 100]),
    st.sampled_from([1, 300, LETTERS]),
    st.sampled_from(list(ProjectStatus)),
)
def test_texts_of_any_length_stay_within_the_limit_and_leave_nothing_open(
    lines: list[str], tasks: int, letters: int, ending: ProjectStatus
) -> None:
    # given: every text that a model or a stranger wrote is hostile, and as long as GitHub allows
    text = "\n".join(lines * (letters // 8 + 1))[:letters]
    state = _hostile(text, tasks, ending)
    # when
    rendered = [
        status.status_comment(state, Links(7, "https://x/pull/7", "b", text, True)),
        report.report_comment(state, [text] * 3, tree_url="https://x/blob/b"),
        report.pull_request_body(state, 7, [text]),
        plan_comment(state, approvable=True, waits_above_usd=1.0),
        *(check.summary for check in check_runs(state)),
        *(check.summary for check in check_runs(state, single=True)),
    ]
    # then: as rendered, and as published
    for shown in rendered:
        assert len(shown) <= 60_000
        assert _balanced(shown)
        published = fit(inert(shown))
        assert len(published) <= 60_000
        assert _balanced(published)
    headings = [line for line in rendered[1].splitlines() if line.startswith("## ")]
    assert headings == ["## Budget", "## Review", "## Architecture", "## Validation"]
    # and the answer and what to do are never cut off
    assert rendered[0].count("\n\n") >= 2
    assert how_to_go_on(state, Links(7, resumable=True)) in rendered[0]


def _hostile(text: str, tasks: int, ending: ProjectStatus) -> ProjectState:
    """Return a run whose every text is the given one."""
    names = [f"{text[:70]}{number}" for number in range(tasks)]
    finding = Finding(text[:300] or "x", 3, text)
    review = Review(text[:80], text[:100], 0.2, False, (finding,) * 50)
    check = ValidationResult(text[:60], ValidationStatus.FAILED, (finding,) * 50, text)
    route = RouteChoice(Purpose.GENERATE, text[:80], text, 0.1, text[:80], 0.2, ((text[:80], text),) * 20, (text,))
    earlier = EarlierAttempt(0, 1, text[:80], Code.REVIEW_REJECTED, review, validation=(check,))
    result = TaskResult(
        "", TaskStatus.FAILED, 0.2, text[:80], text[:80], 3, 0.1, 1, 1, review, None, (check,), (route,) * 6, text,
        Code.REVIEW_REJECTED, (earlier,),
    )  # fmt: skip
    state = completed()
    state.title, state.status, state.outcome = text, ending, Outcome("incomplete", text)
    state.architecture = ArchitectureDecision(text, text, text, text, text)
    state.tasks = tuple(
        Task(name, text, TaskType.CODE_GENERATION, text, tuple(names[:number]), (text[:200],))
        for number, name in enumerate(names)
    )
    state.results = {name: replace(result, task_id=name) for name in names}
    state.calls = tuple(CallRecord(name, Purpose.GENERATE, text[:40], text[:90], 1, 1, 0.1) for name in names)
    state.validation, state.evaluation = (check,) * 5, Evaluation(0.9, text, text[:80])
    bounds = dict.fromkeys(names, (0.0, 0.05))
    state.forecast = Forecast(1.0, 2.0, bounds, dict.fromkeys(names, text), routes=dict.fromkeys(names, (route, route)))
    state.files, state.sandbox, state.notes = (text[:300],), text, (text,) * 40
    return state


def test_a_diagram_beyond_what_mermaid_draws_says_how_many_dependencies_it_leaves_out() -> None:
    names = [f"t{number}" for number in range(40)]
    tasks = [Task(name, "x", TaskType.CODE_GENERATION, "", tuple(names[:number])) for number, name in enumerate(names)]
    drawn = task_graph(tasks, {"t0": TaskStatus.COMPLETED, "t1": TaskStatus.FAILED})
    assert drawn.count(" --> ") == 400
    assert drawn.endswith("```\n\nThe diagram leaves 380 dependencies out.")
    assert '    t1["t0: x"]:::completed' in drawn
    assert '    t2["t1: x"]:::failed' in drawn
    assert '    t3["t2: x"]\n' in drawn


def test_a_fold_that_is_cut_is_closed_after_the_fence_in_it() -> None:
    text = folded("More", "```\n" + "line\n" * 200 + "```")
    cut = fit(text, 500)
    assert len(cut) <= 500
    assert cut.endswith("line\n```\n\n</details>" + CUT_NOTE)
