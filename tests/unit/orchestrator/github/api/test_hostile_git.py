"""SECURITY 19 and 20: what git is started with, read from the kernel while it runs."""

from __future__ import annotations

import ast
import asyncio
import base64
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bot.localhub.git import Git, Signature
from orchestrator.errors import GitHubError
from orchestrator.github.api.clone import CloneLimits, clone
from orchestrator.github.api.repository import head_of
from orchestrator.github.rendering.commits import branch_name
from orchestrator.github.triggers.command import Command, parse_command
from tests.e2e.stage import until
from tests.unit.orchestrator.github.conftest import REPO, Scene

ROOT = Path(__file__).parents[5]
PRODUCT = [path for name in ("orchestrator", "bot", "action") for path in (ROOT / name).rglob("*.py")]
SHELLS = {"create_subprocess_shell", "system", "popen", "getoutput", "getstatusoutput"}


def _git_processes(folder: Path) -> dict[int, str]:
    """Return the command lines of the processes that work in a folder, by their ids."""
    found: dict[int, str] = {}
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                if (process / "cwd").readlink().is_relative_to(folder):
                    found[int(process.name)] = (process / "cmdline").read_text(errors="replace")
            except OSError:
                continue  # it has ended, or is somebody else's
    return found


async def test_sec_20_while_git_fetches_its_arguments_and_every_file_of_its_folder_hold_no_token(
    scene: Scene, tmp_path: Path
) -> None:
    sha = await head_of(scene.client, "main")
    assert sha is not None
    token, into = await scene.client.token(), tmp_path / "base"
    forms = (token, base64.b64encode(f"x-access-token:{token}".encode()).decode())
    scene.hub.faults.add(path_regex="git-upload-pack|info/refs", kind="delay", seconds=20, times=10)
    fetching = asyncio.create_task(clone(scene.hub.url, REPO, sha, into, token=token, limits=CloneLimits(seconds=15)))
    seen: dict[int, str] = {}
    # Until git's helper runs too, which inherits all that git was given.
    while not any("remote-http" in line for line in seen.values()) and not fetching.done():
        seen |= _git_processes(into)
        await asyncio.sleep(0)
    kept = {path: path.read_bytes() for path in (into / ".git").rglob("*") if path.is_file()}
    fetching.cancel()
    await asyncio.wait({fetching})
    # The kernel takes a moment to clear away what was killed.
    await until(lambda: not _git_processes(into), "the end of git and its helpers", 5)
    assert "--end-of-options" in next(line for line in seen.values() if "fetch" in line)
    assert into / ".git/config" in kept
    assert [line for line in seen.values() if any(form in line for form in forms)] == []
    assert [path for path, content in kept.items() if any(form.encode() in content for form in forms)] == []


@pytest.mark.parametrize(("content", "refused"), [(b"x", "files"), (None, "folders")])
async def test_sec_20_trees_that_name_each_other_over_and_over_are_counted_and_never_kept(
    scene: Scene, tmp_path: Path, content: bytes | None, refused: str
) -> None:
    git = Git(scene.hub.repository(REPO).path)
    tree = (await git("mktree", data=b"")).decode().strip()
    leaf = f"040000 tree {tree}" if content is None else f"100644 blob {await git.write_blob(content)}"
    for depth in range(7):
        named = leaf if depth == 0 else f"040000 tree {tree}"
        tree = (await git("mktree", data="".join(f"{named}\td{at}\n" for at in range(10)).encode())).decode().strip()
    parent = await head_of(scene.client, "main")
    assert parent is not None
    who = Signature("Maria", "maria@example.org", datetime.now(UTC))
    sha = await git.write_commit("Grow", tree, [parent], who, who)
    await git.update_ref("refs/heads/grown", sha, "0" * 40)
    tracemalloc.start()
    with pytest.raises(GitHubError, match=f"has more than 100000 {refused} at this commit"):
        await clone(scene.hub.url, REPO, sha, tmp_path / "base", token=await scene.client.token())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 * 2**20
    assert list((tmp_path / "base").iterdir()) == []


@pytest.mark.parametrize(
    ("repository", "sha"),
    [
        ("octo/demo", "--upload-pack=touch /tmp/pwned"),
        ("octo/demo", "main"),
        ("octo/demo", "0" * 40 + "\n--upload-pack=x"),
        ("--upload-pack=x/demo", "0" * 40),
        ("octo/..", "0" * 40),
        ("octo/demo.git?x=1", "0" * 40),
    ],
)
async def test_sec_19_what_is_no_name_or_commit_never_reaches_git(
    scene: Scene, tmp_path: Path, repository: str, sha: str
) -> None:
    with pytest.raises(GitHubError, match="names no commit"):
        await clone(scene.hub.url, repository, sha, tmp_path / "base", token="t")
    assert not (tmp_path / "base").exists()


@pytest.mark.parametrize("base", ["--upload-pack=x", "-x", "a b", "a\x00b", "main;id", "$(id)", "a..b", "@{-1}"])
def test_sec_19_no_option_of_a_comment_becomes_an_option_of_git(base: str) -> None:
    asked = parse_command(f"/orchestrate --base={base}", on_pull_request=False)
    assert not isinstance(asked, Command) or asked.base is None


def test_sec_19_a_branch_made_of_a_hostile_title_has_only_allowed_characters() -> None:
    name = branch_name("orchestrator/", 7, "--exec=`id` $(rm -rf ~) \x00 ..//@{u}\n", "r-aaaaaaaaaaaaaaaa")
    assert name == "orchestrator/7-exec-id-rm-rf-u"


def test_sec_19_no_shell_is_started_by_the_product_itself() -> None:
    found: list[str] = []
    for path in PRODUCT:
        calls = [it for it in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(it, ast.Call)]
        given = [
            it for it in calls for word in it.keywords if word.arg == "shell" and ast.unparse(word.value) != "False"
        ]
        named = [it for it in calls if isinstance(it.func, ast.Attribute) and it.func.attr in SHELLS]
        found += [f"{path.relative_to(ROOT)}: {ast.unparse(it)}" for it in (*given, *named)]
    assert [it for it in found if "platform.system()" not in it] == []
