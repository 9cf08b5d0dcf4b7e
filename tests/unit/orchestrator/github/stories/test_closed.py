"""A run whose issue was closed while nobody worked on it: it is cancelled, and can be taken up where it stands."""

from __future__ import annotations

import pytest

from orchestrator.github.api.publisher import MemoryEffects
from orchestrator.github.stories.closed import close
from orchestrator.github.triggers.closing import Closing
from orchestrator.state import Outcome, ProjectState, ProjectStatus
from tests.unit.orchestrator.github.conftest import REPO, Scene
from tests.unit.orchestrator.github.states import running
from tests.unit.orchestrator.github.stories.test_revise import UNHELD, Rounds, began


class Ending(Rounds):
    """Rounds that can be ended while nobody works on them."""

    async def end_cancelled(self, run_id: str, actor: str) -> ProjectState:
        state = self.states[run_id]
        state.status, state.outcome = ProjectStatus.CANCELLED, Outcome("cancelled", f"Cancelled by {actor}.")
        return state


@pytest.mark.slow
async def test_the_check_runs_that_a_closing_concludes_offer_to_go_on_with_the_run(scene: Scene) -> None:
    opened = await began(scene, plane=Ending())
    state = running()
    state.status = ProjectStatus.INTERRUPTED
    opened.plane.states[opened.earlier.run_id] = state
    closing = Closing(
        delivery_id="d-2",
        event="issues",
        kind="issue",
        actor="maria",
        repository=REPO,
        repository_id=scene.hub.repository(REPO).id,
        number=opened.issue,
        installation_id=scene.installation,
    )

    await close(
        closing, opened.earlier, github=scene.github, plane=opened.plane, effects=MemoryEffects(), operator=UNHELD
    )

    checks = scene.hub.check_runs(REPO)
    offered = {it["name"]: [one["identifier"] for one in it["actions"]] for it in checks if it["actions"]}
    assert offered == {
        "orchestrator/architecture": ["retry_failed"],
        "orchestrator/budget": ["retry_failed"],
        "orchestrator/review": ["retry_failed", "revise_findings"],
        "orchestrator/validation": ["retry_failed"],
    }
