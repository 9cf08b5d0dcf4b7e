from __future__ import annotations

from dataclasses import replace

import pytest

from bot.localhub.git import Git
from orchestrator.github.api.auth import GitHubConnection
from orchestrator.github.api.client import Unreachable
from orchestrator.github.api.publisher import MemoryEffects
from orchestrator.github.rendering.checks import SPEC_CHECK, CheckRun
from orchestrator.github.stories.lint import MAX_FILES, Linted, give_up_lint, lint
from orchestrator.github.triggers.spec_change import SpecChange
from orchestrator.operator_config import ModelOverride, OperatorConfig
from tests.unit.orchestrator.github.conftest import REPO, Scene

SPEC = ".orchestrator.yaml"


async def nothing_refused() -> str:
    return ""


async def linted(scene: Scene, change: SpecChange, operator: OperatorConfig = OperatorConfig()) -> Linted:  # noqa: B008
    return await lint(change, github=scene.github, effects=MemoryEffects(), operator=operator, refusal=nothing_refused)


def pushed(scene: Scene, sha: str, *, before: str = "", touched: bool = True) -> SpecChange:
    return SpecChange(
        "d-1", "push", REPO, 33, sha, "maria", installation_id=scene.installation, before=before, touched=touched
    )


def said(scene: Scene, sha: str) -> list[tuple[str, int, str]]:
    (check,) = scene.hub.check_runs(REPO, sha)
    return [(note["path"], note["start_line"], note["message"]) for note in check["annotations"]]


async def test_a_spec_that_is_taken_away_passes_and_says_that_defaults_hold(scene: Scene) -> None:
    await scene.hub.commit(REPO, {SPEC: "version: 1\n"})
    sha = await scene.hub.commit(REPO, {SPEC: None})

    assert await linted(scene, pushed(scene, sha)) == Linted("success", "The spec is valid")
    (check,) = scene.hub.check_runs(REPO, sha)
    assert check["output"]["summary"] == "There is neither a spec nor a policy file: all defaults hold."


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"# " + b"x" * 131_071, "has 131073 bytes; at most 131072 are linted"),
        (b"version: \xff\n", ".orchestrator.yaml is not UTF-8."),
    ],
)
async def test_a_file_that_cannot_be_read_fails(scene: Scene, content: bytes, message: str) -> None:
    sha = await scene.hub.commit(REPO, {SPEC: content})

    assert (await linted(scene, pushed(scene, sha))).status == "failure"
    assert said(scene, sha) == [(SPEC, 1, message)]


async def test_a_link_is_not_followed_out_of_the_files_that_are_linted(scene: Scene) -> None:
    git = Git(scene.hub.repository(REPO).path)
    head = (await scene.hub.branches(REPO))["main"]
    tree = await git.write_tree(head, [("120000", SPEC, await git.write_blob(b"../../etc/passwd"))])
    who = (await git.commit(head)).author
    sha = await git.write_commit("Link", tree, [head], who, who)

    assert (await linted(scene, pushed(scene, sha))).status == "failure"
    assert said(scene, sha) == [(SPEC, 1, "is no file that can be read")]


async def test_beyond_twenty_files_the_rest_is_not_read_and_the_check_fails(scene: Scene) -> None:
    policy = "name: one\nrate_limit: 5\n"
    sha = await scene.hub.commit(REPO, {f".orchestrator/p{number:02}.yaml": policy for number in range(23)})

    assert (await linted(scene, pushed(scene, sha))).status == "failure"
    assert MAX_FILES == 20
    assert [note[0] for note in said(scene, sha)] == [".orchestrator/p20.yaml"]


async def test_a_push_that_does_not_say_is_compared_with_what_was_before(scene: Scene) -> None:
    first = await scene.hub.commit(REPO, {SPEC: "version: 1\n"})
    second = await scene.hub.commit(REPO, {"README.md": "more\n"})
    third = await scene.hub.commit(REPO, {".orchestrator/eng.yaml": "rate_limit: 5\n"})

    same = await linted(scene, pushed(scene, second, before=first, touched=False))
    other = await linted(scene, pushed(scene, third, before=second, touched=False))
    new = await linted(scene, pushed(scene, second, touched=False))
    gone = await linted(scene, pushed(scene, first, before="d" * 40, touched=False))

    assert [one.status for one in (same, other, new, gone)] == ["untouched", "success", "success", "success"]


async def test_a_file_that_a_pull_request_renames_is_touched(scene: Scene) -> None:
    await scene.hub.commit(REPO, {"policies.yaml": "rate_limit: 5\n"})
    moved = {"policies.yaml": None, "docs/policies.yaml": "rate_limit: 5\n"}
    sha = await scene.hub.commit(REPO, moved, branch="moved", user="maria")
    number = (
        await scene.client.write("open", lambda it: it.create_pull("main", "moved", title="Move", body=""))
    ).number
    change = replace(pushed(scene, sha, touched=False), event="pull_request", pull=number)

    assert await linted(scene, change) == Linted("success", "The spec is valid")


async def test_the_operators_models_count_as_models_of_the_catalog(scene: Scene) -> None:
    sha = await scene.hub.commit(REPO, {SPEC: "policy:\n  blocked_models: [our-own]\n"})
    models = {"our-own": ModelOverride(provider="local", input=0.0, output=0.0)}

    await linted(scene, pushed(scene, sha))
    assert len(said(scene, sha)) == 1
    known = await scene.hub.commit(REPO, {SPEC: "policy:\n  blocked_models: [our-own] # again\n"})
    await linted(scene, pushed(scene, known), OperatorConfig(models=models))
    assert said(scene, known) == []


async def test_asking_again_where_we_have_no_check_run_is_silent(scene: Scene) -> None:
    sha = await scene.hub.commit(REPO, {SPEC: "version: 1\n"})

    assert (await linted(scene, replace(pushed(scene, sha, touched=False), again=True))).status == "untouched"
    assert scene.hub.check_runs(REPO) == []


async def test_while_github_is_down_nothing_is_concluded(scene: Scene) -> None:
    sha = await scene.hub.commit(REPO, {SPEC: "version: 1\n"})
    scene.hub.faults.add(path_regex="/git/trees/", kind="status", times=50)

    with pytest.raises(Unreachable):
        await linted(scene, pushed(scene, sha))
    assert scene.hub.check_runs(REPO) == []


async def test_a_shared_check_run_is_one_for_all_our_runs(scene: Scene) -> None:
    sha = (await scene.hub.branches(REPO))["main"]
    await scene.publisher().upsert_check_run(sha, CheckRun(SPEC_CHECK, "failure", "1 error", "one", shared=True))

    assert (await linted(scene, pushed(scene, sha))).status == "success"
    (check,) = scene.hub.check_runs(REPO, sha)
    assert (check["conclusion"], check["output"]["title"]) == ("success", "The spec is valid")


async def test_another_apps_check_run_of_the_same_name_is_not_ours(scene: Scene) -> None:
    sha = (await scene.hub.branches(REPO))["main"]
    environment = {"GITHUB_API_URL": scene.hub.api_url, "GITHUB_TOKEN": scene.hub.workflow_token(REPO)}
    other = GitHubConnection.from_environment(environment).repository(REPO)
    await other.write("create", lambda it: it.create_check_run(SPEC_CHECK, sha, conclusion="failure"))

    assert (await linted(scene, pushed(scene, sha))).status == "success"
    assert [it["conclusion"] for it in scene.hub.check_runs(REPO, sha)] == ["failure", "success"]


async def test_sec_09_asked_for_again_without_the_permission_it_is_concluded_as_it_stands(scene: Scene) -> None:
    sha = await scene.hub.commit(REPO, {SPEC: "version: 2\n"})
    await linted(scene, pushed(scene, sha))
    (before,) = scene.hub.check_runs(REPO, sha)
    scene.hub.rerequest_check_run(REPO, before["id"], user="stranger")
    (suite,) = scene.hub.repository(REPO).check_suites.values()
    assert suite.waits

    again = replace(pushed(scene, sha, touched=False), actor="stranger", again=True)
    assert (await linted(scene, again)).status == "denied"

    (after,) = scene.hub.check_runs(REPO, sha)
    assert (suite.waits, after["conclusion"], after["output"]) == (False, "failure", before["output"])


async def test_sec_36_a_check_run_that_waits_for_a_lint_that_keeps_failing_ends_as_failure(scene: Scene) -> None:
    sha = await scene.hub.commit(REPO, {SPEC: "version: 1\n"})
    again = replace(pushed(scene, sha, touched=False), again=True)
    await give_up_lint(again, "GitHub is down.", github=scene.github, effects=MemoryEffects())
    assert scene.hub.check_runs(REPO, sha) == []

    await linted(scene, pushed(scene, sha))
    once = replace(again, again=False)
    await give_up_lint(once, "GitHub is down.", github=scene.github, effects=MemoryEffects())
    assert [it["conclusion"] for it in scene.hub.check_runs(REPO, sha)] == ["success"]
    scene.hub.rerequest_check_run(REPO, scene.hub.check_runs(REPO, sha)[0]["id"], user="maria")
    await give_up_lint(again, "GitHub is down.", github=scene.github, effects=MemoryEffects())
    assert [it["conclusion"] for it in scene.hub.check_runs(REPO, sha)] == ["failure"]
