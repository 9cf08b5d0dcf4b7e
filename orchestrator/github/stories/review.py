"""The story of `/orchestrate review`: a pull request's diff, read through the API, and what two providers say of it.

Nothing is cloned, run or pushed: a stranger's code reaches the models as text, and comes no further.
"""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.control_plane import Change
from orchestrator.dependencies import NEW_DEPENDENCIES, check_new_dependencies
from orchestrator.diff import FileDiff
from orchestrator.errors import GitHubError
from orchestrator.github.api.client import Unreachable
from orchestrator.github.api.repository import read_text
from orchestrator.github.rendering.commits import RUN_TRAILER
from orchestrator.github.rendering.markdown import code
from orchestrator.github.rendering.marks import status_mark
from orchestrator.github.reviews.inline import Looked
from orchestrator.github.reviews.line_comments import comment_on_lines
from orchestrator.github.reviews.pull_diff import MAX_FILES, PullRequestEnds, diff_between, ends_of
from orchestrator.github.reviews.review_text import remarks_of, review_check, review_comment, review_lead
from orchestrator.github.runs.desk import Desk, HandledRun, followed, refuse
from orchestrator.github.runs.early import end_early, goes_on
from orchestrator.hidden import shown
from orchestrator.manifests import included_in, is_manifest, is_requirements, newly_declared
from orchestrator.specs import JobSpec
from orchestrator.state import ProjectStatus, ValidationResult, ValidationStatus

CONVENTIONS = "AGENTS.md"
MAX_MANIFESTS = 20


async def review(desk: Desk, job: JobSpec, index_hosts: Sequence[str] = ()) -> HandledRun:
    """Have the pull request reviewed, or go on with that; called again, it says nothing twice.

    `index_hosts` are the operator's package indexes.
    """
    number = desk.trigger.issue
    if number is None:
        return await refuse(desk, "there is no pull request here.", "Not reviewed")

    # 1. Both ends are decided once and hold for the whole run: a head that moves meanwhile is another one's.
    pull = await ends_of(desk.client, number)
    head_sha = await desk.remember("head", pull.head_sha)
    base_sha = await desk.remember("base", pull.base_sha)
    if pull.state != "open":
        said = f"pull request #{number} is {pull.state}"
        if goes_on(await desk.plane.state(desk.run_id)):
            return await end_early(desk, None, said)
        return await refuse(desk, f"{said}.", "Not reviewed")
    await desk.said("pinned", f"{base_sha[:12]}...{head_sha[:12]}")

    # 2. The diff, and what the base asks of its authors: nothing that the head says of itself counts (SECURITY 14).
    files = await diff_between(desk.client, base_sha, head_sha)
    conventions, notes = await _conventions(desk, base_sha)
    if len(files) >= MAX_FILES:
        notes.append(f"GitHub lists {MAX_FILES} files of a change at most; any further ones were not reviewed.")

    dependencies = await _new_dependencies(desk, files, base_sha, head_sha, index_hosts)
    notes += [f"New dependency: {line}" for it in dependencies for line in it.detail.splitlines()]

    # 3. Two providers, while the status comment follows.
    async with followed(desk) as on_event:
        state = await desk.plane.review(
            job,
            Change(files, conventions),
            run_id=desk.run_id,
            repository=desk.trigger.repository,
            user=desk.trigger.actor,
            on_event=on_event,
        )
    await desk.said("built", state.status.value)

    # 4. What they say: at its lines, on the head, and in one comment.
    if (await ends_of(desk.client, number)).head_sha != head_sha:
        notes.append(f"The head has moved since; this is about {head_sha[:12]}.")
    _, refused = await comment_on_lines(
        desk.client,
        desk.publisher,
        number,
        head_sha,
        remarks=remarks_of(state),
        files=files,
        kind="diff",
        looked=Looked(None) if state.status is ProjectStatus.COMPLETED else Looked(),
        lead=review_lead(state),
    )
    notes += refused
    if await _is_of_a_run(desk, pull, head_sha):
        notes.append("The check run `orchestrator/review` of this commit is its own run's, and stays as it is.")
    elif note := await desk.publisher.upsert_check_run(head_sha, review_check(state, dependencies)):
        notes.append(note)
    await desk.said("reported", state.status.value)
    body = review_comment(state, head_sha, notes)
    await desk.comment(status_mark(desk.run_id), body)
    await desk.react("rocket" if state.status is ProjectStatus.COMPLETED else "confused")
    await desk.said("ended", state.status.value)
    return HandledRun(
        desk.run_id,
        state.status.value,
        state.outcome.reason,
        state,
        base_sha=base_sha,
        head_sha=head_sha,
        pull_request=number,
        pull_request_url=pull.url,
        report=body,
    )


async def _conventions(desk: Desk, base_sha: str) -> tuple[str, list[str]]:
    try:
        text = await read_text(desk.client, CONVENTIONS, base_sha)
    except Unreachable:
        raise
    except GitHubError as error:
        return "", [f"{CONVENTIONS} was not shown to the reviewers: {error.message}"]
    return shown(CONVENTIONS, text or "").text, []


async def _new_dependencies(
    desk: Desk, files: Sequence[FileDiff], base_sha: str, head_sha: str, index_hosts: Sequence[str]
) -> tuple[ValidationResult, ...]:
    """Look up what the manifests of the change name anew (SECURITY 23), and say which could not be read."""
    missed: list[str] = []

    async def read(path: str, sha: str) -> bytes | None:
        try:
            return (await read_text(desk.client, path, sha) or "").encode()
        except Unreachable:
            raise
        except GitHubError as error:
            missed.append(f"what `{code(path)}` names was not looked up: {error.message}")
            return None

    changed = {it.path: it for it in files if it.status != "removed"}
    included: set[str] = set()
    if any(path.endswith((".txt", ".in")) and not is_manifest(path) for path in changed):
        pending = await _requirements(desk, head_sha)
        while pending and len(included) < MAX_MANIFESTS:
            path = pending.pop(0)
            if path not in included:
                included.add(path)
                pending += sorted(included_in(path, await read(path, head_sha) or b""))
        included |= set(pending)
    manifests = [it for path, it in changed.items() if is_manifest(path) or path in included]
    if len(manifests) > MAX_MANIFESTS:
        missed.append(f"{len(manifests)} files name some, and only {MAX_MANIFESTS} were looked up")
    before: dict[str, bytes] = {}
    after: dict[str, bytes] = {}
    for it in manifests[:MAX_MANIFESTS]:
        if (new := await read(it.path, head_sha)) is not None:
            after[it.path] = new
            before[it.path] = await read(it.previous_path or it.path, base_sha) or b""
    results = await check_new_dependencies(newly_declared(before, after), index_hosts)
    if not missed:
        return results
    detail = "\n".join(dict.fromkeys(missed))
    return (*results, ValidationResult(NEW_DEPENDENCIES, ValidationStatus.NOT_RUN, (), detail))


async def _requirements(desk: Desk, sha: str) -> list[str]:
    """Return the paths of a commit's requirements files, those at the top first."""
    tree = await desk.client.read("list files", lambda repository: repository.get_git_tree(sha, recursive=True).tree)
    return sorted((it.path for it in tree if it.type == "blob" and is_requirements(it.path)), key=_depth)


def _depth(path: str) -> tuple[int, str]:
    return path.count("/"), path


async def _is_of_a_run(desk: Desk, pull: PullRequestEnds, head_sha: str) -> bool:
    """Tell whether the head is a commit of ours, whose check runs are those of the run that made it."""
    if pull.head_repository.lower() != desk.client.name.lower():
        return False
    message = await desk.client.read("read a commit", lambda repository: repository.get_git_commit(head_sha).message)
    return f"{RUN_TRAILER}: " in message
