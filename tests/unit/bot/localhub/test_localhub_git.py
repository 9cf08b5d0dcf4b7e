"""git over HTTP with the real git, and the plumbing below."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.localhub import LocalHub
from bot.localhub.git import parse_changes, valid_ref
from bot.localhub.rest_reviews import commentable_lines
from bot.localhub.state import Pull
from bot.localhub.world import closing_numbers
from tests.unit.bot.localhub.conftest import Scene


async def git(*arguments: str, cwd: Path) -> tuple[int, str]:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(cwd),
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "A",
        "GIT_AUTHOR_EMAIL": "a@example.org",
        "GIT_COMMITTER_NAME": "A",
        "GIT_COMMITTER_EMAIL": "a@example.org",
    }
    process = await asyncio.create_subprocess_exec(
        "git", *arguments, cwd=cwd, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


def address(hub: LocalHub, repo: str, login: str | None = None) -> str:
    if login is None:
        return f"{hub.url}/{repo}.git"
    return f"{hub.url.replace('http://', f'http://x-access-token:{hub.token_for(login)}@')}/{repo}.git"


async def test_a_public_repository_is_cloned_without_a_token(hub: LocalHub, tmp_path: Path) -> None:
    status, out = await git("clone", "--quiet", address(hub, "octo/demo"), "copy", cwd=tmp_path)

    assert (status, out) == (0, "")
    assert (tmp_path / "copy" / "README.md").read_text() == "# Demo\n"


async def test_a_private_repository_is_cloned_by_readers_only(hub: LocalHub, tmp_path: Path) -> None:
    await hub.create_repository("octo/secret", {"a.txt": "a\n"}, private=True)
    hub.set_permission("octo/secret", "alice", "read")

    results = [
        (await git("clone", "--quiet", address(hub, "octo/secret", login), f"copy-{login}", cwd=tmp_path))[0]
        for login in ("alice", "mallory", None)
    ]

    assert results == [0, 128, 128]


async def test_a_writer_pushes_and_a_reader_does_not(scene: Scene, tmp_path: Path) -> None:
    hub = scene.hub
    for login in ("alice", "tina"):
        await git("clone", "--quiet", address(hub, "octo/demo", login), login, cwd=tmp_path)
        (tmp_path / login / "new.txt").write_text("new\n")
        await git("add", ".", cwd=tmp_path / login)
        await git("commit", "--quiet", "--message", "New", cwd=tmp_path / login)

    pushed, _ = await git("push", "--quiet", "origin", "HEAD:refs/heads/work", cwd=tmp_path / "alice")
    refused, said = await git("push", "--quiet", "origin", "HEAD:refs/heads/other", cwd=tmp_path / "tina")
    await hub.settled()

    assert (pushed, refused, "403" in said) == (0, 128, True)
    assert sorted(await hub.branches("octo/demo")) == ["main", "work"]
    assert (await hub.files("octo/demo", "work"))["new.txt"] == b"new\n"
    assert scene.receiver.events() == [("push", None)]


async def test_a_push_moves_an_open_pull_request(scene: Scene, tmp_path: Path) -> None:
    hub = scene.hub
    await hub.commit("octo/demo", {"a.txt": "a\n"}, branch="work")
    repo = hub.repository("octo/demo")
    branches = await hub.branches("octo/demo")
    pull = Pull(1, repo, "work", branches["work"], "main", branches["main"])
    hub.world.open_pull(repo, hub.world.actor(hub.create_user("alice")), "Work", None, pull)
    await git("clone", "--quiet", "--branch", "work", address(hub, "octo/demo", "alice"), "copy", cwd=tmp_path)
    await git("commit", "--quiet", "--allow-empty", "--message", "More", cwd=tmp_path / "copy")
    await git("push", "--quiet", "origin", "work", cwd=tmp_path / "copy")
    await hub.settled()

    _, head = await git("rev-parse", "HEAD", cwd=tmp_path / "copy")
    assert hub.pull_requests("octo/demo")[0]["head"]["sha"] == head.strip()
    assert ("pull_request", "synchronize") in scene.receiver.events()


async def test_a_single_commit_is_fetched_by_its_sha_without_blobs(hub: LocalHub, tmp_path: Path) -> None:
    sha = (await hub.branches("octo/demo"))["main"]
    await hub.commit("octo/demo", {"later.txt": "later\n"})
    await git("init", "--quiet", "copy", cwd=tmp_path)

    fetch = ("fetch", "--quiet", "--depth=1", "--filter=blob:none", address(hub, "octo/demo"), sha)
    status, out = await git(*fetch, cwd=tmp_path / "copy")

    assert (status, out) == (0, "")


async def test_repositories_are_found_again_below_the_root(tmp_path: Path) -> None:
    async with LocalHub(tmp_path) as hub:
        await hub.create_repository("octo/kept", {"a.txt": "a\n"})
    async with LocalHub(tmp_path) as hub:
        assert await hub.files("octo/kept") == {"a.txt": b"a\n"}


def test_changes_of_every_kind_are_read_from_gits_three_views() -> None:
    one, two, none = "1" * 40, "2" * 40, "0" * 40
    raw = (
        f":100644 100644 {one} {two} M\0a b.txt\0:100644 100644 {one} {one} R100\0old.txt\0new.txt\0"
        f":100644 000000 {one} {none} D\0gone.bin\0"
    )
    numbers = "1\t2\ta b.txt\0" + "0\t0\t\0old.txt\0new.txt\0" + "-\t-\tgone.bin\0"
    patch = (
        "diff --git a/a b.txt b/a b.txt\n--- a/a b.txt\n+++ b/a b.txt\n@@ -1,2 +1 @@\n-x\n-y\n+z\n"
        "diff --git a/old.txt b/new.txt\nsimilarity index 100%\nrename from old.txt\nrename to new.txt\n"
        "diff --git a/gone.bin b/gone.bin\ndeleted file mode 100644\nBinary files a/gone.bin and /dev/null differ\n"
    )

    found = [
        (it.path, it.previous_path, it.status, it.sha, it.additions, it.deletions, it.patch)
        for it in parse_changes(raw, numbers, patch)
    ]

    assert found == [
        ("a b.txt", None, "modified", two, 1, 2, "@@ -1,2 +1 @@\n-x\n-y\n+z"),
        ("new.txt", "old.txt", "renamed", one, 0, 0, None),
        ("gone.bin", None, "removed", one, 0, 0, None),
    ]


def test_a_patch_shows_which_lines_can_be_commented() -> None:
    shown = commentable_lines("@@ -1,2 +1,3 @@ def f():\n a\n-b\n+c\n+d\n\\ No newline at end of file")

    assert {side: sorted(lines) for side, lines in shown.items()} == {"LEFT": [1, 2], "RIGHT": [1, 2, 3]}


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("Closes #1 and fixes: #22", [1, 22]), ("Part of #3", []), ("disclose #4", []), ("RESOLVED #5.", [5])],
)
def test_closing_words_name_issues(text: str, numbers: list[int]) -> None:
    assert closing_numbers(text) == numbers


@given(st.text(max_size=30))
def test_a_name_taken_as_a_ref_never_reads_as_an_option_or_an_expression(name: str) -> None:
    if valid_ref(name):
        assert not name.startswith(("-", ".", "/"))
        assert not any(mark in name for mark in ("..", "@{", "^", "~", ":", "\\", " ", "\n", "\0", "*", "?", "["))
