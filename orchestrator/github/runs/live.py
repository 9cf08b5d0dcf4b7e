"""What a round shows on the head that it works on: check runs in progress, and the end of every one left open.

Which are open is noted before they are, so that whoever ends the run, after a crash too, leaves none behind.
"""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.github.api.publisher import Publisher
from orchestrator.github.rendering.checks import CheckRun, Conclusion
from orchestrator.github.rendering.summaries import check_runs, running_checks
from orchestrator.state import ProjectState

_OPEN = ("open_checks", "head")
_PREFIX = "orchestrator/"


async def show_round(publisher: Publisher, state: ProjectState, head_sha: str, names: Sequence[str]) -> str:
    """Bring the check runs of a head up to date while a round works on it; return a note, empty when all is well."""
    value = " ".join([head_sha, *(name.removeprefix(_PREFIX) for name in names)])
    _, known = await publisher.effects.begin(*_OPEN)
    if known != value:
        await publisher.effects.done(*_OPEN, value)
    notes = [await publisher.progress_check_run(head_sha, check) for check in running_checks(state, names)]
    return next((note for note in notes if note), "")


async def end_rounds(
    publisher: Publisher, conclusion: Conclusion, title: str, summary: str, standing: ProjectState | None = None
) -> None:
    """Conclude the check runs that a round has left open on a head; those that are concluded stay as they are.

    Where the round leaves a head behind as it was, `standing` is the run that it was made by: what that one said of it
    holds still.
    """
    _, value = await publisher.effects.begin(*_OPEN)
    if not value:
        return
    head_sha, *names = value.split()
    said = {it.name: it for single in (False, True) for it in (check_runs(standing, single=single) if standing else ())}
    for name in (f"{_PREFIX}{it}" for it in names):
        await publisher.end_check_run(head_sha, said.get(name) or CheckRun(name, conclusion, title, summary))
    await publisher.effects.done(*_OPEN, "")
