"""The App's own endpoints, which belong to no run: each fault once, and for ever."""

from __future__ import annotations

import pytest

from orchestrator.errors import GitHubError
from orchestrator.github.api.client import Unreachable
from orchestrator.github.api.hook import attempts_after
from tests.e2e.endpoints import FAULTS
from tests.unit.orchestrator.github.conftest import Scene

PASSING = [name for name in FAULTS if name != "slow"]


@pytest.mark.parametrize("name", PASSING)
async def test_an_app_learns_who_it_is_after_what_passes(scene: Scene, name: str) -> None:
    fault = scene.hub.faults.add(path_regex="/app$", **FAULTS[name])

    assert await scene.github.app_slug() == "orchestrator"

    assert (fault.hits, len(scene.waits)) == (1, 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", PASSING)
async def test_an_app_that_never_learns_who_it_is_asks_five_times_and_says_so(scene: Scene, name: str) -> None:
    fault = scene.hub.faults.add(path_regex="/app$", times=100, **FAULTS[name])

    with pytest.raises(Unreachable, match=r"GitHub did not say which App this is \(\w+\)") as caught:
        await scene.github.app_slug()

    assert caught.value.hint == "Check GITHUB_APP_ID, GITHUB_APP_PRIVATE_KEY and GITHUB_API_URL."
    assert (fault.hits, len(scene.waits)) == (5, 4)


async def test_an_app_that_github_does_not_know_asks_once(scene: Scene) -> None:
    fault = scene.hub.faults.add(path_regex="/app$", kind="status", status=404, times=100)

    with pytest.raises(GitHubError, match="GitHub did not say which App this is"):
        await scene.github.app_slug()

    assert (fault.hits, scene.waits) == (1, [])


@pytest.mark.slow
@pytest.mark.parametrize("name", PASSING)
async def test_a_sweep_over_deliveries_asks_once_and_leaves_the_rest_to_the_next_one(scene: Scene, name: str) -> None:
    fault = scene.hub.faults.add(path_regex="/app/hook/deliveries$", times=100, **FAULTS[name])

    with pytest.raises(GitHubError, match=r"to list the deliveries|would not list the deliveries"):
        await attempts_after(scene.github, 0, 0.0, pages=50)

    assert fault.hits == 1
