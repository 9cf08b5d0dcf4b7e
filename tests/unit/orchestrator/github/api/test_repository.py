from __future__ import annotations

import os
from pathlib import Path

import pytest
from github import InputGitTreeElement
from github.Repository import Repository

from bot.localhub.faults import Kind
from orchestrator.errors import GitHubError
from orchestrator.github.api.client import Unreachable
from orchestrator.github.api.clone import CloneLimits, clone
from orchestrator.github.api.publisher import MemoryEffects
from orchestrator.github.api.pull_requests import open_pull_request
from orchestrator.github.api.repository import Moved, commit_files, head_of, read_text
from orchestrator.github.rendering.commits import commit_message
from orchestrator.github.rendering.template import filled
from tests.unit.orchestrator.github.conftest import REPO, RUN, Scene

CHANGES = {"src/new.py": b"x = 1\n", "README.md": None, "src/app.py": b"print('bye')\n"}


async def _commit(
    scene: Scene,
    branch: str = "orchestrator/1-x",
    changes: dict[str, bytes | None] | None = None,
    *,
    base: str | None = None,
    pushes: MemoryEffects | None = None,
) -> str:
    base = base or await head_of(scene.client, "main")
    assert base is not None
    message = commit_message("Build it", "", RUN, skip_checks=False)
    return await commit_files(
        scene.client,
        base_sha=base,
        branch=branch,
        changes=changes or CHANGES,
        message=message,
        run_id=RUN,
        pushes=pushes or MemoryEffects(),
    )


async def test_a_clone_holds_the_files_of_the_commit_and_no_git_folder(scene: Scene, tmp_path: Path) -> None:
    sha = await head_of(scene.client, "main")
    assert sha is not None
    await clone(scene.hub.url, REPO, sha, tmp_path / "base", token=await scene.client.token())
    found = {str(path.relative_to(tmp_path / "base")) for path in (tmp_path / "base").rglob("*")}
    assert found == {"README.md", "src", "src/app.py"}
    assert (tmp_path / "base" / "src" / "app.py").read_text() == "print('hello')\n"


async def test_sec_20_a_clone_keeps_bytes_whatever_the_attributes_of_the_repository_say(
    scene: Scene, tmp_path: Path
) -> None:
    files = {".gitattributes": "* text eol=crlf filter=lfs ident\n", "a.txt": "$Id$\nline\n"}
    sha = await scene.hub.commit(REPO, files)
    await clone(scene.hub.url, REPO, sha, tmp_path / "base", token=await scene.client.token())
    assert (tmp_path / "base" / "a.txt").read_bytes() == b"$Id$\nline\n"


async def test_sec_20_links_and_submodules_of_a_hostile_repository_lead_nowhere(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = await head_of(scene.client, "main")
    assert base is not None
    elements = [
        InputGitTreeElement("link", "120000", "blob", content="/etc/passwd"),
        InputGitTreeElement("sub", "160000", "commit", sha=base),
        InputGitTreeElement(".gitmodules", "100644", "blob", content='[submodule "sub"]\n\turl = /\n\tpath = sub\n'),
    ]

    def write(repository: Repository) -> str:
        tree = repository.create_git_tree(elements)
        commit = repository.create_git_commit("x", tree, [])
        repository.create_git_ref("refs/heads/hostile", commit.sha)
        return commit.sha

    sha = await scene.client.write("write", write)
    monkeypatch.setenv("GIT_DIR", "/nonexistent")
    monkeypatch.setenv("GIT_CONFIG_PARAMETERS", "'core.symlinks=true'")
    await clone(scene.hub.url, REPO, sha, tmp_path / "base", token=await scene.client.token())
    assert (tmp_path / "base" / "link").is_symlink() is False
    assert (tmp_path / "base" / "link").read_text() == "/etc/passwd"
    assert list((tmp_path / "base" / "sub").iterdir()) == []


async def test_sec_20_the_token_stands_in_no_argument_address_or_error_of_git(scene: Scene, tmp_path: Path) -> None:
    token = await scene.client.token()
    with pytest.raises(GitHubError) as caught:
        await clone(scene.hub.url, REPO, "0" * 40, tmp_path / "base", token=token)
    assert token not in str(caught.value)
    assert all(token not in request.path + request.query for request in scene.hub.requests)


async def test_sec_20_a_clone_larger_than_its_limit_is_refused(scene: Scene, tmp_path: Path) -> None:
    sha = await scene.hub.commit(REPO, {"big.bin": os.urandom(2_000_000)})
    token = await scene.client.token()
    limits = CloneLimits(file_bytes=1_000_000)
    with pytest.raises(GitHubError, match="larger than 0 MiB"):
        await clone(scene.hub.url, REPO, sha, tmp_path / "base", token=token, limits=limits)


async def test_sec_20_a_clone_slower_than_its_limit_is_stopped(scene: Scene, tmp_path: Path) -> None:
    sha = await head_of(scene.client, "main")
    assert sha is not None
    token = await scene.client.token()
    scene.hub.faults.add(path_regex="git-upload-pack", kind="delay", seconds=30, times=10)
    with pytest.raises(GitHubError, match="could not be cloned within 1 seconds"):
        await clone(scene.hub.url, REPO, sha, tmp_path / "base", token=token, limits=CloneLimits(seconds=1))


@pytest.mark.slow
@pytest.mark.parametrize("endpoint", ["info/refs", "git-upload-pack"])
@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("status", 429),
        ("status", 403),
        ("status", 502),
        *((kind, 0) for kind in ("drop_before", "malformed", "page", "truncated")),
    ],
)
async def test_a_clone_goes_on_after_what_passes(
    scene: Scene, tmp_path: Path, endpoint: str, kind: Kind, status: int
) -> None:
    sha = await head_of(scene.client, "main")
    assert sha is not None
    token = await scene.client.token()
    fault = scene.hub.faults.add(path_regex=endpoint, kind=kind, status=status)
    await clone(scene.hub.url, REPO, sha, tmp_path / "base", token=token, sleep=scene.client.sleep)
    assert fault.hits == 1
    assert len(scene.waits) <= 1  # curl itself asks again where a connection that was kept open breaks
    assert (tmp_path / "base" / "README.md").read_text() == "# Demo\n"


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        (502, Unreachable, "GitHub would not let git fetch the commit: "),
        (403, GitHubError, "git fetch failed: "),
    ],
)
async def test_a_clone_is_given_up_after_five_tries(
    scene: Scene, tmp_path: Path, status: int, kind: type[GitHubError], said: str
) -> None:
    sha = await head_of(scene.client, "main")
    assert sha is not None
    token = await scene.client.token()
    fault = scene.hub.faults.add(path_regex="info/refs", kind="status", status=status, times=100)
    with pytest.raises(GitHubError) as caught:
        await clone(scene.hub.url, REPO, sha, tmp_path / "base", token=token, sleep=scene.client.sleep)
    assert (type(caught.value) is Unreachable) == (kind is Unreachable)
    assert caught.value.message.startswith(said)
    assert f"The requested URL returned error: {status}" in caught.value.message
    assert (fault.hits, len(scene.waits)) == (5, 4)


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


async def test_what_can_be_executed_still_can_be_in_the_commit_also_under_a_new_name(scene: Scene) -> None:
    # given
    base = await head_of(scene.client, "main")
    assert base is not None

    def add(repository: Repository) -> str:
        script = "#!/bin/sh\n"
        elements = [InputGitTreeElement(name, "100755", "blob", content=script) for name in ("run.sh", "old.sh")]
        tree = repository.create_git_tree(elements, repository.get_git_tree(base))
        return repository.create_git_commit("Scripts", tree, [repository.get_git_commit(base)]).sha

    scripts = await scene.client.write("add scripts", add)

    async def commit() -> str:
        message = commit_message("Build it", "", RUN, skip_checks=False)
        return await commit_files(
            scene.client,
            base_sha=scripts,
            branch="orchestrator/1-x",
            changes=changes,
            message=message,
            run_id=RUN,
            pushes=MemoryEffects(),
        )

    # when
    changes = {"run.sh": b"#!/bin/bash\n", "old.sh": None, "new.sh": b"#!/bin/sh\n", "a.txt": b"a"}
    sha = await commit()
    # then
    listed = await scene.client.read("list", lambda repository: repository.get_git_tree(sha, recursive=True).tree)
    modes = {it.path: it.mode for it in listed}
    assert (modes["run.sh"], modes["new.sh"], modes["a.txt"]) == ("100755", "100755", "100644")
    # and: it is found again
    assert await commit() == sha


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


async def _put_instead(scene: Scene, sha: str, parent: str) -> str:
    """Have a maintainer replace the branch by a copy of a commit on another parent, its message with our trailers."""

    def write(repository: Repository) -> str:
        ours = repository.get_git_commit(sha)
        tree = repository.create_git_tree(
            [InputGitTreeElement("theirs.txt", "100644", "blob", content="mine\n")], ours.tree
        )
        copy = repository.create_git_commit(ours.message, tree, [repository.get_git_commit(parent)])
        url = f"{repository.url}/git/refs/heads/orchestrator/1-x"
        repository.requester.requestJsonAndCheck("PATCH", url, input={"sha": copy.sha, "force": True})
        return copy.sha

    return await scene.client.write("rebase", write)


@pytest.mark.parametrize("noted", [True, False], ids=["noted", "not noted"])
async def test_sec_15_a_rebase_that_keeps_our_trailers_is_not_built_upon(scene: Scene, *, noted: bool) -> None:
    pushes, base = MemoryEffects(), await head_of(scene.client, "main")
    first = await _commit(scene, pushes=pushes)
    theirs = await _put_instead(scene, first, await scene.hub.commit(REPO, {"gained.txt": "by main\n"}))

    with pytest.raises(Moved):
        await _commit(scene, changes={"src/new.py": b"x = 2\n"}, base=base, pushes=pushes if noted else None)

    assert (await scene.hub.branches(REPO))["orchestrator/1-x"] == theirs


async def test_sec_15_an_amended_commit_that_keeps_our_trailers_is_not_built_upon(scene: Scene) -> None:
    pushes, base = MemoryEffects(), await head_of(scene.client, "main")
    assert base is not None
    theirs = await _put_instead(scene, await _commit(scene, pushes=pushes), base)

    with pytest.raises(Moved):
        await _commit(scene, changes={"src/new.py": b"x = 2\n"}, pushes=pushes)

    assert (await scene.hub.branches(REPO))["orchestrator/1-x"] == theirs


@pytest.mark.parametrize("noted", [True, False], ids=["noted", "not noted"])
@pytest.mark.parametrize("later", [{"round_id": "r-bbbbbbbbbbbbbbbb"}, {"ci_id": "r-cccccccccccccccc"}])
async def test_sec_15_a_later_round_or_word_for_ci_on_our_commit_is_not_built_upon(
    scene: Scene, later: dict[str, str], *, noted: bool
) -> None:
    pushes = MemoryEffects()
    await _commit(scene, pushes=pushes)
    message = commit_message("Revise: Build it", "", RUN, skip_checks=False, **later)
    theirs = await scene.hub.commit(REPO, {"src/new.py": "x = 9\n"}, branch="orchestrator/1-x", message=message)

    with pytest.raises(Moved):
        await _commit(scene, changes={"src/new.py": b"x = 2\n"}, pushes=pushes if noted else None)

    assert (await scene.hub.branches(REPO))["orchestrator/1-x"] == theirs


async def test_a_commit_whose_push_was_cut_off_is_made_again_on_what_was_pushed_before(scene: Scene) -> None:
    pushes = MemoryEffects()
    first = await _commit(scene, pushes=pushes)
    scene.hub.faults.add(method="PATCH", path_regex="/git/refs/", kind="status", status=403)
    with pytest.raises(GitHubError):
        await _commit(scene, changes={"src/new.py": b"x = 2\n"}, pushes=pushes)

    second = await _commit(scene, changes={"src/new.py": b"x = 2\n"}, pushes=pushes)

    commit = await scene.client.read("read", lambda repository: repository.get_git_commit(second))
    assert [parent.sha for parent in commit.parents] == [first]


async def test_a_lost_answer_to_the_creation_of_a_branch_makes_no_second_one(scene: Scene) -> None:
    scene.hub.faults.add(method="POST", path_regex="/git/refs$", kind="drop_after")
    head = await _commit(scene)
    assert (await scene.hub.branches(REPO))["orchestrator/1-x"] == head


async def test_a_pull_request_is_opened_once_and_its_text_kept_up_to_date(scene: Scene) -> None:
    await _commit(scene)
    arguments = {"head": "orchestrator/1-x", "base": "main", "title": "Build it"}
    first = await open_pull_request(scene.client, **arguments, body="one", draft=True)
    second = await open_pull_request(scene.client, **arguments, body="two", draft=True)
    assert first.number == second.number
    assert [(it["body"], it["draft"]) for it in scene.hub.pull_requests(REPO)] == [("two", True)]


async def test_what_people_wrote_into_our_pull_request_stays_when_its_text_is_brought_up_to_date(scene: Scene) -> None:
    await _commit(scene)
    arguments = {"head": "orchestrator/1-x", "base": "main", "title": "Build it"}
    template = "## What\n\n## Checklist\n\n- [ ] read"
    first = await open_pull_request(scene.client, **arguments, body=filled(template, "one"), draft=True)
    ticked = filled(template, "one").replace("[ ]", "[x]") + "\n\nI tried it."
    await scene.client.write("edit", lambda it: it.get_pull(first.number or 0).edit(body=ticked))
    await open_pull_request(scene.client, **arguments, body=filled(template, "two"), draft=True)
    assert [it["body"] for it in scene.hub.pull_requests(REPO)] == [ticked.replace("\none\n", "\ntwo\n")]


async def test_a_lost_answer_to_the_opening_of_a_pull_request_makes_no_second_one(scene: Scene) -> None:
    await _commit(scene)
    scene.hub.faults.add(method="POST", path_regex="/pulls$", kind="drop_after")
    opened = await open_pull_request(
        scene.client, head="orchestrator/1-x", base="main", title="Build it", body="", draft=False
    )
    assert [it["number"] for it in scene.hub.pull_requests(REPO)] == [opened.number]


async def test_where_drafts_are_not_to_be_had_it_is_opened_as_ready(scene: Scene) -> None:
    await _commit(scene)
    said = {"message": "Draft pull requests are not supported in this repository."}
    scene.hub.faults.add(method="POST", path_regex="/pulls$", kind="status", status=422, body=said)
    opened = await open_pull_request(
        scene.client, head="orchestrator/1-x", base="main", title="Build it", body="", draft=True
    )
    assert opened.draft is False


async def test_where_none_may_be_opened_the_answer_is_a_link_and_the_setting(scene: Scene) -> None:
    await _commit(scene)
    said = {"message": "GitHub Actions is not permitted to create or approve pull requests."}
    scene.hub.faults.add(method="POST", path_regex="/pulls$", kind="status", status=403, body=said)
    opened = await open_pull_request(
        scene.client, head="orchestrator/1-x", base="main", title="Build it", body="", draft=True
    )
    assert opened.number is None
    assert opened.url == f"{scene.hub.url}/octo/demo/compare/main...orchestrator/1-x?expand=1"
    assert "Allow GitHub Actions to create and approve pull requests" in opened.note
