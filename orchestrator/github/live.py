"""What a round shows on the head that it works on: check runs in progress, and the end of every one left open.

Which are open is noted before they are, so that whoever ends the run, after a crash too, leaves none behind.
"""

from __future__ import annotations

from orchestrator.github.checks import NAMES, SINGLE_NAME, CheckRun, Conclusion
from orchestrator.github.publisher import Effects, Publisher
from orchestrator.github.report import running_checks
from orchestrator.state import ProjectState

_OPEN = ("open_checks", "head")


async def show_round(
    publisher: Publisher, effects: Effects, state: ProjectState, head_sha: str, *, single: bool
) -> str:
    """Bring the check runs of a head up to date while a round works on it; return a note, empty when all is well."""
    names = (SINGLE_NAME,) if single else NAMES
    value = " ".join([head_sha, *(name.removeprefix("orchestrator/") for name in names)])
    _, known = await effects.begin(*_OPEN)
    if known != value:
        await effects.done(*_OPEN, value)
    notes = [await publisher.progress_check_run(head_sha, check) for check in running_checks(state, single=single)]
    return next((note for note in notes if note), "")


async def end_rounds(publisher: Publisher, effects: Effects, conclusion: Conclusion, title: str, summary: str) -> None:
    """Conclude the check runs that a round has left open on a head; those that are concluded stay as they are."""
    _, value = await effects.begin(*_OPEN)
    if not value:
        return
    head_sha, *names = value.split()
    for name in names:
        await publisher.end_check_run(head_sha, CheckRun(f"orchestrator/{name}", conclusion, title, summary))
    await effects.done(*_OPEN, "")
