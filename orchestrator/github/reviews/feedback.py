"""What a round answers besides its command: open review threads, failing checks, and the diff of the pull request.

Words of people without write access never reach a model, nor do those that came after the command (SECURITY 13). What
CI printed is the word of whoever wrote the code that it ran (SECURITY 27).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from github.CheckRun import CheckRun
from github.CheckRunAnnotation import CheckRunAnnotation
from github.CommitStatus import CommitStatus
from github.Repository import Repository

from orchestrator.context import ContextRules
from orchestrator.errors import GitHubError
from orchestrator.github.api.access import may_command
from orchestrator.github.api.client import Refused, RepositoryClient
from orchestrator.github.api.job_logs import LogUnavailable, read_job_log
from orchestrator.github.rendering.markdown import code
from orchestrator.github.rendering.permissions import cannot_read_logs
from orchestrator.github.reviews.job_log import excerpt, job_of_check
from orchestrator.github.reviews.threads import ReviewThread, ThreadComment, review_threads
from orchestrator.github.triggers.trigger import Trigger
from orchestrator.hidden import shown, visible
from orchestrator.specs import Feedback

MAX_REMARKS = 24_000
MAX_DIFF = 60_000
MAX_TEXT = 2_000
MAX_CHECKS = 20
MAX_ANNOTATIONS = 20
MAX_LOGS = 3
"""Characters and numbers of what one round is told; what is left out is said."""
FAILING = ("failure", "timed_out", "action_required", "cancelled", "startup_failure", "error")


@dataclass(frozen=True, slots=True)
class FailingCheck:
    """A check run or commit status that did not pass; `remarks` are its annotations as `path:line: message`.

    `job` is the workflow job that it is about, None for a check of another kind.
    """

    name: str
    conclusion: str
    title: str = ""
    summary: str = ""
    remarks: tuple[str, ...] = ()
    job: int | None = None


@dataclass(frozen=True, slots=True)
class JobLog:
    """What a failed workflow job printed, as far as it is told."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class ChangedFile:
    """One file of a pull request's diff."""

    path: str
    status: str
    patch: str


async def gather(
    client: RepositoryClient,
    trigger: Trigger,
    head_sha: str,
    rules: ContextRules,
    *,
    login: str,
    authors: Iterable[str] = (),
) -> Feedback:
    """Return what is open on a pull request, and its diff; `login` is our own, `authors` those of its commits."""
    number = trigger.issue or 0
    there = await review_threads(client, number)
    threads = await open_threads(client, there, before=trigger.created_at, login=login)
    checks = [
        *await client.read_if_permitted(
            "read the check runs", lambda repository: _runs(repository, client.name, head_sha)
        ),
        *await client.read_if_permitted("read the statuses", lambda repository: _statuses(repository, head_sha)),
    ]
    files = await client.read("read the diff", lambda repository: _files(repository, number))
    logs, notes = await job_logs(client, checks, login)
    theirs = dict.fromkeys(it for it in authors if it.lower() != login.lower()) if logs else {}
    return Feedback(remarks(threads, checks, logs), diff(files, rules), tuple(theirs), notes)


async def job_logs(
    client: RepositoryClient, checks: Sequence[FailingCheck], login: str
) -> tuple[tuple[JobLog, ...], tuple[str, ...]]:
    """Return the logs of the first few failed workflow jobs, and notes on those that are not to be had."""
    logs: list[JobLog] = []
    notes: list[str] = []
    jobs = [(it.name, it.job) for it in checks if it.job is not None]
    for name, job in jobs[:MAX_LOGS]:
        try:
            logs.append(JobLog(name, excerpt(await read_job_log(client, job))))
        except Refused:
            notes.append(cannot_read_logs(login, client.server_url))
            break
        except LogUnavailable as error:
            notes.append(f"The log of the failed job `{code(name)}` was not read: {error.message}.")
        except GitHubError as error:
            notes.append(f"The log of the failed job `{code(name)}` was not read: {error.message}")
    return tuple(it for it in logs if it.text), tuple(notes)


async def open_threads(
    client: RepositoryClient, threads: Iterable[ReviewThread], *, before: str, login: str
) -> tuple[ReviewThread, ...]:
    """Return the unresolved threads with what people with write access, and we, said there up to a time."""

    async def counts(author: str) -> bool:
        return author == login or (await may_command(client, author, "write")).granted

    return await heard([it for it in threads if not it.resolved], before, counts)


async def heard(
    threads: Iterable[ReviewThread], before: str, counts: Callable[[str], Awaitable[bool]]
) -> tuple[ReviewThread, ...]:
    """Return threads with only the comments up to a time whose authors count; a thread without any is left out."""
    asked: dict[str, bool] = {}
    kept: list[ReviewThread] = []
    for thread in threads:
        comments: list[ThreadComment] = []
        for comment in thread.comments:
            if later(comment.created_at, before):
                continue
            if comment.author not in asked:
                asked[comment.author] = await counts(comment.author)
            if asked[comment.author]:
                comments.append(comment)
        if comments:
            kept.append(
                ReviewThread(thread.id, thread.path, thread.line, thread.resolved, thread.outdated, tuple(comments))
            )
    return tuple(kept)


def later(at: str, than: str) -> bool:
    """Tell whether a time of GitHub's is after another; one that cannot be read counts as later."""
    try:
        return datetime.fromisoformat(at) > datetime.fromisoformat(than)
    except ValueError:
        return True


# texts


def remarks(threads: Sequence[ReviewThread], checks: Sequence[FailingCheck], logs: Sequence[JobLog] = ()) -> str:
    """Return threads, failing checks and logs as one text for the models; empty where nothing is open."""
    parts = [_thread(it) for it in threads] + [_check(it) for it in checks] + [_log(it) for it in logs]
    kept: list[str] = []
    room = MAX_REMARKS
    for part in parts:
        if len(part) > room:
            kept.append(f"(and {len(parts) - len(kept)} more)")
            break
        room -= len(part)
        kept.append(part)
    return "\n\n".join(kept)


def _thread(thread: ReviewThread) -> str:
    place = thread.path if thread.line is None else f"{thread.path}:{thread.line}"
    lines = [f"  {it.author}: {_indented(visible(it.body))}" for it in thread.comments]
    old = ", on a line that has changed since" if thread.outdated else ""
    return "\n".join([f"Review thread at {place}{old}", *lines])


def _check(check: FailingCheck) -> str:
    head = f"Check {check.name}: {check.conclusion}" + (f", {_indented(visible(check.title))}" if check.title else "")
    summary = [f"  {_indented(visible(check.summary))}"] if check.summary.strip() else []
    return "\n".join([head, *summary, *(f"  - {_indented(visible(it))}" for it in check.remarks)])


def _log(log: JobLog) -> str:
    lines = log.text.replace("\n", "\n    ")
    return f"Log of {_indented(visible(log.name))}, around its first error\n    {lines}"


def _indented(text: str) -> str:
    cut = text.strip()
    cut = cut if len(cut) <= MAX_TEXT else f"{cut[:MAX_TEXT]}…"
    return cut.replace("\n", "\n    ")


def diff(files: Sequence[ChangedFile], rules: ContextRules) -> str:
    """Return the diff as one text for the models: the files that may be shown, as far as there is room."""
    kept: list[str] = []
    named: list[str] = []
    room = MAX_DIFF
    for it in files:
        if not rules.shows(it.path):
            continue
        part = f"File {it.path} ({it.status})\n{shown(it.path, it.patch).text}".rstrip()
        if it.patch and len(part) <= room:
            room -= len(part)
            kept.append(part)
        else:
            named.append(f"{it.path} ({it.status})")
    if named:
        kept.append("Without their lines: " + ", ".join(named))
    return "\n\n".join(kept)


# what GitHub says


def _runs(repository: Repository, name: str, head_sha: str) -> list[FailingCheck]:
    listed = repository.get_commit(head_sha).get_check_runs()
    failing = (it for it in listed if it.status == "completed" and it.conclusion in FAILING)
    return [
        FailingCheck(
            it.name,
            it.conclusion,
            it.output.title or "",
            it.output.summary or "",
            tuple(f"{one.path}:{one.start_line}: {one.message}" for one in _annotations(it)),
            job_of_check(it.details_url or "", it.app.slug or "", name),
        )
        for it in islice(failing, MAX_CHECKS)
    ]


def _statuses(repository: Repository, head_sha: str) -> list[FailingCheck]:
    # Of all pages: the combined status has only the first. The newest of a context come first.
    newest: dict[str, CommitStatus] = {}
    for it in repository.get_commit(head_sha).get_statuses():
        newest.setdefault(it.context, it)
    failing = (it for it in newest.values() if it.state in FAILING)
    return [FailingCheck(it.context, it.state, it.description or "") for it in islice(failing, MAX_CHECKS)]


def _annotations(run: CheckRun) -> list[CheckRunAnnotation]:
    return list(islice(run.get_annotations(), MAX_ANNOTATIONS)) if run.output.annotations_count else []


def _files(repository: Repository, number: int) -> list[ChangedFile]:
    return [ChangedFile(it.filename, it.status, it.patch or "") for it in repository.get_pull(number).get_files()]
