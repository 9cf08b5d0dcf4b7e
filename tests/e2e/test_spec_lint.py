"""A push or pull request that touches a spec or policy file gets one check run at its lines, and costs nothing."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from bot.localhub.state import Delivery
from tests.e2e.stage import MAINTAINER, SPEC, STRANGER, House, Scene, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

SPEC_FILE = ".orchestrator.yaml"
MISSPELT = "version: 1\nbugdet:\n  max_usd: 2\n"
GOOD = "budget:\n  max_usd: 2.5\npolicy:\n  name: two vendors\n  allowed_providers: [openai, anthropic]\n"
QUESTIONABLE = "policies:\n- name: ours\n  blocked_models: [gpt-six]\n"
LINTED = "it starts no run; a spec or policy file that it touches is linted"


async def _propose(scene: Scene, head: str, user: str = MAINTAINER) -> dict[str, Any]:
    """Open a pull request as somebody would, from `branch` or `owner:branch`."""
    token = scene.hub.token_for(user)
    async with httpx.AsyncClient(base_url=scene.hub.api_url, trust_env=False, timeout=30) as client:
        answer = await client.post(
            f"/repos/{scene.repository}/pulls",
            json={"title": "Change the spec", "head": head, "base": "main"},
            headers={"Authorization": f"Bearer {token}"},
        )
    assert answer.status_code == 201, answer.text
    opened: dict[str, Any] = answer.json()
    return opened


async def _answers(scene: Scene, event: str) -> list[tuple[int, dict[str, str]]]:
    """Wait until every delivery of an event about the repository is answered and worked on, and return the answers."""
    await scene.hub.settled()
    await until(lambda: scene.stage.delivery_states() <= {"done", "ignored"}, "the end of all work")
    return [(it.status_code, json.loads(it.response_body)) for it in _sent(scene, event)]


def _sent(scene: Scene, event: str) -> list[Delivery]:
    repo = scene.hub.repository(scene.repository)
    return [it for it in scene.hub.deliveries if it.event == event and it.repository_id == repo.id]


async def _check(scene: Scene, sha: str) -> dict[str, Any]:
    """Return the only check run of a commit, once it has ended."""

    def ended() -> list[dict[str, Any]]:
        return [it for it in scene.hub.check_runs(scene.repository, sha) if it["status"] == "completed"]

    (check,) = await until(ended, f"a check run on {sha}")
    assert check["name"] == "orchestrator/spec"
    return dict(check)


def _notes(check: dict[str, Any]) -> list[tuple[str, int, str]]:
    return [(it["path"], it["start_line"], it["annotation_level"]) for it in check["annotations"]]


async def test_a_push_that_breaks_the_spec_gets_a_failure_at_its_line_and_the_next_one_a_success(house: House) -> None:
    scene, calls = await house.scene(), len(house.stage.models.journal)

    broken = await scene.hub.commit(scene.repository, {SPEC_FILE: MISSPELT}, user=MAINTAINER)
    failed = await _check(scene, broken)
    mended = await scene.hub.commit(scene.repository, {SPEC_FILE: GOOD}, user=MAINTAINER)
    passed = await _check(scene, mended)

    assert (failed["conclusion"], _notes(failed)) == ("failure", [(SPEC_FILE, 2, "failure")])
    assert failed["output"]["title"] == "1 error, the first at .orchestrator.yaml:2"
    assert "did you mean 'budget'?" in failed["annotations"][0]["message"]
    assert (passed["conclusion"], passed["output"]["title"], _notes(passed)) == ("success", "The spec is valid", [])
    assert "- Caps of one run: $2.50 and 1 h 30 min." in passed["output"]["summary"]
    assert "- Policies: `two vendors` (hard)." in passed["output"]["summary"]
    assert "anthropic" in passed["output"]["summary"]
    assert "google" not in passed["output"]["summary"]
    assert await _answers(scene, "push") == [(200, {"status": "ignored", "reason": LINTED})] * 2
    assert scene.writes() == ["POST /check-runs"] * 2
    assert house.calls_since(calls) == []


async def test_a_push_that_touches_neither_spec_nor_policy_file_is_silent(house: House) -> None:
    scene = await house.scene()

    await scene.hub.commit(scene.repository, {"src/app.py": "", "docs/policies.yaml": "a: 1\n"}, user=MAINTAINER)
    await scene.hub.commit(scene.repository, {SPEC_FILE: MISSPELT}, branch="draft", user=MAINTAINER)

    touches, other = await _answers(scene, "push")
    assert touches == (200, {"status": "ignored", "reason": "the push touches no spec and no policy file"})
    assert other == (200, {"status": "ignored", "reason": "only pushes to the default branch are looked at"})
    assert scene.requests(".*", "/.*") == []


async def test_sec_10_a_strangers_fork_is_linted_at_its_head_without_a_comment_or_a_model(house: House) -> None:
    scene, calls = await house.scene(), len(house.stage.models.journal)
    fork = await scene.hub.fork(scene.repository, STRANGER)
    changes = {SPEC_FILE: MISSPELT, ".orchestrator/team.yml": QUESTIONABLE}
    head = await scene.hub.commit(fork.full_name, changes, branch="spec", user=STRANGER)

    pull = await _propose(scene, f"{STRANGER}:spec", STRANGER)
    check = await _check(scene, head)
    second = await scene.hub.commit(fork.full_name, {SPEC_FILE: SPEC}, branch="spec", user=STRANGER)
    warned = await _check(scene, second)

    assert check["conclusion"] == "failure"
    assert _notes(check) == [(SPEC_FILE, 2, "failure"), (".orchestrator/team.yml", 3, "warning")]
    assert "'gpt-six' is not a model of the catalog" in check["annotations"][1]["message"]
    assert (warned["conclusion"], _notes(warned)) == ("success", [(".orchestrator/team.yml", 3, "warning")])
    assert await _answers(scene, "pull_request") == [(200, {"status": "ignored", "reason": LINTED})] * 2
    assert scene.ours(pull["number"]) == []
    assert [it for it in scene.writes() if it != "POST /pulls"] == ["POST /check-runs"] * 2
    assert house.calls_since(calls) == []
    assert house.stage.rows("SELECT id FROM runs WHERE id LIKE 'lint-%'") == []


async def test_a_pull_request_that_leaves_the_spec_alone_gets_no_check_run(house: House) -> None:
    scene = await house.scene()
    await scene.hub.commit(scene.repository, {"src/app.py": "x = 1\n"}, branch="code", user=MAINTAINER)
    await scene.hub.commit(scene.repository, {"README.md": "# Demo\n"}, user=MAINTAINER)

    await _propose(scene, "code")

    assert await _answers(scene, "pull_request") == [(200, {"status": "ignored", "reason": LINTED})]
    assert scene.hub.check_runs(scene.repository) == []


async def test_what_asks_about_one_commit_twice_at_once_makes_one_check_run(house: House) -> None:
    scene = await house.scene()
    head = await scene.hub.commit(scene.repository, {SPEC_FILE: GOOD}, branch="spec", user=MAINTAINER)

    pull = await _propose(scene, "spec")
    scene.hub.close_issue(scene.repository, pull["number"], user=MAINTAINER)
    (opened, _) = _sent(scene, "pull_request")
    payload = json.loads(opened.body) | {"action": "reopened"}
    for _ in range(3):
        scene.hub.deliver("pull_request", payload, app_id=house.stage.app_id)
    scene.hub.redeliver(opened.id)
    answers = await _answers(scene, "pull_request")

    assert (await _check(scene, head))["conclusion"] == "success"
    assert [answer["status"] for _, answer in answers].count("duplicate") == 1
    assert [it for it in scene.writes() if "check" in it] == ["POST /check-runs"]


@pytest.mark.parametrize("all_of_them", [False, True])
async def test_asking_again_lints_again_and_ends_the_same_check_run(house: House, all_of_them: bool) -> None:
    scene = await house.scene()
    head = await scene.hub.commit(scene.repository, {SPEC_FILE: MISSPELT}, user=MAINTAINER)
    first = await _check(scene, head)

    if all_of_them:
        await scene.hub.rerequest_check_suite(scene.repository, head, house.stage.app_id, user=MAINTAINER)
    else:
        scene.hub.rerequest_check_run(scene.repository, first["id"], user=MAINTAINER)
    answers = await _answers(scene, "check_suite" if all_of_them else "check_run")
    again = await _check(scene, head)

    assert answers.count((200, {"status": "ignored", "reason": LINTED})) == 1
    assert (again["id"], again["conclusion"], _notes(again)) == (first["id"], "failure", [(SPEC_FILE, 2, "failure")])
    assert scene.writes() == ["POST /check-runs", "PATCH /check-runs/N"]


async def test_a_check_run_whose_answer_is_lost_is_found_and_not_made_twice(house: House) -> None:
    scene = await house.scene()
    lost = scene.hub.faults.add(method="POST", path_regex="/check-runs$", kind="drop_after")

    head = await scene.hub.commit(scene.repository, {SPEC_FILE: MISSPELT}, user=MAINTAINER)
    await _answers(scene, "push")

    assert lost.hits == 1
    assert _notes(await _check(scene, head)) == [(SPEC_FILE, 2, "failure")]


async def test_sec_09_asking_again_without_write_access_changes_nothing(house: House) -> None:
    scene = await house.scene()
    head = await scene.hub.commit(scene.repository, {SPEC_FILE: GOOD}, user=MAINTAINER)
    first = await _check(scene, head)

    scene.hub.rerequest_check_run(scene.repository, first["id"], user=STRANGER)
    await _answers(scene, "check_run")
    again = await _check(scene, head)

    assert (again["conclusion"], again["output"]) == (first["conclusion"], first["output"])
    # GitHub waits for it, so it is said once more that it stands.
    assert scene.writes() == ["POST /check-runs", "PATCH /check-runs/N"]


async def test_a_rewritten_branch_is_linted_where_its_files_are_others_than_before(house: House) -> None:
    scene = await house.scene()
    base = (await scene.hub.branches(scene.repository))["main"]
    await scene.hub.commit(scene.repository, {SPEC_FILE: GOOD}, branch="other", user=MAINTAINER)
    other = await scene.hub.commit(scene.repository, {"README.md": "# Other\n"}, branch="other", user=MAINTAINER)
    await scene.hub.commit(scene.repository, {"README.md": "# Demo\n"}, user=MAINTAINER)

    await _force(scene, other)
    check = await _check(scene, other)
    await _force(scene, base)
    await _check(scene, base)
    await scene.hub.commit(scene.repository, {"LICENSE": "MIT\n"}, branch="third", user=MAINTAINER)
    await _force(scene, (await scene.hub.branches(scene.repository))["third"])
    await _answers(scene, "push")

    assert check["conclusion"] == "success"
    assert {it["head_sha"] for it in scene.hub.check_runs(scene.repository)} == {other, base}


async def _force(scene: Scene, sha: str) -> None:
    async with httpx.AsyncClient(base_url=scene.hub.api_url, trust_env=False, timeout=30) as client:
        answer = await client.patch(
            f"/repos/{scene.repository}/git/refs/heads/main",
            json={"sha": sha, "force": True},
            headers={"Authorization": f"Bearer {scene.hub.token_for(MAINTAINER)}"},
        )
    assert answer.status_code == 200, answer.text


async def test_sec_31_a_secret_in_a_spec_is_not_repeated_in_its_check_run(house: House) -> None:
    scene = await house.scene()
    token = "ghp_" + "a1B2" * 9

    spec = f'version: "{token}"\n"@octocat": 1\n'
    head = await scene.hub.commit(scene.repository, {SPEC_FILE: spec}, user=MAINTAINER)
    check = await _check(scene, head)

    said = json.dumps([check["output"], check["annotations"]], ensure_ascii=False)
    assert check["conclusion"] == "failure"
    assert token not in said
    assert "[redacted]" in said
    assert "@octocat" not in said


async def test_a_token_that_may_not_write_checks_makes_a_commit_status(house: House) -> None:
    scene = await house.stage.scene(installed=False)
    granted = {"contents": "write", "issues": "write", "pull_requests": "write", "statuses": "write"}
    scene.hub.install_app(house.stage.app_id, scene.repository, permissions=granted)

    head = await scene.hub.commit(scene.repository, {SPEC_FILE: MISSPELT}, user=MAINTAINER)
    (status,) = await until(lambda: scene.hub.statuses(scene.repository), "a commit status")

    assert (status["context"], status["state"]) == ("orchestrator/spec", "failure")
    assert status["description"] == "failure: 1 error, the first at .orchestrator.yaml:2"
    assert status["url"].endswith(head)
    assert scene.hub.check_runs(scene.repository) == []
