"""The story of one lint: from a commit that touches a spec or policy file to its check run.

Files are read through the API and only parsed, those of forks at `pull/N/head` of the repository itself; no model is
asked, and nobody gets a comment. Called again for the same commit it brings the one check run up to date, and where
somebody asked for that it is written in any case: GitHub waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass

from github.Repository import Repository

from orchestrator.catalog import Catalog, load_catalog
from orchestrator.errors import GitHubError
from orchestrator.github.api.access import may_command
from orchestrator.github.api.auth import GitHubConnection
from orchestrator.github.api.client import NotFound, Refused, RepositoryClient, Unreachable
from orchestrator.github.api.publisher import Effects, Publisher
from orchestrator.github.api.repository import read_text
from orchestrator.github.rendering.checks import SPEC_CHECK, CheckRun
from orchestrator.github.rendering.spec_lint import MAX_FILE_BYTES, LintedFile, lint_file, spec_lint_check, unreadable
from orchestrator.github.runs.rehearsal import MemoryPreviews, Previews, StagedEffects, rehearse_where_asked
from orchestrator.github.triggers.spec_change import POLICY_FOLDER, SpecChange, is_linted
from orchestrator.operator_config import OperatorConfig
from orchestrator.specs import SPEC_PATH

MAX_FILES = 20
MAX_PULL_REQUEST_FILES = 3_000
"""GitHub lists no more files of a pull request, so that beyond them nothing is sure.

Source: https://docs.github.com/en/rest/pulls/pulls#list-pull-requests-files
"""


@dataclass(frozen=True, slots=True)
class Linted:
    """How it ended; `status` is the conclusion, or `untouched`, or `denied`."""

    status: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _Entry:
    """A file of a commit, and its size in bytes where GitHub says it."""

    sha: str
    size: int


async def lint(
    change: SpecChange,
    *,
    github: GitHubConnection,
    effects: Effects,
    operator: OperatorConfig,
    refusal: Callable[[], Awaitable[str]],
    secrets: Iterable[str] = (),
    previews: Previews | None = None,
) -> Linted:
    """Lint a commit's spec and policy files if it touches one, and say so in `orchestrator/spec`.

    `refusal` is asked once it is sure that there is something to lint, and returns why its actor may have no more of
    it, or an empty text. Where the spec on the default branch is staged, the check run goes to `previews`; where
    neither checks nor statuses may be written, the reason says so. Raises `GitHubError` when GitHub is down.
    """
    client = github.repository(change.repository, change.installation_id)
    async with aclosing(client):
        if await rehearse_where_asked(client, github, previews or MemoryPreviews(), change.installation_id):
            effects = StagedEffects(effects)
        publisher = await github.publisher(client, run_id=change.id, effects=effects, secrets=secrets)

        # 1. What touches no such file gets nothing; asking again needs a check run of ours, and the permission.
        if not await _is_due(change, client, publisher):
            return Linted("untouched", "no spec or policy file is touched")
        if change.again:
            access = await may_command(client, change.actor, "write")
            if not access.granted:
                await publisher.repeat_check_run(change.head_sha, SPEC_CHECK, shared=True)
                return Linted("denied", access.reason)
        await effects.begin("lint", "due")
        await effects.done("lint", "due", "")

        # 2. Above the limits nothing is read, and the check run says so.
        if refused := await refusal():
            check = CheckRun(SPEC_CHECK, "action_required", "Not checked: too many requests", refused, shared=True)
        else:
            # 3. The files as they are at the commit, analysed beside the event loop.
            check = await _checked(change.head_sha, client, load_catalog(operator.model_overrides()))
        note = await publisher.upsert_check_run(change.head_sha, check, again=change.again)
        return Linted(check.conclusion, note or check.title)


async def give_up_lint(
    change: SpecChange,
    reason: str,
    *,
    github: GitHubConnection,
    effects: Effects,
    secrets: Iterable[str] = (),
    previews: Previews | None = None,
) -> None:
    """End the check run of a lint that keeps failing as failure (SECURITY 36).

    Where it never was sure that one is due, nothing is said, unless somebody asked for one again that is there.
    """
    client = github.repository(change.repository, change.installation_id)
    async with aclosing(client):
        if await rehearse_where_asked(client, github, previews or MemoryPreviews(), change.installation_id):
            effects = StagedEffects(effects)
        state, _ = await effects.begin("lint", "due")
        publisher = await github.publisher(client, run_id=change.id, effects=effects, secrets=secrets)
        if state != "done" and not (change.again and await _is_due(change, client, publisher)):
            return
        check = CheckRun(SPEC_CHECK, "failure", "The spec could not be checked", reason, shared=True)
        await publisher.upsert_check_run(change.head_sha, check, again=change.again)


# is it touched?


async def _is_due(change: SpecChange, client: RepositoryClient, publisher: Publisher) -> bool:
    if change.touched:
        return True
    if change.again:
        return await publisher.find_check_run(change.head_sha, SPEC_CHECK, shared=True) is not None
    if change.pull is not None:
        return await _pull_request_touches(client, change.pull)
    there = await _entries(client, change.head_sha)
    if not change.before:
        return bool(there)
    try:
        return await _entries(client, change.before) != there
    except NotFound:
        return True  # what was rewritten is gone: nothing says that the files are the same


async def _pull_request_touches(client: RepositoryClient, number: int) -> bool:
    def read(repository: Repository) -> bool:
        for position, file in enumerate(repository.get_pull(number).get_files(), 1):
            named = is_linted(file.filename) or is_linted(file.previous_filename or "")
            if named or position == MAX_PULL_REQUEST_FILES:
                return True
        return False

    return await client.read("list the files of a pull request", read)


# the files


async def _checked(head_sha: str, client: RepositoryClient, catalog: Catalog) -> CheckRun:
    try:
        files = [await _linted(client, head_sha, path, it, catalog) for path, it in await _first(client, head_sha)]
    except Unreachable:
        raise
    except GitHubError as error:
        return spec_lint_check([unreadable(SPEC_PATH, error.message)])
    return spec_lint_check(files)


async def _first(client: RepositoryClient, head_sha: str) -> list[tuple[str, _Entry | None]]:
    """Return the files that are linted, the spec first; None stands for one too many."""
    entries = await _entries(client, head_sha)
    paths = sorted(entries, key=lambda path: (path != SPEC_PATH, path))
    first: list[tuple[str, _Entry | None]] = [(path, entries[path]) for path in paths[:MAX_FILES]]
    return [*first, *((path, None) for path in paths[MAX_FILES : MAX_FILES + 1])]


async def _linted(
    client: RepositoryClient, head_sha: str, path: str, entry: _Entry | None, catalog: Catalog
) -> LintedFile:
    if entry is None:
        return unreadable(path, f"is one of more than {MAX_FILES} spec and policy files, the rest of which is not read")
    if entry.size > MAX_FILE_BYTES:
        return unreadable(path, f"has {entry.size} bytes; at most {MAX_FILE_BYTES} are linted")
    try:
        content = await read_text(client, path, head_sha)
    except (Unreachable, Refused):
        raise
    except GitHubError as error:
        return unreadable(path, error.message)
    if content is None:
        return unreadable(path, "is no file that can be read")
    if len(content.encode()) > MAX_FILE_BYTES:
        return unreadable(path, f"has more than {MAX_FILE_BYTES} bytes, which is the most that is linted")
    return await asyncio.to_thread(lint_file, path, content, catalog)


async def _entries(client: RepositoryClient, sha: str) -> Mapping[str, _Entry]:
    """Return the spec and policy files of a commit by their paths."""

    def read(repository: Repository) -> dict[str, _Entry]:
        top = repository.get_git_tree(sha).tree
        listed = [(it.path, it) for it in top]
        for folder in top:
            if folder.path == POLICY_FOLDER and folder.type == "tree":
                listed += [(f"{POLICY_FOLDER}/{it.path}", it) for it in repository.get_git_tree(folder.sha).tree]
        return {path: _Entry(it.sha, it.size or 0) for path, it in listed if it.type != "tree" and is_linted(path)}

    return await client.read("list the spec and policy files", read)
