"""The hidden marks by which our comments are found again; each ends a comment's text."""

from __future__ import annotations


def status_mark(run_id: str) -> str:
    """Return the mark of a run's status comment."""
    return f"<!-- orchestrator:status run={run_id} -->"


def report_mark(run_id: str) -> str:
    """Return the mark of a run's report comment."""
    return f"<!-- orchestrator:report run={run_id} -->"


def note_mark(run_id: str) -> str:
    """Return the mark of a run's answer: a refusal, a broken spec, help."""
    return f"<!-- orchestrator:note run={run_id} -->"
