from __future__ import annotations

import pytest

from orchestrator.errors import GitHubError
from orchestrator.github.api.repository import commit_files, head_of, read_text
from orchestrator.github.rendering.commits import commit_message
from tests.unit.orchestrator.github.conftest import REPO, RUN, Scene

CHANGES = {"src/new.py": b"x = 1\n", "README.md": None, "src/app.py": b"print('bye')\n"}


async def _commit(
    scene: Scene, branch: str = "orchestrator/1-x", changes: dict[str, bytes | None] | None = None
) -> str:
    base = await head_of(scene.client, "main")
    assert base is not None
    message = commit_message("Build it", "", RUN, skip_checks=False)
    return await commit_files(
        scene.client, base_sha=base, branch=branch, changes=changes or CHANGES, message=message, run_id=RUN
    )


async def test_a_file_is_read_at_a_commit_and_a_missing_one_is_none(scene: Scene) -> None:
    sha = await head_of(scene.client, "main")
    assert sha is not None
    await scene.hub.commit(REPO, {"README.md": "# Later\n"})
    assert await read_text(scene.client, "README.md", sha) == "# Demo\n"
    assert await read_text(scene.client, ".orchestrator.yaml", sha) is None
    assert await read_text(scene.client, "src", sha) is None


async def test_changes_become_one_verified_commit_on_a_new_branch(scene: Scene) -> None:
    head = await _commit(scene)
    assert await scene.hub.files(REPO, "orchestrator/1-x") == {
        "src/app.py": b"print('bye')\n",
        "src/new.py": b"x = 1\n",
    }
    commit = await scene.client.read("read", lambda repository: repository.get_git_commit(head))
    assert commit.message.strip() == f"Build it\n\nOrchestrator-Run: {RUN}"
    assert commit.raw_data["verification"]["verified"] is True


async def test_committing_again_finds_the_commit_that_is_there(scene: Scene) -> None:
    first = await _commit(scene)
    assert await _commit(scene) == first


async def test_another_result_of_the_same_run_is_built_upon_its_first(scene: Scene) -> None:
    first = await _commit(scene)
    second = await _commit(scene, changes={"src/new.py": b"x = 2\n"})
    commit = await scene.client.read("read", lambda repository: repository.get_git_commit(second))
    assert [parent.sha for parent in commit.parents] == [first]
    assert (await scene.hub.files(REPO, "orchestrator/1-x"))["README.md"] == b"# Demo\n"


async def test_sec_15_a_head_that_somebody_else_moved_is_reported_and_stays(scene: Scene) -> None:
    await _commit(scene)
    theirs = await scene.hub.commit(REPO, {"note.txt": "mine\n"}, branch="orchestrator/1-x", user="maria")
    with pytest.raises(GitHubError, match="holds commits that are not this run's"):
        await _commit(scene, changes={"src/new.py": b"x = 3\n"})
    assert (await scene.hub.branches(REPO))["orchestrator/1-x"] == theirs


async def test_a_lost_answer_to_the_creation_of_a_branch_makes_no_second_one(scene: Scene) -> None:
    scene.hub.faults.add(method="POST", path_regex="/git/refs$", kind="drop_after")
    head = await _commit(scene)
    assert (await scene.hub.branches(REPO))["orchestrator/1-x"] == head
