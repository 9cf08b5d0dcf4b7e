"""Code on GitHub through its API: reading a file, our branch, verified commits, the pull request.

Everything is looked up before it is written, and a head that somebody else moved is never overwritten.
"""

from __future__ import annotations

import base64
import hashlib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from github import InputGitTreeElement
from github.ContentFile import ContentFile
from github.GitCommit import GitCommit
from github.PullRequest import PullRequest
from github.Repository import Repository

from orchestrator.errors import GitHubError
from orchestrator.github.api.client import AmbiguousWrite, NotFound, Refused, RepositoryClient
from orchestrator.github.rendering.template import kept

SLUG_LETTERS = 40
MAX_TEXT_BYTES = 1024 * 1024
RUN_TRAILER = "Orchestrator-Run"
ROUND_TRAILER = "Orchestrator-Round"
CI_TRAILER = "Orchestrator-Ci"
SKIP_CHECKS = "skip-checks: true"
PULL_REQUEST_SETTING = "Allow GitHub Actions to create and approve pull requests"
TITLE_LETTERS = 256


def slug(title: str) -> str:
    """Return a title as `[a-z0-9-]`, at most 40 letters cut at a word, or `build` when nothing is left."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    words = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    if len(words) > SLUG_LETTERS:
        cut = words[: SLUG_LETTERS + 1].rpartition("-")[0]
        words = (cut or words[:SLUG_LETTERS]).strip("-")
    return words or "build"


def branch_name(prefix: str, issue: int | None, title: str, run_id: str, *, round_: int = 1) -> str:
    """Return our branch: `{prefix}{issue}-{slug}`, without an issue `{prefix}{slug}-{run}`, `-2` for a second round."""
    if not re.fullmatch(r"[A-Za-z0-9._/-]{0,60}", prefix) or ".." in prefix or prefix.startswith(("-", "/", ".")):
        raise GitHubError(f"The branch prefix {prefix!r} has letters that no branch of ours may have.")
    suffix = f"-{round_}" if round_ > 1 else ""
    name = f"{issue}-{slug(title)}" if issue is not None else f"{slug(title)}-{run_id.removeprefix('r-')}"
    return f"{prefix}{name}{suffix}"


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


def commit_message(
    title: str,
    body: str,
    run_id: str,
    *,
    skip_checks: bool,
    round_id: str = "",
    ci_id: str = "",
    trailers: Sequence[str] = (),
) -> str:
    """Return a commit's message, our trailers after the given ones.

    `round_id` and `ci_id` name the round, or the command that lets CI run, that the commit is of.

    `skip_checks` keeps GitHub from running the repository's CI:
    https://docs.github.com/en/pull-requests/collaborating-with-pull-requests/collaborating-on-repositories-with-code-quality-features/about-status-checks#skipping-and-requesting-checks-for-individual-commits
    """
    subject = " ".join(title.split())[:72] or "Build"
    text = f"{subject}\n\n{body.strip()}" if body.strip() else subject
    named = {RUN_TRAILER: run_id, ROUND_TRAILER: round_id, CI_TRAILER: ci_id}
    listed = "\n".join([*trailers, *(f"{name}: {value}" for name, value in named.items() if value)])
    if skip_checks:
        return f"{text}\n\n\n{listed}\n{SKIP_CHECKS}\n"
    return f"{text}\n\n{listed}\n"


def is_ours(message: str, run_id: str) -> bool:
    """Tell whether a commit message carries the trailer of a run, or of a round of that id, in its last paragraph."""
    return run_id in (trailer(message, RUN_TRAILER), trailer(message, ROUND_TRAILER))


def trailer(message: str, name: str) -> str:
    """Return what a trailer in a commit message's last paragraph says, or an empty string."""
    last = message.rstrip().split("\n\n")[-1].strip().splitlines()
    return next((line.partition(": ")[2] for line in last if line.startswith(f"{name}: ")), "")


def holds_ci(message: str) -> bool:
    """Tell whether a commit's message keeps the repository's CI from running (SECURITY 27)."""
    return trailer(message, "skip-checks") == "true"


async def commit_files(
    client: RepositoryClient,
    *,
    base_sha: str,
    branch: str,
    changes: Mapping[str, bytes | None],
    message: str,
    run_id: str,
    expected_head: str | None = None,
) -> str:
    """Put `changes` to the base commit on a branch as one verified commit and return the branch's head.

    `expected_head` None asks for a new branch. A head with this run's trailer and these very files is taken as it is,
    and so is an expected head; one with this run's trailer and other files is built upon. Any other head raises
    `Moved` and stays.
    """
    head = await head_of(client, branch)
    parent, there = expected_head or base_sha, ""
    if head is not None:
        commit = await client.read("read a commit", lambda repository: repository.get_git_commit(head))
        there = commit.tree.sha
        if is_ours(commit.message, run_id):
            parent = head
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
    elements = []
    for path, content in sorted(changes.items()):
        if content is None and path not in there and complete:
            continue
        blob = None if content is None else await _write_blob(client, content)
        elements.append(InputGitTreeElement(path, _mode(there, path), "blob", sha=blob))
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
    modes = dict(wanted)
    for path, content in changes.items():
        wanted.pop(path, None)
        if content is not None:
            wanted[path] = (_mode(modes, path), _blob_sha(content))
    return complete and all_found and wanted == found


def _listed(repository: Repository, tree: str) -> tuple[dict[str, tuple[str, str]], bool]:
    """Return mode and SHA of each path, and whether GitHub listed them all."""
    listed = repository.get_git_tree(tree, recursive=True)
    entries = {it.path: (it.mode, it.sha) for it in listed.tree if it.type != "tree"}
    return entries, not listed.raw_data.get("truncated", False)


def _mode(there: Mapping[str, tuple[str, str]], path: str) -> str:
    # A file keeps its executable bit; a link or submodule that is written to becomes a file.
    return "100755" if there.get(path, ("", ""))[0] == "100755" else "100644"


def _blob_sha(content: bytes) -> str:
    # How git names a blob: https://git-scm.com/book/en/v2/Git-Internals-Git-Objects
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


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


@dataclass(frozen=True, slots=True)
class OpenedPullRequest:
    """The pull request of a branch; `number` is None where GitHub forbids to open one, and `url` compares instead."""

    number: int | None
    url: str
    draft: bool
    note: str = ""


async def open_pull_request(
    client: RepositoryClient, *, head: str, base: str, title: str, body: str, draft: bool
) -> OpenedPullRequest:
    """Return the open pull request of a branch, made if there is none; its text is brought up to date.

    Where drafts are not to be had it is opened as ready; where the token may not open any, the answer compares.
    """
    title = " ".join(title.split())[:TITLE_LETTERS] or head
    found = await find_pull_request(client, head=head)
    if found is not None:
        return await updated(client, found, title, body)
    try:
        return await _create(client, head, base, title, body, draft)
    except AmbiguousWrite:
        found = await find_pull_request(client, head=head)
        return opened(found) if found is not None else await _create(client, head, base, title, body, draft)
    except Refused as error:
        if error.status == 422:
            found = await find_pull_request(client, head=head)
            if found is not None:
                return opened(found)
            if draft and "draft" in error.said.lower():
                return await _create(client, head, base, title, body, draft=False)
        if error.status == 403 and "not permitted to create" in error.said.lower():
            return _compared(client, head, base)
        raise


async def find_pull_request(client: RepositoryClient, *, head: str, state: str = "open") -> PullRequest | None:
    """Return the oldest pull request of a branch of this repository in a state: open, closed or all."""

    def read(repository: Repository) -> PullRequest | None:
        # GitHub ignores a `head` that it cannot read and lists everything: the branch is compared again here.
        listed = repository.get_pulls(state=state, head=f"{client.owner}:{head}", sort="created", direction="asc")
        ours = (
            pull for pull in listed
            if pull.head.ref == head and pull.head.repo and pull.head.repo.full_name.lower() == client.name.lower()
        )  # fmt: skip
        return next(ours, None)

    return await client.read("list pull requests", read)


async def _create(
    client: RepositoryClient, head: str, base: str, title: str, body: str, draft: bool
) -> OpenedPullRequest:
    made = await client.write(
        "open a pull request",
        lambda repository: repository.create_pull(base, head, title=title, body=body, draft=draft),
    )
    return opened(made)


async def updated(client: RepositoryClient, pull: PullRequest, title: str, body: str) -> OpenedPullRequest:
    """Bring the title of a pull request up to date, and our part of its text."""
    body = kept(pull.body or "", body)
    if (pull.title, (pull.body or "").replace("\r\n", "\n").strip()) != (title, body.strip()):
        await client.write("edit the pull request", lambda _: pull.edit(title=title, body=body), idempotent=True)
    return opened(pull)


def opened(pull: PullRequest) -> OpenedPullRequest:
    """Return what is told of a pull request."""
    return OpenedPullRequest(pull.number, pull.html_url, bool(pull.draft))


def _compared(client: RepositoryClient, head: str, base: str) -> OpenedPullRequest:
    link = f"{client.server_url}/{client.name}/compare/{quote(base)}...{quote(head)}?expand=1"
    return OpenedPullRequest(
        None,
        link,
        draft=False,
        note="This token may not open pull requests. Open it by hand from the link, or switch on "
        f"“{PULL_REQUEST_SETTING}” under Settings → Actions → General.",
    )


async def add_labels(client: RepositoryClient, number: int, labels: tuple[str, ...]) -> None:
    """Put labels on an issue or pull request; those that are there stay."""
    if labels:
        await client.write(
            "label the pull request",
            # GitHub recommends an object; PyGithub sends the bare list.
            lambda repository: repository.requester.requestJsonAndCheck(
                "POST", f"{repository.url}/issues/{number}/labels", input={"labels": list(labels)}
            ),
            idempotent=True,
        )
