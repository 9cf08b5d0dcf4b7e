"""A run that has begun and may not go on: ended in the store and on GitHub, with nothing of it left open."""

from __future__ import annotations

from orchestrator.codes import Code
from orchestrator.github.rendering.markdown import one_line
from orchestrator.github.rendering.notes import failure_comment
from orchestrator.github.rendering.status import ENDINGS
from orchestrator.github.runs.desk import Desk, Earlier, HandledRun, Root
from orchestrator.github.runs.live import end_rounds
from orchestrator.state import ProjectState, ProjectStatus

GO_ON = "To go on with it once that is mended, comment `/orchestrate resume`."


def goes_on(state: ProjectState | None) -> bool:
    """Tell whether a run has begun and neither ended for good nor stands as a plan that waits."""
    return state is not None and not state.status.final and state.status is not ProjectStatus.WAITING


async def in_name_of(desk: Desk, root: Earlier) -> None:
    """Have a round publish in the name of its root, whatever has become of the pull request meanwhile."""
    _, number = await root.effects.begin("round", desk.run_id)
    desk.publisher = desk.publisher.of_run(root.run_id, root.effects)
    standing = await desk.plane.state(root.run_id)
    desk.root = Root(root.run_id, int(number or desk.trigger.issue or 0), root.trigger.issue, standing=standing)


async def end_early(desk: Desk, root: Earlier | None, why: str, code: Code = Code.REFUSED) -> HandledRun:
    """End a run that has begun as cancelled; `why` is a sentence without its full stop, `root` a round's own run."""
    if root is not None:
        await in_name_of(desk, root)
    state = await desk.plane.end_cancelled(desk.run_id, f"the orchestrator, since {why}")
    lead = ENDINGS[ProjectStatus.CANCELLED]
    await end_rounds(desk.publisher, "cancelled", lead, one_line(why), desk.standing)
    body = failure_comment(f"{lead}: {why}.", GO_ON if desk.command.name != "review" else "", code)
    await desk.show_text(body)
    await desk.react("confused")
    await desk.said("ended", state.status.value)
    return HandledRun(desk.run_id, state.status.value, why, state, code=code, report=body)
