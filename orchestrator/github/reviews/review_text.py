"""What people read about a review of a pull request: its comment, its check run, and the words on the review; pure."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.consensus import Consensus, SharedFinding
from orchestrator.diff_review import not_asked, opinions_of, summary
from orchestrator.github.rendering.checks import CheckRun, Conclusion, annotations_for
from orchestrator.github.rendering.markdown import cell, code, duration, fit, one_line, table, usd
from orchestrator.github.reviews.inline import Remark, said
from orchestrator.state import Finding, ProjectState, ProjectStatus, ValidationResult

CHECK = "orchestrator/review"
OFFLINE = (
    "Reviewed by the **offline model**, which looks for merge conflicts and for errors of syntax in new Python files; "
    "no language model read the change."
)
_STOPPED: dict[ProjectStatus, Conclusion] = {
    ProjectStatus.CANCELLED: "cancelled",
    ProjectStatus.TIMED_OUT: "timed_out",
}
_LEADS = {
    ProjectStatus.COMPLETED: "Reviewed",
    ProjectStatus.PARTIAL: "Partly reviewed",
    ProjectStatus.BUDGET_EXHAUSTED: "Review stopped: the budget is used up",
    ProjectStatus.TIMED_OUT: "Review stopped: the time is up",
    ProjectStatus.CANCELLED: "Review cancelled",
}


def remarks_of(state: ProjectState) -> tuple[Remark, ...]:
    """Return the findings with who made each."""
    return tuple(Remark(shared.finding, " and ".join(shared.by)) for shared in opinions_of(state).findings)


def review_lead(state: ProjectState) -> str:
    """Return the words on the review itself; the comment says the rest."""
    return f"{one_line(summary(opinions_of(state)))} Verdicts, disagreements and costs are in the review's comment."


def review_comment(state: ProjectState, head_sha: str, notes: Sequence[str] = ()) -> str:
    """Return the comment: who said what, where they disagree, what it cost, and what nobody read."""
    opinions = opinions_of(state)
    money = f"{usd(state.budget.spent_usd)} of {usd(state.budget.max_usd)}"
    lead = _LEADS.get(state.status, "Review failed")
    parts = [f"{lead}: {_verdict(opinions)} · {money} · {duration(state.budget.elapsed_seconds)}"]
    if state.offline:
        parts.append(OFFLINE)
    if state.status is not ProjectStatus.COMPLETED or not opinions.opinions:
        parts.append(one_line(state.outcome.reason))
    if reason := not_asked(state):
        parts.append(one_line(reason))
    parts += _disagreement(opinions)
    if opinions.opinions:
        parts.append(_opinions(opinions))
    parts += _findings(opinions)
    tail = [f"- {one_line(note)}" for note in (*state.notes, *notes)]
    if tail:
        parts.append("### Notes\n\n" + "\n".join(tail))
    parts.append(_budget(state))
    again = "To ask again, comment `/orchestrate review`."
    parts.append(f"Of the commit {head_sha[:12]}; nothing of the change was run, and nothing was pushed. {again}")
    return fit("\n\n".join(parts))


def review_check(state: ProjectState, dependencies: Sequence[ValidationResult] = ()) -> CheckRun:
    """Return the check run of the head: success only when everybody who was asked approves of all that was shown.

    A new dependency that does not exist, is days old or of another source blocks whatever they say; where one could not
    be looked up, a person has to look.
    """
    opinions = opinions_of(state)
    blocking = [finding for it in dependencies for finding in it.findings]
    annotations = annotations_for([*blocking, *(_plain(it.finding) for it in opinions.findings)], "review")
    text = review_text(opinions)
    summary_text = f"{OFFLINE}\n\n{text}" if state.offline else text
    conclusion, title = _conclusion(state, opinions)
    if blocking:
        conclusion, title = "failure", f"{title}; a new dependency does not exist, is days old or comes from elsewhere"
    elif conclusion == "success" and not all(it.passed for it in dependencies):
        conclusion, title = "action_required", f"{title}; not every new dependency was looked up"
    return CheckRun(CHECK, conclusion, title[:255], fit(summary_text), annotations, shared=True)


def review_text(opinions: Consensus) -> str:
    """Return who said what, as a check run's summary."""
    parts = [*_disagreement(opinions), *([_opinions(opinions)] if opinions.opinions else []), *_findings(opinions)]
    return "\n\n".join(parts) or "Nobody reviewed the change."


def _conclusion(state: ProjectState, opinions: Consensus) -> tuple[Conclusion, str]:
    if state.status in _STOPPED:
        return _STOPPED[state.status], "stopped before everybody had reviewed the change"
    if state.outcome.code == "nothing_to_do":
        return "action_required", "there is no text to review"
    if not opinions.opinions:
        return "failure", "nobody reviewed the change"
    if not opinions.approved:
        return "failure", _verdict(opinions)
    if state.status is not ProjectStatus.COMPLETED:
        return "action_required", f"not reviewed whole; {_verdict(opinions)}"
    return "success", _verdict(opinions)


def _verdict(opinions: Consensus) -> str:
    return summary(opinions).rstrip(".")


def _disagreement(opinions: Consensus) -> list[str]:
    if not opinions.divided:
        return []
    sides = [
        (word, [it.provider for it in opinions.opinions if it.approved is approved])
        for approved, word in ((False, "requests changes"), (True, "approves"))
    ]
    return ["**They disagree**: " + ", ".join(f"{' and '.join(names)} {word}" for word, names in sides) + "."]


def _opinions(opinions: Consensus) -> str:
    rows = [
        [
            cell(it.provider),
            ", ".join(f"`{code(model)}`" for model in it.models),
            "approves" if it.approved else "requests changes",
            f"{it.score:.2f}",
            str(it.findings),
        ]
        for it in opinions.opinions
    ]
    return table(["Provider", "Model", "Verdict", "Score", "Findings"], rows)


def _findings(opinions: Consensus) -> list[str]:
    if not opinions.opinions:
        return []
    if not opinions.findings:
        return ["No findings."]
    alone = len(opinions.opinions) < 2
    groups: dict[str, list[SharedFinding]] = {}
    for shared in opinions.findings:
        heading = "Findings" if alone else f"Found by {_whose(shared)}"
        groups.setdefault(heading, []).append(shared)
    return [f"### {heading}\n\n" + "\n".join(map(_line, found)) for heading, found in groups.items()]


def _whose(shared: SharedFinding) -> str:
    return "both" if len(shared.by) > 1 else f"{shared.by[0]} only"


def _line(shared: SharedFinding) -> str:
    it = shared.finding
    return f"- {it.severity.value} · `{code(it.path)}:{it.line}` {one_line(said(it.message))}"


def _plain(finding: Finding) -> Finding:
    return Finding(finding.path, finding.line, said(finding.message), finding.severity)


def _budget(state: ProjectState) -> str:
    rows = [
        [
            f"`{code(f'{call.provider}/{call.model}')}`",
            f"{call.input_tokens:,}",
            f"{call.output_tokens:,}",
            usd(call.cost_usd),
        ]
        for call in state.calls
    ]
    forecast = f"; forecast {usd(state.forecast.low_usd)} to {usd(state.forecast.high_usd)}" if state.forecast else ""
    said_ = f"Spent {usd(state.budget.spent_usd)} of {usd(state.budget.max_usd)}{forecast}; {len(rows)} answers."
    listed = f"\n\n{table(['Model', 'Tokens in', 'Tokens out', 'Cost'], rows)}" if rows else ""
    return f"## Budget\n\n{said_}{listed}"
