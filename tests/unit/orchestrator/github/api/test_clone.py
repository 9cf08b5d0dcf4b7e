from __future__ import annotations

import os
from pathlib import Path

import pytest
from github import InputGitTreeElement
from github.Repository import Repository

from orchestrator.errors import GitHubError
from orchestrator.github.api.clone import CloneLimits, clone
from orchestrator.github.api.repository import head_of
from tests.unit.orchestrator.github.conftest import REPO, Scene


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
