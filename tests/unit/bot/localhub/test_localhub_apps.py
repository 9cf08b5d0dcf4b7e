"""Apps: JWTs, tokens of installations, check runs, and the webhooks that they get."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from typing import Any

import github
import httpx2
import jwt
import pytest

from bot.localhub import LocalHub
from tests.unit.bot.localhub.conftest import SECRET, Scene


def as_app(scene: Scene) -> github.Github:
    """Return PyGithub acting as the installation, its token minted by PyGithub itself."""
    auth = github.Auth.AppAuth(scene.app_id, scene.key)
    integration = github.GithubIntegration(
        auth=auth, base_url=scene.hub.api_url, seconds_between_writes=0, seconds_between_requests=0
    )
    return integration.get_github_for_installation(scene.installation_id)


async def token(scene: Scene, **body: Any) -> httpx2.Response:
    async with httpx2.AsyncClient(base_url=scene.hub.api_url, headers=app_headers(scene)) as http:
        return await http.post(f"/app/installations/{scene.installation_id}/access_tokens", json=body)


def app_headers(scene: Scene, **changes: Any) -> dict[str, str]:
    now = int(time.time())
    claims = {"iss": str(scene.app_id), "iat": now - 60, "exp": now + 300, **changes}
    return {"Authorization": "Bearer " + jwt.encode(claims, scene.key, algorithm="RS256")}


async def test_pygithub_finds_its_installation_and_gets_a_token(scene: Scene) -> None:
    def work() -> tuple[str, list[int], int, list[str], str]:
        auth = github.Auth.AppAuth(scene.app_id, scene.key)
        integration = github.GithubIntegration(
            auth=auth, base_url=scene.hub.api_url, seconds_between_writes=0, seconds_between_requests=0
        )
        found = integration.get_repo_installation("octo", "demo")
        names = [repo.full_name for repo in found.get_repos()]
        token = integration.get_access_token(found.id).token
        shape = f"{token[:4]} {len(token)} {token.count('.')}"
        return integration.get_app().slug, [it.id for it in integration.get_installations()], found.id, names, shape

    number = scene.installation_id
    assert await asyncio.to_thread(work) == ("orchestrator", [number], number, ["octo/demo"], "ghs_ 520 2")


@pytest.mark.parametrize("changes", [{"iss": "999999"}, {"iss": "x"}, {"exp": 1}, {"exp": 2**33}, {"iat": 2**33}])
async def test_a_jwt_with_a_wrong_claim_is_401(scene: Scene, changes: dict[str, Any]) -> None:
    async with httpx2.AsyncClient(base_url=scene.hub.api_url, headers=app_headers(scene, **changes)) as http:
        assert (await http.get("/app")).status_code == 401


async def test_a_jwt_signed_with_another_apps_key_is_401(scene: Scene) -> None:
    _, other = scene.hub.create_app("Other", None, "")
    stolen = Scene(scene.hub, scene.receiver, scene.app_id, other, scene.installation_id)
    async with httpx2.AsyncClient(base_url=scene.hub.api_url, headers=app_headers(stolen)) as http:
        assert (await http.get("/app")).status_code == 401


async def test_a_token_is_narrowed_to_repositories_and_permissions(scene: Scene) -> None:
    narrow = (await token(scene, repositories=["demo"], permissions={"issues": "read"})).json()
    assert [repo["full_name"] for repo in narrow["repositories"]] == ["octo/demo"]
    assert narrow["permissions"] == {"metadata": "read", "issues": "read"}

    headers = {"Authorization": f"token {narrow['token']}"}
    async with httpx2.AsyncClient(base_url=scene.hub.api_url, headers=headers) as http:
        read = await http.get("/repos/octo/demo/issues")
        write = await http.post("/repos/octo/demo/issues", json={"title": "x"})
        contents = await http.get("/repos/octo/demo/contents/README.md")

    assert (read.status_code, write.status_code, contents.status_code) == (200, 403, 403)
    assert write.json()["message"] == "Resource not accessible by integration"


async def test_a_token_cannot_be_wider_than_its_installation(scene: Scene) -> None:
    await scene.hub.create_repository("octo/other", {"a": "b"})

    wider = await token(scene, permissions={"administration": "write"})
    elsewhere = await token(scene, repositories=["other"])

    assert (wider.status_code, elsewhere.status_code) == (422, 422)


async def test_a_suspended_installation_is_refused(scene: Scene) -> None:
    value = (await token(scene)).json()["token"]
    scene.hub.suspend_installation(scene.installation_id)
    async with httpx2.AsyncClient(base_url=scene.hub.api_url, headers={"Authorization": f"token {value}"}) as http:
        answer = await http.get("/installation/repositories")

    assert (answer.status_code, (await token(scene)).status_code) == (403, 403)


async def test_what_an_app_commits_without_author_fields_is_verified(scene: Scene) -> None:
    def work() -> tuple[bool, bool, str]:
        repo = as_app(scene).get_repo("octo/demo")
        base = repo.get_branch("main").commit.commit
        plain = repo.create_git_commit("Plain", base.tree, [base])
        author = github.InputGitAuthor("Somebody", "somebody@example.org")
        named = repo.create_git_commit("Named", base.tree, [base], author=author)
        return plain.verification.verified, named.verification.verified, plain.author.name

    assert await asyncio.to_thread(work) == (True, False, "orchestrator[bot]")


async def test_an_app_makes_and_updates_a_check_run_with_annotations_and_a_person_cannot(scene: Scene) -> None:
    note = {"path": "src/demo.py", "start_line": 1, "end_line": 1, "annotation_level": "failure", "message": "No"}
    sha = (await scene.hub.branches("octo/demo"))["main"]

    def work() -> tuple[str, str, int, list[str], str]:
        repo = as_app(scene).get_repo("octo/demo")
        output: Any = {"title": "Lint", "summary": "One", "annotations": [note] * 50}
        run = repo.create_check_run("orchestrator/validation", sha, status="in_progress", output=output)
        run.edit(status="completed", conclusion="failure", output={**output, "annotations": [note]})
        found = list(repo.get_commit(sha).get_check_runs(check_name="orchestrator/validation"))
        messages = [annotation.message for annotation in run.get_annotations()]
        alice = github.Github(
            base_url=scene.hub.api_url, auth=github.Auth.Token(scene.hub.token_for("alice")), seconds_between_requests=0
        )
        with pytest.raises(github.GithubException) as caught:
            alice.get_repo("octo/demo").create_check_run("mine", sha)
        assert isinstance(caught.value.data, dict)
        return found[0].status, found[0].conclusion, len(messages), messages[:1], caught.value.data["message"]

    refused = "Resource not accessible by personal access token"
    assert await asyncio.to_thread(work) == ("completed", "failure", 51, ["No"], refused)
    assert [(run["name"], run["conclusion"]) for run in scene.hub.check_runs("octo/demo")] == [
        ("orchestrator/validation", "failure")
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"output": {"title": "T", "summary": "x" * 65_536}},
        {"output": {"title": "T", "summary": "S", "text": "x" * 65_536}},
        {"output": {"title": "T", "summary": "é" * 32_768}},
        {"output": {"summary": "S"}},
        {"output": {"title": "T", "summary": "S", "annotations": [{}]}},
        {"conclusion": "fine"},
        {"status": "completed"},
        {"actions": [{"label": "x" * 21, "description": "d", "identifier": "i"}]},
        {"actions": [{"label": "x", "description": "d", "identifier": "i"}] * 4},
        {"head_sha": "0" * 40},
        {"completed_at": "yesterday"},
    ],
)
async def test_a_check_run_beyond_githubs_limits_is_422(scene: Scene, change: dict[str, Any]) -> None:
    sha = (await scene.hub.branches("octo/demo"))["main"]
    headers = {"Authorization": "token " + scene.hub.workflow_token("octo/demo")}
    async with httpx2.AsyncClient(base_url=scene.hub.api_url, headers=headers) as http:
        answer = await http.post("/repos/octo/demo/check-runs", json={"name": "x", "head_sha": sha, **change})

    assert answer.status_code == 422
    assert scene.hub.check_runs("octo/demo") == []


async def test_51_annotations_in_one_request_are_422(scene: Scene) -> None:
    note = {"path": "a", "start_line": 1, "end_line": 1, "annotation_level": "notice", "message": "m"}
    sha = (await scene.hub.branches("octo/demo"))["main"]
    output = {"title": "T", "summary": "S", "annotations": [note] * 51}
    headers = {"Authorization": "token " + scene.hub.workflow_token("octo/demo")}
    async with httpx2.AsyncClient(base_url=scene.hub.api_url, headers=headers) as http:
        answer = await http.post("/repos/octo/demo/check-runs", json={"name": "x", "head_sha": sha, "output": output})

    assert (answer.status_code, "No more than 50" in answer.json()["message"]) == (422, True)


async def test_the_latest_check_run_of_a_name_stands_for_it(scene: Scene) -> None:
    sha = (await scene.hub.branches("octo/demo"))["main"]

    def work() -> tuple[int, int, str]:
        repo = as_app(scene).get_repo("octo/demo")
        for _ in range(2):
            repo.create_check_run("same", sha, conclusion="success")
        commit = repo.get_commit(sha)
        return (
            commit.get_check_runs().totalCount,
            commit.get_check_runs(filter="all").totalCount,
            commit.get_check_suites()[0].conclusion,
        )

    assert await asyncio.to_thread(work) == (1, 2, "success")


async def test_a_comment_by_a_user_is_delivered_signed_and_in_githubs_shape(scene: Scene) -> None:
    number = scene.hub.create_issue("octo/demo", "Build it", "Please", user="alice", labels=["bug"])

    def work() -> None:
        alice = github.Github(
            base_url=scene.hub.api_url, auth=github.Auth.Token(scene.hub.token_for("alice")), seconds_between_requests=0
        )
        alice.get_repo("octo/demo").get_issue(number).create_comment("/orchestrate")

    await asyncio.to_thread(work)
    await scene.hub.settled()

    assert sorted(scene.receiver.events()) == [
        ("issue_comment", "created"),
        ("issues", "labeled"),
        ("issues", "opened"),
    ]
    headers, body = next(it for it in scene.receiver.received if it[0]["x-github-event"] == "issue_comment")
    assert headers["x-hub-signature-256"] == "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    assert headers["content-type"] == "application/json"
    assert headers["user-agent"].startswith("GitHub-Hookshot/")
    assert len(headers["x-github-delivery"]) == 36
    assert headers["x-github-hook-id"].isdigit()
    payload = json.loads(body)
    assert (payload["comment"]["body"], payload["issue"]["number"]) == ("/orchestrate", number)
    assert (payload["sender"]["login"], payload["sender"]["type"]) == ("alice", "User")
    assert payload["repository"]["full_name"] == "octo/demo"
    assert payload["installation"]["id"] == scene.installation_id
    assert payload["comment"]["author_association"] == "COLLABORATOR"


async def test_what_an_app_or_a_workflow_writes_is_delivered_with_a_bot_as_sender(scene: Scene) -> None:
    number = scene.hub.create_issue("octo/demo", "Build it", user="alice")
    workflow = {"Authorization": "token " + scene.hub.workflow_token("octo/demo")}
    async with httpx2.AsyncClient(base_url=scene.hub.api_url, headers=workflow) as http:
        await http.post(f"/repos/octo/demo/issues/{number}/comments", json={"body": "from a workflow"})
    await asyncio.to_thread(
        lambda: as_app(scene).get_repo("octo/demo").get_issue(number).create_comment("from the App")
    )
    await scene.hub.settled()

    bodies = [body for headers, body in scene.receiver.received if headers["x-github-event"] == "issue_comment"]
    sent = [json.loads(body) for body in bodies]
    senders = sorted((payload["sender"]["login"], payload["sender"]["type"]) for payload in sent)
    assert senders == [("github-actions[bot]", "Bot"), ("orchestrator[bot]", "Bot")]


async def test_deliveries_are_listed_and_redelivered_under_the_same_guid(scene: Scene) -> None:
    scene.receiver.status = 503
    scene.hub.create_issue("octo/demo", "Build it", user="alice")
    await scene.hub.settled()
    scene.receiver.status = 202

    def work() -> tuple[int, str]:
        auth = github.Auth.AppAuth(scene.app_id, scene.key)
        app = github.GithubIntegration(
            auth=auth, base_url=scene.hub.api_url, seconds_between_writes=0, seconds_between_requests=0
        ).get_app()
        return app.id, scene.hub.deliveries[-1].guid

    _, guid = await asyncio.to_thread(work)
    async with httpx2.AsyncClient(base_url=scene.hub.api_url, headers=app_headers(scene)) as http:
        failed = (await http.get("/app/hook/deliveries?status=failure")).json()
        again = await http.post(f"/app/hook/deliveries/{failed[0]['id']}/attempts")
        await scene.hub.settled()
        listed = (await http.get("/app/hook/deliveries")).json()
        whole = (await http.get(f"/app/hook/deliveries/{listed[0]['id']}")).json()
        first = await http.get("/app/hook/deliveries?per_page=1")
        rest = (await http.get(first.links["next"]["url"])).json()

    assert [(it["event"], it["status_code"], it["redelivery"]) for it in failed] == [("issues", 503, False)]
    assert again.status_code == 202
    assert [(it["guid"] == guid, it["status_code"], it["redelivery"]) for it in listed[:2]] == [
        (True, 202, True),
        (True, 503, False),
    ]
    assert (whole["request"]["payload"]["action"], whole["response"]["payload"]) == ("opened", "ok")
    assert [it["id"] for it in rest] == [listed[1]["id"]]
    bodies = [body for headers, body in scene.receiver.received if headers["x-github-delivery"] == guid]
    assert (len(bodies), bodies[0] == bodies[1]) == (2, True)


async def test_a_hook_that_does_not_listen_is_recorded_as_failed(hub: LocalHub) -> None:
    app_id, _ = hub.create_app("Deaf", "http://127.0.0.1:1/webhook", SECRET)
    hub.install_app(app_id, "octo/demo")
    await hub.settled()

    assert [(it.event, it.status_code) for it in hub.deliveries] == [("installation", 502)]


async def test_a_payload_of_ones_own_is_delivered_to_the_app(scene: Scene) -> None:
    sent = scene.hub.deliver("ping", {"zen": "Keep it logically awesome."}, app_id=scene.app_id)
    await scene.hub.settled()

    assert [(it.event, it.status_code) for it in sent] == [("ping", 202)]
    assert scene.receiver.events() == [("ping", None)]


async def test_a_button_and_a_rerun_reach_the_app(scene: Scene) -> None:
    sha = (await scene.hub.branches("octo/demo"))["main"]
    button = {"label": "Resume", "description": "Go on", "identifier": "resume"}

    def work() -> int:
        repo = as_app(scene).get_repo("octo/demo")
        return repo.create_check_run("x", sha, conclusion="action_required", actions=[button]).id

    number = await asyncio.to_thread(work)
    scene.hub.press_button("octo/demo", number, "resume", user="alice")
    scene.hub.rerequest_check_run("octo/demo", number, user="alice")
    await scene.hub.settled()

    assert sorted(scene.receiver.events()) == [
        ("check_run", "created"),
        ("check_run", "requested_action"),
        ("check_run", "rerequested"),
    ]


async def test_what_is_asked_for_again_stays_as_it_is_and_its_suite_waits_until_its_app_writes(scene: Scene) -> None:
    sha = (await scene.hub.branches("octo/demo"))["main"]
    scene.hub.install_app(scene.hub.create_app("Other", scene.receiver.url, SECRET)[0], "octo/demo")

    def work() -> list[tuple[str, str | None]]:
        repo = as_app(scene).get_repo("octo/demo")
        check = repo.create_check_run("x", sha, conclusion="failure")
        shown: list[tuple[str, str | None]] = []
        for again in (f"check-suites/{check.check_suite.id}", f"check-runs/{check.id}"):
            repo.requester.requestJsonAndCheck("POST", f"{repo.url}/{again}/rerequest")
            waits = repo.get_check_suite(check.check_suite.id)
            check.edit(status="completed", conclusion="failure")
            ended = repo.get_check_suite(check.check_suite.id)
            shown += [(it.status, it.conclusion) for it in (waits, ended)]
        return shown

    shown = await asyncio.to_thread(work)
    await scene.hub.settled()

    (check,) = scene.hub.check_runs("octo/demo", sha)
    asked = [json.loads(body) for headers, body in scene.receiver.received if b'"rerequested"' in body]
    (suite,) = (it["check_suite"] for it in asked if "check_run" not in it)
    (again,) = (it["check_run"] for it in asked if "check_run" in it)
    assert shown == [("queued", None), ("completed", "failure")] * 2
    assert (check["status"], check["conclusion"]) == ("completed", "failure")
    assert (suite["head_sha"], suite["status"], suite["conclusion"]) == (sha, "queued", None)
    assert (again["status"], again["conclusion"]) == ("completed", "failure")


async def test_a_pull_request_in_an_event_counts_what_it_changes(scene: Scene) -> None:
    await scene.hub.commit("octo/demo", {"a.py": "a\nb\n", "b.py": "c\n"}, branch="side", user="alice")
    token = scene.hub.token_for("alice")
    async with httpx2.AsyncClient(base_url=scene.hub.api_url, headers={"Authorization": f"Bearer {token}"}) as http:
        await http.post("/repos/octo/demo/pulls", json={"title": "Side", "head": "side", "base": "main"})
    await scene.hub.commit("octo/demo", {"b.py": None}, branch="side", user="alice")
    await scene.hub.settled()

    bodies = [
        json.loads(body) for headers, body in scene.receiver.received if headers["x-github-event"] == "pull_request"
    ]
    counted = [
        (it["action"], *(it["pull_request"][name] for name in ("commits", "additions", "changed_files")))
        for it in sorted(bodies, key=lambda it: it["pull_request"]["commits"])
    ]
    assert counted == [("opened", 1, 3, 2), ("synchronize", 2, 2, 1)]
