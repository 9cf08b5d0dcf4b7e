"""Code on GitHub through its API: reading a file, our branch, and verified commits on it.

Everything is looked up before it is written, and a head that somebody else moved is never overwritten.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import quote

from github import InputGitTreeElement
from github.ContentFile import ContentFile
from github.GitCommit import GitCommit
from github.Repository import Repository

from orchestrator.artifacts import blob_sha, executables
from orchestrator.errors import GitHubError
from orchestrator.github.api.client import AmbiguousWrite, NotFound, Refused, RepositoryClient
from orchestrator.github.rendering.commits import is_ours, is_own

MAX_TEXT_BYTES = 1024 * 1024
_EXECUTABLE = "100755"
MAX_OWN_COMMITS = 50
"""A run pushes once for each resume; a longer chain of commits is not looked through."""
_PUSHED = ("pushed", "head")


async def head_of(client: RepositoryClient, branch: str) -> str | None:
    """Return the SHA that a branch points to, or None when there is no such branch."""

    def read(repository: Repository) -> str | None:
        # A reference is asked for by its exact name; the answer of a prefix match is no answer.
        ref = f"refs/heads/{branch}"
        return next((it["object"]["sha"] for it in _matching_refs(repository, branch) if it["ref"] == ref), None)

    return await client.read(f"say where {branch} stands", read)


def _matching_refs(repository: Repository, branch: str) -> list[dict[str, Any]]:
    """Return the branches whose names begin so; PyGithub's own would ask for pages, which this answer has none of."""
    url = f"{repository.url}/git/matching-refs/heads/{quote(branch)}"
    _, found = repository.requester.requestJsonAndCheck("GET", url)
    return list(found)


async def branches_under(client: RepositoryClient, prefix: str) -> tuple[str, ...]:
    """Return the branches whose names begin with a prefix."""

    def read(repository: Repository) -> tuple[str, ...]:
        refs = (it["ref"].removeprefix("refs/heads/") for it in _matching_refs(repository, prefix))
        return tuple(name for name in refs if name.startswith(prefix))

    return await client.read("list branches", read)


async def is_commit_of(client: RepositoryClient, sha: str, run_id: str) -> bool:
    """Tell whether a commit carries the trailer of a run."""
    return is_ours(await message_of(client, sha), run_id)


async def message_of(client: RepositoryClient, sha: str) -> str:
    """Return a commit's message."""
    commit: GitCommit = await client.read("read a commit", lambda repository: repository.get_git_commit(sha))
    return commit.message


class Pushes(Protocol):
    """What a run notes of its effects, as `Effects` does: here the commits that it brought onto its branch."""

    async def begin(self, kind: str, key: str) -> tuple[str, str]:
        """Return what is noted, with the value last."""
        ...

    async def done(self, kind: str, key: str, remote_id: str) -> None:
        """Note a value."""
        ...


async def is_own_head(client: RepositoryClient, head: str, *, run_id: str, base_sha: str, pushes: Pushes) -> bool:
    """Tell whether a run itself brought a branch to a head (SECURITY 15): trailers survive a rebase and an amendment.

    What the run noted counts alone. Where it noted nothing, as without a database, its own commits must lead from the
    head down to `base_sha`.
    """
    _, noted = await pushes.begin(*_PUSHED)
    if noted:
        return head in noted.split()

    def read(repository: Repository) -> bool:
        sha = head
        for _ in range(MAX_OWN_COMMITS):
            commit = repository.get_git_commit(sha)
            if not is_own(commit.message, run_id) or not commit.parents:
                return False
            sha = commit.parents[0].sha
            if sha == base_sha:
                return True
        return False

    return await client.read("read the commits of a branch", read)


async def read_text(client: RepositoryClient, path: str, ref: str) -> str | None:
    """Return the text of a file at a commit, or None when there is no such file.

    Raises `GitHubError` for a file over 1 MiB or one that is not UTF-8.
    """
    try:
        found = await client.read(f"read {path}", lambda repository: repository.get_contents(path, ref=ref))
    except NotFound:
        return None
    if not isinstance(found, ContentFile) or found.type != "file":
        return None
    if found.encoding != "base64" or found.size > MAX_TEXT_BYTES:
        raise GitHubError(f"{path} has {found.size} bytes; at most {MAX_TEXT_BYTES} are read.")
    try:
        return found.decoded_content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise GitHubError(f"{path} is not UTF-8.", hint="Save it as UTF-8.") from error


class Moved(GitHubError):
    """A branch holds commits that are not a run's, which stay as they are."""


async def commit_files(
    client: RepositoryClient,
    *,
    base_sha: str,
    branch: str,
    changes: Mapping[str, bytes | None],
    message: str,
    run_id: str,
    pushes: Pushes,
    expected_head: str | None = None,
) -> str:
    """Put `changes` to the base commit on a branch as one verified commit and return the branch's head.

    `expected_head` None asks for a new branch. A head that this run pushed, as `pushes` knows, is taken as it is where
    it has these very files, and so is an expected head; one with other files is built upon. Any other head raises
    `Moved` and stays.
    """
    head = await head_of(client, branch)
    parent, there, own = expected_head or base_sha, "", ""
    if head is not None:
        commit = await client.read("read a commit", lambda repository: repository.get_git_commit(head))
        there = commit.tree.sha
        if head != expected_head and await is_own_head(client, head, run_id=run_id, base_sha=base_sha, pushes=pushes):
            parent = own = head
            if await _holds(client, base_sha, there, changes):
                return head
        elif head != expected_head:
            raise _moved(branch)
    elif expected_head is not None:
        raise _moved(branch)
    tree = await _write_tree(client, base_sha, changes)
    if head is not None and tree == there:
        return head
    sha = await write_commit(client, message, tree, parent)
    # Before it is pushed: whoever goes on after a crash finds the branch at the one or at the other.
    await pushes.begin(*_PUSHED)
    await pushes.done(*_PUSHED, f"{own} {sha}".strip())
    if head is None:
        await _create_branch(client, branch, sha)
    else:
        await advance(client, branch, sha)
    return sha


async def commit_tree(client: RepositoryClient, sha: str) -> str:
    """Return the SHA of a commit's tree."""
    commit: GitCommit = await client.read("read a commit", lambda repository: repository.get_git_commit(sha))
    return commit.tree.sha


async def _write_tree(client: RepositoryClient, base_sha: str, changes: Mapping[str, bytes | None]) -> str:
    base_tree = await commit_tree(client, base_sha)
    there, complete = await client.read("list the files", lambda repository: _listed(repository, base_tree))
    elements, modes = [], _modes(there, changes)
    for path, content in sorted(changes.items()):
        if content is None and path not in there and complete:
            continue
        blob = None if content is None else await _write_blob(client, content)
        elements.append(InputGitTreeElement(path, modes[path], "blob", sha=blob))
    if not elements:
        return base_tree

    def write(repository: Repository) -> str:
        return repository.create_git_tree(elements, repository.get_git_tree(base_tree)).sha

    # Objects that nothing points to are no effect: writing them twice makes one.
    return await client.write("write the files", write, idempotent=True, urgency="none")


async def _holds(client: RepositoryClient, base_sha: str, tree: str, changes: Mapping[str, bytes | None]) -> bool:
    """Tell whether a tree is the base commit's with `changes`; False also when GitHub does not list all files."""
    base_tree = await commit_tree(client, base_sha)
    wanted, complete = await client.read("list the files", lambda repository: _listed(repository, base_tree))
    found, all_found = await client.read("list the files", lambda repository: _listed(repository, tree))
    modes = _modes(wanted, changes)
    for path, content in changes.items():
        wanted.pop(path, None)
        if content is not None:
            wanted[path] = (modes[path], blob_sha(content))
    return complete and all_found and wanted == found


def _listed(repository: Repository, tree: str) -> tuple[dict[str, tuple[str, str]], bool]:
    """Return mode and SHA of each path, and whether GitHub listed them all."""
    listed = repository.get_git_tree(tree, recursive=True)
    entries = {it.path: (it.mode, it.sha) for it in listed.tree if it.type != "tree"}
    return entries, not listed.raw_data.get("truncated", False)


def _modes(there: Mapping[str, tuple[str, str]], changes: Mapping[str, bytes | None]) -> dict[str, str]:
    """Return the mode of each written file: a link or submodule that is written to becomes a file."""
    kept = executables(changes, {path: sha for path, (mode, sha) in there.items() if mode == _EXECUTABLE})
    return {path: _EXECUTABLE if path in kept else "100644" for path in changes}


async def _write_blob(client: RepositoryClient, content: bytes) -> str:
    encoded = base64.b64encode(content).decode()
    return await client.write(
        "write a file",
        lambda repository: repository.create_git_blob(encoded, "base64").sha,
        idempotent=True,
        urgency="none",
    )


async def write_commit(client: RepositoryClient, message: str, tree: str, parent: str) -> str:
    """Write a commit that nothing points to yet, and return its SHA."""

    def write(repository: Repository) -> str:
        # Without author fields GitHub signs the commit as the App's own.
        return repository.create_git_commit(
            message, repository.get_git_tree(tree), [repository.get_git_commit(parent)]
        ).sha

    return await client.write("write the commit", write, idempotent=True, urgency="none")


async def _create_branch(client: RepositoryClient, branch: str, sha: str) -> None:
    try:
        await client.write(
            f"create {branch}",
            lambda repository: repository.create_git_ref(f"refs/heads/{branch}", sha),
            urgency="none",
        )
    except (AmbiguousWrite, Refused) as error:
        if isinstance(error, Refused) and error.status != 422:
            raise
        head = await head_of(client, branch)
        if head is None:
            raise
        if head != sha:
            raise _moved(branch) from error


async def advance(client: RepositoryClient, branch: str, sha: str) -> None:
    """Move a branch forward to a commit; raises `Moved` where it holds commits below which this one does not stand."""

    def write(repository: Repository) -> None:
        ref = f"refs/heads/{branch}"
        if all(it["ref"] != ref for it in _matching_refs(repository, branch)):
            raise _moved(branch)
        url = f"{repository.url}/git/refs/heads/{quote(branch)}"
        repository.requester.requestJsonAndCheck("PATCH", url, input={"sha": sha, "force": False})

    try:
        await client.write(f"move {branch}", write, idempotent=True, urgency="none")
    except Refused as error:
        if error.status == 422:
            raise _moved(branch) from error
        raise


def _moved(branch: str) -> Moved:
    return Moved(
        f"The branch {branch} holds commits that are not this run's; it was left as it is.",
        hint="Rename or delete that branch, or merge its pull request, and ask again.",
    )
