from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from bot.localhub.faults import Kind
from orchestrator.bucket import Bucket
from orchestrator.errors import RunLost, UsageError
from orchestrator.github.api.access import effective_role, may_command
from orchestrator.github.api.auth import GitHubConnection
from orchestrator.github.api.client import AmbiguousWrite, NoRoom, NotFound, Refused, Unreachable, Urgency
from orchestrator.github.api.limits import MemoryRoom
from orchestrator.github.api.registration import APP_PERMISSIONS
from orchestrator.github.api.repository import head_of
from tests.unit.orchestrator.github.conftest import REPO, Scene

LIMITED = {"message": "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."}


def _mints(scene: Scene) -> int:
    return sum(request.path.endswith("/access_tokens") for request in scene.hub.requests)


def _used(scene: Scene) -> int:
    return sum(token.requests for token in scene.hub.state.tokens.values())


async def _comment(scene: Scene) -> None:
    await scene.client.write("comment", lambda repository: repository.get_issue(1).create_comment("hello"))


async def test_a_read_is_tried_again_after_a_failure(scene: Scene) -> None:
    scene.hub.faults.add(path_regex="matching-refs", kind="status", status=502, times=2)
    assert await head_of(scene.client, "main") is not None
    assert len(scene.waits) == 2


@pytest.mark.parametrize("kind", ["malformed", "page", "truncated"])
async def test_a_spoilt_answer_to_a_read_is_read_again_and_never_kept(scene: Scene, kind: Kind) -> None:
    # given
    head = await scene.hub.commit(REPO, {"README.md": "# Two\n"})
    fault = scene.hub.faults.add(path_regex="matching-refs", kind=kind)
    # when
    found = await head_of(scene.client, "main")
    # then
    assert (found, await head_of(scene.client, "main")) == (head, head)
    assert (fault.hits, len(scene.waits)) == (1, 1)


@pytest.mark.parametrize("kind", ["malformed", "page", "truncated"])
async def test_a_write_whose_answer_is_spoilt_may_have_happened(scene: Scene, kind: Kind) -> None:
    scene.hub.create_issue(REPO, "A", user="maria")
    scene.hub.faults.add(method="POST", path_regex="/comments$", kind=kind)
    with pytest.raises(AmbiguousWrite, match="GitHub's answer was lost while we tried to comment"):
        await _comment(scene)
    assert len(scene.hub.comments(REPO, 1)) == 1


@pytest.mark.parametrize("kind", ["malformed", "page", "truncated"])
async def test_a_token_whose_answer_is_spoilt_is_minted_again(scene: Scene, kind: Kind) -> None:
    fault = scene.hub.faults.add(path_regex="/access_tokens$", kind=kind)
    assert await head_of(scene.client, "main") is not None
    assert (fault.hits, _mints(scene)) == (1, 2)


async def test_a_write_that_is_not_allowed_any_more_is_not_sent_and_reads_go_on(scene: Scene) -> None:
    # given
    scene.hub.create_issue(REPO, "A", user="maria")
    lost: list[bool] = []

    async def allowed() -> None:
        if lost:
            raise RunLost("Another process has taken over.")

    scene.client = scene.github.fenced(allowed).repository(REPO, scene.installation)
    await _comment(scene)
    # when
    lost.append(True)
    with pytest.raises(RunLost):
        await _comment(scene)
    # then
    assert await head_of(scene.client, "main") is not None
    assert len(scene.hub.comments(REPO, 1)) == 1


async def test_a_write_is_not_tried_again_when_it_was_allowed_at_its_first_try_only(scene: Scene) -> None:
    tries: list[int] = []

    async def allowed() -> None:
        tries.append(len(scene.waits))
        if scene.waits:
            raise RunLost("Another process has taken over.")

    fault = scene.hub.faults.add(path_regex="/comments$", kind="status", status=429, headers={"retry-after": "60"})
    scene.hub.create_issue(REPO, "A", user="maria")
    scene.client = scene.github.fenced(allowed).repository(REPO, scene.installation)
    with pytest.raises(RunLost):
        await _comment(scene)
    # The wait that GitHub asked for is where a process may have been taken for dead.
    assert (fault.hits, tries, scene.hub.comments(REPO, 1)) == (1, [0, len(scene.waits)], [])


async def test_a_wait_that_github_asks_for_is_honoured(scene: Scene) -> None:
    scene.hub.create_issue(REPO, "A", user="maria")
    scene.hub.faults.add(
        method="POST", path_regex="/comments$", kind="status", status=403, headers={"retry-after": "7"}, body=LIMITED
    )
    await _comment(scene)
    assert scene.waits == [7.0]
    assert len(scene.hub.comments(REPO, 1)) == 1


async def test_a_wait_beyond_bounds_fails_at_once_and_may_succeed_later(scene: Scene) -> None:
    scene.hub.faults.add(
        path_regex="matching-refs", kind="status", status=429, headers={"retry-after": "3600"}, body=LIMITED
    )
    with pytest.raises(Unreachable):
        await head_of(scene.client, "main")
    assert scene.waits == []


async def test_what_was_read_is_asked_for_again_only_if_it_has_changed_and_costs_nothing_until_then(
    scene: Scene,
) -> None:
    issue = scene.hub.create_issue(REPO, "A", user="maria")

    async def read() -> list[str]:
        return await scene.client.read("list", lambda it: [one.body for one in it.get_issue(issue).get_comments()])

    scene.hub.comment(REPO, issue, "one", user="maria")
    first, used = await read(), _used(scene)
    assert (await read(), _used(scene)) == (first, used)
    scene.hub.comment(REPO, issue, "two", user="maria")
    assert (await read(), _used(scene)) == (["one", "two"], used + 1)
    statuses = [it.status for it in scene.hub.requests if it.path.endswith("/comments")]
    assert statuses == [200, 304, 200]


async def test_every_page_of_a_list_that_has_not_changed_is_read_from_memory(scene: Scene) -> None:
    issue = scene.hub.create_issue(REPO, "A", user="maria")
    for number in range(130):
        scene.hub.comment(REPO, issue, str(number), user="maria")

    async def count() -> int:
        return await scene.client.read("list", lambda it: len(list(it.get_issue(issue).get_comments())))

    assert [await count(), await count()] == [130, 130]
    assert [it.status for it in scene.hub.requests if it.path.endswith("/comments")] == [200, 200, 304, 304]


async def test_another_token_reads_for_itself(scene: Scene) -> None:
    other = scene.github.repository(REPO, scene.installation)
    assert await head_of(scene.client, "main") == await head_of(other, "main")
    assert {it.status for it in scene.hub.requests if "matching-refs" in it.path} == {200}


async def test_a_limit_holds_for_every_call_of_the_installation_and_for_no_other(scene: Scene) -> None:
    await scene.hub.create_repository("octo/second", {"README.md": "# Second\n"})
    await scene.hub.create_repository("acme/other", {"README.md": "# Other\n"})
    assert scene.github.app is not None
    for name in ("octo/second", "acme/other"):
        scene.hub.install_app(int(scene.github.app.app_id), name)
    scene.hub.faults.add(
        path_regex="octo/demo.*matching-refs", kind="status", status=429, headers={"retry-after": "3600"}, body=LIMITED
    )
    with pytest.raises(Unreachable):
        await head_of(scene.client, "main")

    with pytest.raises(Unreachable, match=r"GitHub limits this installation for 3\d\d\d s more, so it could not say"):
        await head_of(scene.github.repository("octo/second"), "main")
    assert await head_of(scene.github.repository("acme/other"), "main") is not None
    assert scene.waits == []


async def test_a_limit_is_never_taken_for_a_missing_permission(scene: Scene) -> None:
    told = {"retry-after": "3600"}
    scene.hub.faults.add(
        path_regex="matching-refs", kind="status", status=403, headers=told, body={"message": "Slow down"}
    )
    with pytest.raises(Unreachable, match="403 Slow down"):
        await head_of(scene.client, "main")


async def test_a_secondary_limit_that_names_no_time_is_waited_for_longer_each_time(scene: Scene) -> None:
    scene.client.limited_seconds = 60.0
    fault = scene.hub.faults.add(path_regex="matching-refs", kind="status", status=403, body=LIMITED, times=9)
    with pytest.raises(Unreachable):
        await head_of(scene.client, "main")
    assert (fault.hits, scene.waits) == (3, [60.0, 120.0])


async def test_the_last_call_of_the_primary_limit_is_followed_by_none_until_it_is_reset(scene: Scene) -> None:
    reset = str(int(time.time()) + 30)
    used_up = {"x-ratelimit-remaining": "0", "x-ratelimit-limit": "5000", "x-ratelimit-reset": reset}
    answer = {"permission": "write", "role_name": "write"}
    scene.hub.faults.add(path_regex="/permission$", kind="status", status=200, headers=used_up, body=answer)
    assert (await may_command(scene.client, "maria", "write")).granted
    assert scene.waits == []
    await head_of(scene.client, "main")
    (wait,) = scene.waits
    assert 28 < wait < 32


async def test_a_final_write_waits_for_room_and_progress_does_not(scene: Scene) -> None:
    scene.hub.create_issue(REPO, "A", user="maria")
    scene.client.limits.room = MemoryRoom(Bucket(capacity=2.0, a_second=0.1, reserve=1.0), scene.github.clock)

    async def comment(urgency: Urgency) -> None:
        await scene.client.write("comment", lambda it: it.get_issue(1).create_comment("hello"), urgency=urgency)

    await comment("progress")
    with pytest.raises(NoRoom, match="as much on GitHub as it may for now: no room to comment"):
        await comment("progress")
    await comment("final")
    await comment("none")
    assert scene.waits == []
    await comment("final")
    (wait,) = scene.waits
    assert 9 < wait <= 10
    assert len(scene.hub.comments(REPO, 1)) == 4


async def test_a_final_write_waits_two_minutes_at_most(scene: Scene) -> None:
    scene.client.limits.room = MemoryRoom(Bucket(capacity=0.0, a_second=0.001, reserve=0.0), scene.github.clock)
    with pytest.raises(NoRoom):
        await _comment(scene)
    assert scene.waits == []


async def test_a_read_that_never_succeeds_ends_after_five_attempts(scene: Scene) -> None:
    fault = scene.hub.faults.add(path_regex="matching-refs", kind="drop_before", times=99)
    with pytest.raises(Unreachable, match="GitHub could not be reached to say where main stands"):
        await head_of(scene.client, "main")
    assert (fault.hits, len(scene.waits)) == (5, 4)


@pytest.mark.parametrize("kind", ["status", "drop_after"])
async def test_a_write_whose_answer_was_lost_is_never_sent_again_blindly(scene: Scene, kind: str) -> None:
    scene.hub.create_issue(REPO, "A", user="maria")
    fault = scene.hub.faults.add(method="POST", path_regex="/comments$", kind=kind, times=9)  # type: ignore[arg-type]
    with pytest.raises(AmbiguousWrite):
        await _comment(scene)
    assert (fault.hits, scene.waits) == (1, [])


async def test_a_refusal_says_what_and_with_which_status(scene: Scene) -> None:
    with pytest.raises(NotFound) as caught:
        await scene.client.read("read a commit", lambda repository: repository.get_git_commit("0" * 40))
    assert str(caught.value).startswith("GitHub would not read a commit: 404 Not Found")
    scene.hub.faults.add(path_regex="matching-refs", kind="status", status=403, body={"message": "Forbidden"})
    with pytest.raises(Refused, match="403 Forbidden"):
        await head_of(scene.client, "main")


async def test_sec_35_a_token_is_for_one_repository_with_the_least_permissions(scene: Scene) -> None:
    await head_of(scene.client, "main")
    (mint,) = (request for request in scene.hub.requests if request.path.endswith("/access_tokens"))
    asked = json.loads(mint.body)
    assert asked == {"repositories": ["demo"], "permissions": APP_PERMISSIONS}


async def test_sec_35_a_refused_token_is_minted_anew_once(scene: Scene) -> None:
    await head_of(scene.client, "main")
    scene.hub.state.tokens.clear()
    await head_of(scene.client, "main")
    assert _mints(scene) == 2


async def test_sec_35_a_token_that_is_refused_at_the_last_attempt_is_minted_anew_for_one_more(scene: Scene) -> None:
    await scene.client.token()
    scene.hub.faults.add(path_regex="/repos/octo/demo$", kind="status", status=502, times=4)
    scene.hub.faults.add(path_regex="/repos/octo/demo$", kind="status", status=401, times=1)

    assert await scene.client.read("name it", lambda repository: repository.default_branch) == "main"
    assert len(scene.waits) == 4


async def test_sec_35_a_token_is_minted_anew_before_it_is_fifty_minutes_old(scene: Scene) -> None:
    assert scene.client.token_seconds == 3000.0
    await scene.client.token()
    scene.client.token_seconds = 0.0
    await scene.client.token()
    assert _mints(scene) == 2


async def test_an_installation_that_grants_less_gives_what_it_has(scene: Scene) -> None:
    app_id, key = scene.hub.create_app("small", None, "s" * 32, permissions={"contents": "read", "issues": "write"})
    installation = scene.hub.install_app(app_id, REPO)
    github = GitHubConnection.from_environment(
        {"GITHUB_API_URL": scene.hub.api_url, "GITHUB_APP_ID": str(app_id), "GITHUB_APP_PRIVATE_KEY": key}
    )
    assert await head_of(github.repository(REPO, installation), "main") is not None


async def test_the_installation_is_looked_up_when_it_is_not_known(scene: Scene) -> None:
    assert await head_of(scene.github.repository(REPO), "main") is not None


async def test_we_know_our_own_login_with_an_app_a_person_and_a_workflow(scene: Scene) -> None:
    assert await scene.github.login(scene.client) == "orchestrator[bot]"
    for token, login in (
        (scene.hub.token_for("maria"), "maria"),
        (scene.hub.workflow_token(REPO), "github-actions[bot]"),
    ):
        github = GitHubConnection.from_environment({"GITHUB_API_URL": scene.hub.api_url, "GITHUB_TOKEN": token})
        assert await github.login(github.repository(REPO)) == login


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({}, "There are no credentials for GitHub"),
        ({"GITHUB_APP_ID": "1"}, "GITHUB_APP_PRIVATE_KEY is not set"),
        ({"GITHUB_APP_PRIVATE_KEY": "x"}, "GITHUB_APP_ID is not set"),
        ({"GITHUB_APP_ID": "1", "GITHUB_APP_PRIVATE_KEY": "nowhere.pem"}, "neither PEM text nor a readable file"),
        ({"GITHUB_TOKEN": "t", "GITHUB_API_URL": "http://ghes.example/api/v3"}, "must be an https address"),
    ],
)
def test_credentials_that_cannot_be_used_are_named(environment: dict[str, str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        GitHubConnection.from_environment(environment)


def test_a_key_is_read_from_its_file_and_never_shown(scene: Scene, tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_text("-----BEGIN PRIVATE KEY-----\\nabc\\n-----END PRIVATE KEY-----")
    github = GitHubConnection.from_environment({"GITHUB_APP_ID": "1", "GITHUB_APP_PRIVATE_KEY": str(path)})
    assert (github.seconds_between_writes, github.api_url) == (1.0, "https://api.github.com")
    assert "abc" not in repr(github)


@pytest.mark.parametrize(
    ("login", "at_least", "granted", "role"),
    [
        ("maria", "write", True, "write"),
        ("maria", "maintain", False, "write"),
        ("stranger", "write", False, "read"),
        ("stranger", "triage", False, "read"),
        ("nobody-there", "triage", False, "none"),
        ("maria", "read", False, "none"),
        ("ma/../ria", "triage", False, "none"),
    ],
)
async def test_sec_06_the_permission_alone_grants(
    scene: Scene, login: str, at_least: str, granted: bool, role: str
) -> None:
    access = await may_command(scene.client, login, at_least)
    assert (access.granted, access.role) == (granted, role)


@pytest.mark.parametrize("status", [403, 404, 500])
async def test_sec_06_an_error_denies(scene: Scene, status: int) -> None:
    scene.hub.faults.add(path_regex="/permission$", kind="status", status=status, times=9)
    assert not (await may_command(scene.client, "maria", "triage")).granted


async def test_sec_06_a_time_out_denies(scene: Scene) -> None:
    await head_of(scene.client, "main")
    scene.client.deadline = 0.05
    scene.hub.faults.add(path_regex="/permission$", kind="delay", seconds=0.3, times=9)
    assert not (await may_command(scene.client, "maria", "triage")).granted


@pytest.mark.parametrize(
    ("answer", "role"),
    [
        ({"permission": "write", "role_name": "maintain"}, "maintain"),
        ({"permission": "read", "role_name": "triage"}, "triage"),
        ({"permission": "write", "role_name": "release-captain"}, "write"),
        ({"permission": "read", "role_name": "admin"}, "read"),
        ({"permission": "none", "role_name": "none"}, "none"),
        ({"permission": "owner"}, "none"),
        ({"role_name": "admin"}, "none"),
        ([], "none"),
        (None, "none"),
    ],
)
def test_sec_06_a_custom_role_counts_as_its_legacy_permission(answer: object, role: str) -> None:
    assert effective_role(answer) == role
