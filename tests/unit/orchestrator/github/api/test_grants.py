from __future__ import annotations

from typing import Any

import pytest

from orchestrator.errors import GitHubError
from orchestrator.github.api.grants import Grants, Hook, grants_of_app, grants_of_installations, hook_of_app, missing
from orchestrator.github.api.registration import APP_PERMISSIONS
from tests.unit.orchestrator.github.conftest import REPO, Scene


def test_what_is_missing_is_what_is_lower_than_the_manifest_asks_for() -> None:
    assert missing(APP_PERMISSIONS) == ()
    assert missing({**APP_PERMISSIONS, "contents": "admin"}) == ()
    assert missing({**APP_PERMISSIONS, "contents": "read"}) == ("contents: write",)
    assert "metadata: read" in missing({})


async def test_the_app_and_each_installation_are_asked_what_they_grant(scene: Scene) -> None:
    assert scene.github.app is not None
    app_id = int(scene.github.app.app_id)
    await scene.hub.create_repository("acme/other", {"README.md": "# Other\n"})
    scene.hub.install_app(app_id, "acme/other", permissions={**APP_PERMISSIONS, "checks": "read"})
    app = await grants_of_app(scene.github)
    assert (app.account, app.missing_permissions) == ("", ())
    granted = {one.account: one for one in await grants_of_installations(scene.github)}
    assert granted[REPO.partition("/")[0]].missing_permissions == ()
    assert granted["acme"] == Grants("acme", ("checks: write",), app.missing_events)


@pytest.mark.parametrize("strange", [{"permissions": {}}, {"permissions": ["checks"], "events": []}])
async def test_an_answer_of_another_shape_is_an_error_that_is_told(scene: Scene, strange: Any) -> None:
    scene.hub.faults.add(
        method="GET", path_regex="/app(/installations)?$", kind="status", status=200, body=strange, times=9
    )
    with pytest.raises(GitHubError, match=r"GitHub's answer to say what the App may do is none that is known"):
        await grants_of_app(scene.github)
    with pytest.raises(GitHubError, match=r"GitHub's answer to list the installations is none that is known"):
        await grants_of_installations(scene.github)


async def test_the_hook_s_address_is_told_and_that_it_has_a_secret(scene: Scene) -> None:
    assert scene.github.app is not None
    scene.hub.set_webhook(int(scene.github.app.app_id), "http://127.0.0.1:9/webhook")
    assert await hook_of_app(scene.github) == Hook("http://127.0.0.1:9/webhook", True, True, True)
