"""The one writer of comments, reactions and check runs: looked for before written, redacted and inert.

GitHub has no key for comments and check runs, so a write whose answer was lost is a state of its own: what is there is
listed before anything is tried again, and of two the younger goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

from github.CheckRun import CheckRun as RemoteCheckRun
from github.IssueComment import IssueComment
from github.Repository import Repository

from orchestrator.github.api.client import AmbiguousWrite, NotFound, Refused, RepositoryClient, Urgency
from orchestrator.github.rendering.checks import ANNOTATIONS_A_REQUEST, MAX_TEXT, Annotation, CheckRun, RunningCheck
from orchestrator.github.rendering.markdown import fit, fit_bytes
from orchestrator.github.rendering.permissions import missing_permission
from orchestrator.github.rendering.sanitize import Redactor, inert

EffectState = Literal["new", "ambiguous", "done"]
Reaction = Literal["eyes", "rocket", "confused"]
OpenCheck = tuple[str, str, str]
"""A check run in progress: the run that it is of, its commit and its name."""

_REACTED_TO = ("issue_comment", "issues", "pull_request_review_comment")
_STATUS_LETTERS = 140
"""https://docs.github.com/en/rest/commits/statuses#create-a-commit-status"""
_STATUS_STATES = {"success": "success", "failure": "failure", "": "pending"}


class Effects(Protocol):
    """The outbox of one run's effects; `begin` says what was known before: new, ambiguous, or done with a remote id."""

    async def begin(self, kind: str, key: str) -> tuple[EffectState, str]:
        """Note that an effect is about to be tried."""
        ...

    async def done(self, kind: str, key: str, remote_id: str) -> None:
        """Note that the effect is there."""
        ...


class MemoryEffects:
    """Effects of a process without a store, such as the Action's."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], str | None] = {}

    async def begin(self, kind: str, key: str) -> tuple[EffectState, str]:
        """Note that an effect is about to be tried, and return what was known before."""
        if (kind, key) not in self._known:
            self._known[kind, key] = None
            return "new", ""
        remote = self._known[kind, key]
        return ("ambiguous", "") if remote is None else ("done", remote)

    async def done(self, kind: str, key: str, remote_id: str) -> None:
        """Note that the effect is there."""
        self._known[kind, key] = remote_id


class Publisher:
    """Writes for one run on one repository as `login`; `requester` is the only one who may be mentioned.

    `buttons` tells whether a press on a check run's button will be heard: by an App that finds the run again.
    `open_checks` holds the check runs that this publisher, or one that it was asked for, has in progress.
    """

    def __init__(
        self,
        client: RepositoryClient,
        *,
        run_id: str,
        redactor: Redactor,
        effects: Effects,
        login: str,
        requester: str = "",
        buttons: bool = False,
        open_checks: set[OpenCheck] | None = None,
    ) -> None:
        self._client = client
        self.run_id = run_id
        self._redactor = redactor
        self.effects = effects
        self._login = login
        self._requester = requester
        self._buttons = buttons
        self._open_checks: set[OpenCheck] = set() if open_checks is None else open_checks
        self._in_progress: dict[tuple[str, str], tuple[int, str]] = {}

    @property
    def client(self) -> RepositoryClient:
        """The repository that is written to."""
        return self._client

    @property
    def redactor(self) -> Redactor:
        """What keeps secrets out of what is written."""
        return self._redactor

    @property
    def login(self) -> str:
        """The account that writes, as REST names it."""
        return self._login

    def of_run(self, run_id: str, effects: Effects) -> Publisher:
        """Return a publisher that writes for another run, with that one's effects."""
        return Publisher(
            self._client,
            run_id=run_id,
            redactor=self._redactor,
            effects=effects,
            login=self._login,
            requester=self._requester,
            buttons=self._buttons,
            open_checks=self._open_checks,
        )

    def safe(self, text: str, *, closes: int | None = None, plain: bool = False) -> str:
        """Return a text as it may be published: without secrets, and inert but for closing the issue `closes`.

        A `plain` text is no Markdown: a title, a commit's message, a status.
        """
        return inert(self._redactor(text), requester=self._requester, closes=closes, plain=plain)

    async def react(
        self,
        issue: int,
        comment_id: int | None,
        content: Reaction,
        *,
        event: str = "issue_comment",
        urgency: Urgency = "final",
    ) -> None:
        """React to a comment, or to the issue itself; GitHub keeps one reaction of a kind by one account.

        `event` brought the comment: those on lines have an address of their own, and reviews take no reactions. Raises
        `NoRoom` for mere progress.
        """
        if event not in _REACTED_TO:
            return

        def write(repository: Repository) -> None:
            if comment_id is None:
                repository.get_issue(issue).create_reaction(content)
            elif event == "pull_request_review_comment":
                repository.get_pull(issue).get_review_comment(comment_id).create_reaction(content)
            else:
                repository.get_issue(issue).get_comment(comment_id).create_reaction(content)

        place = "line" if event == "pull_request_review_comment" else "comment"
        key = f"{f'issue:{issue}' if comment_id is None else f'{place}:{comment_id}'}:{content}"
        state, _ = await self.effects.begin("reaction", key)
        if state == "done":
            return
        try:
            await self._client.write(f"react with {content}", write, idempotent=True, urgency=urgency)
        except NotFound:
            return  # the comment was deleted meanwhile: there is nothing to react to
        await self.effects.done("reaction", key, "")

    async def upsert_comment(self, issue: int, mark: str, body: str, *, urgency: Urgency = "final") -> int:
        """Make the one comment with a mark say `body`, and return its id; raises `NoRoom` for mere progress."""
        text = f"{fit(self.safe(body))}\n\n{mark}"
        state, remote = await self.effects.begin("comment", f"{issue}:{mark}")
        if state == "done" and remote and await self._edit(issue, int(remote), text, urgency):
            return int(remote)
        comment_id = await self._found(issue, mark)
        if comment_id is None:
            comment_id = await self._create(issue, mark, text, urgency)
        else:
            await self._edit(issue, comment_id, text, urgency)
        await self.effects.done("comment", f"{issue}:{mark}", str(comment_id))
        return comment_id

    async def comments_with(self, issue: int, mark_start: str) -> tuple[str, ...]:
        """Return the bodies of our own comments on an issue that hold a mark, the oldest first."""
        return tuple(body for _, body in await self._own(issue) if mark_start in body)

    async def upsert_check_run(self, head_sha: str, check: CheckRun, *, again: bool = False) -> str:
        """Conclude a check run of this run (or a shared one) on a commit; return a note, empty when all is well.

        `again` writes it also where it says so already: asked for a re-run, GitHub has put the suite back to queued and
        waits for a write. A token that may not write checks makes a commit status of the same name; the note names the
        permission that is missing, and where to add it.
        """
        key = f"{head_sha}:{check.name}"
        await self.effects.begin("check_run", key)
        try:
            remote = await self._written(head_sha, check, again=again)
        except Refused as error:
            if error.status not in (403, 404):
                raise
            note = await self._instead(head_sha, check.name, check.conclusion, check.title)
            self._open_checks.discard((self.run_id, head_sha, check.name))
            return note
        self._in_progress.pop((head_sha, check.name), None)
        self._open_checks.discard((self.run_id, head_sha, check.name))
        await self.effects.done("check_run", key, str(remote))
        return ""

    async def progress_check_run(self, head_sha: str, check: RunningCheck) -> str:
        """Show on a commit that this run works on it, in its check run of that name; return a note as above.

        A commit status says it once. Raises `NoRoom` when there is no room for mere progress.
        """
        title = self.safe(check.title, plain=True)[:255] or check.name
        known = self._in_progress.get((head_sha, check.name))
        if known is not None and known[1] == title:
            return ""
        # Before it is written: what is under way when the job is cancelled may arrive.
        self._open_checks.add((self.run_id, head_sha, check.name))
        try:
            remote = known[0] if known else await self._found_in_progress(head_sha, check)
            await self._progressed(remote, title, check)
        except Refused as error:
            if error.status not in (403, 404):
                raise
            return await self._instead(head_sha, check.name, "", check.title, "progress")
        self._in_progress[head_sha, check.name] = (remote, title)
        return ""

    async def repeat_check_run(self, head_sha: str, name: str, *, shared: bool) -> None:
        """Conclude a check run on a commit as it stands, since somebody asked for it again who may not have it so.

        One that is not completed is left to whoever works on it.
        """
        found = await self.find_check_run(head_sha, name, shared=shared)
        if found is None or found.status != "completed":
            return
        number, conclusion = found.id, found.conclusion

        def write(repository: Repository) -> None:
            repository.get_check_run(number).edit(status="completed", conclusion=conclusion)

        await self._client.write(f"complete {name} as it stands", write, idempotent=True)

    async def end_check_run(self, head_sha: str, check: CheckRun) -> None:
        """Conclude this run's check run of a name on a commit if one is still open there."""
        try:
            found = await self.find_check_run(head_sha, check.name, shared=False)
        except Refused as error:
            if error.status not in (403, 404):
                raise
            found = None
        if found is None:
            await self._end_status(head_sha, check)
        elif found.status != "completed":
            await self._conclude(found, check, ())
        self._open_checks.discard((self.run_id, head_sha, check.name))

    # comments

    async def _own(self, issue: int) -> list[tuple[int, str]]:
        def read(repository: Repository) -> list[tuple[int, str]]:
            listed: Sequence[IssueComment] = list(repository.get_issue(issue).get_comments())
            ours = [it for it in listed if it.user and it.user.login.lower() == self._login.lower()]
            return sorted((it.id, it.body or "") for it in ours)

        return await self._client.read("list comments", read)

    async def _found(self, issue: int, mark: str) -> int | None:
        ids = [number for number, body in await self._own(issue) if body.rstrip().endswith(mark)]
        for younger in ids[1:]:
            await self._delete(issue, younger)
        return ids[0] if ids else None

    async def _create(self, issue: int, mark: str, text: str, urgency: Urgency) -> int:
        try:
            made = await self._client.write(
                "comment", lambda repository: repository.get_issue(issue).create_comment(text), urgency=urgency
            )
        except AmbiguousWrite:
            found = await self._found(issue, mark)
            if found is None:
                raise
            return found
        return made.id

    async def _edit(self, issue: int, comment_id: int, text: str, urgency: Urgency) -> bool:
        """Bring a comment up to date; return False when it is gone."""

        def write(repository: Repository) -> None:
            comment = repository.get_issue(issue).get_comment(comment_id)
            if (comment.body or "").replace("\r\n", "\n") != text:
                comment.edit(text)

        try:
            await self._client.write("edit a comment", write, idempotent=True, urgency=urgency)
        except NotFound:
            return False
        return True

    async def _delete(self, issue: int, comment_id: int) -> None:
        try:
            await self._client.write(
                "delete a doubled comment",
                lambda repository: repository.get_issue(issue).get_comment(comment_id).delete(),
                idempotent=True,
            )
        except NotFound:
            return  # deleted by the try whose answer was lost

    # check runs

    async def _written(self, head_sha: str, check: CheckRun, *, again: bool) -> int:
        found = await self.find_check_run(head_sha, check.name, shared=check.shared)
        if found is None:
            again = False
            try:
                found = await self._client.write(
                    f"create {check.name}", lambda repository: self._create_run(repository, head_sha, check)
                )
            except AmbiguousWrite:
                found = await self.find_check_run(head_sha, check.name, shared=check.shared)
                if found is None:
                    raise
        await self._complete(found, check, again=again)
        return found.id

    async def find_check_run(self, head_sha: str, name: str, *, shared: bool) -> RemoteCheckRun | None:
        """Return this run's oldest check run of a name on a commit; a `shared` one may be another run's of ours."""

        def read(repository: Repository) -> RemoteCheckRun | None:
            listed = repository.get_commit(head_sha).get_check_runs(check_name=name, filter="all")
            ours = [run for run in listed if run.name == name and (shared or run.external_id == self.run_id)]
            if shared:
                ours = [run for run in ours if f"{run.app.slug}[bot]".lower() == self._login.lower()]
            return min(ours, key=lambda run: run.id, default=None)

        return await self._client.read("list check runs", read)

    def _create_run(self, repository: Repository, head_sha: str, check: CheckRun) -> RemoteCheckRun:
        return repository.create_check_run(
            check.name,
            head_sha,
            external_id=self.run_id,
            status="completed",
            conclusion=check.conclusion,
            output=self._output(check, check.annotations[:ANNOTATIONS_A_REQUEST]),
            actions=self._actions(check),
        )

    async def _complete(self, run: RemoteCheckRun, check: CheckRun, *, again: bool) -> None:
        """Add the annotations that are missing, 50 a request, and correct what another try or round left."""
        missing = await self._missing(run, check)
        output = self._output(check, ())
        wanted = ("completed", check.conclusion, output["title"], output["summary"])
        same = (run.status, run.conclusion, run.output.title, run.output.summary) == wanted
        if same and not missing and not again:
            return
        for start in range(0, max(len(missing), 1), ANNOTATIONS_A_REQUEST):
            await self._conclude(run, check, missing[start : start + ANNOTATIONS_A_REQUEST])

    async def _conclude(self, run: RemoteCheckRun, check: CheckRun, annotations: Sequence[Annotation]) -> None:
        number, output = run.id, self._output(check, annotations)

        def write(repository: Repository) -> None:
            repository.get_check_run(number).edit(
                status="completed", conclusion=check.conclusion, output=output, actions=self._actions(check)
            )

        # Tried again, a batch would stand there twice: after a lost answer the next try looks what is there.
        await self._client.write(f"complete {check.name}", write, idempotent=not annotations)

    async def _missing(self, run: RemoteCheckRun, check: CheckRun) -> list[Annotation]:
        """Return the annotations that are not there; GitHub keeps what an earlier round left."""
        wanted = list(dict.fromkeys(check.annotations))
        if not wanted or not run.output.annotations_count:
            return wanted
        number = run.id

        def read(repository: Repository) -> set[tuple[str, int, str]]:
            listed = repository.get_check_run(number).get_annotations()
            return {(it.path, it.start_line, it.message) for it in listed}

        there = await self._client.read("list annotations", read)
        shown = self._output(check, wanted)["annotations"]
        return [
            note
            for note, it in zip(wanted, shown, strict=True)
            if (it["path"], it["start_line"], it["message"]) not in there
        ]

    async def _found_in_progress(self, head_sha: str, check: RunningCheck) -> int:
        """Return the id of this run's check run of a name, made in progress if there is none."""
        found = await self.find_check_run(head_sha, check.name, shared=False)
        if found is not None:
            return found.id
        output: dict[str, Any] = {
            "title": self.safe(check.title, plain=True)[:255] or check.name,
            "summary": fit_bytes(self.safe(check.summary), MAX_TEXT),
        }

        def write(repository: Repository) -> int:
            return repository.create_check_run(
                check.name, head_sha, external_id=self.run_id, status="in_progress", output=output
            ).id

        try:
            return await self._client.write(f"create {check.name}", write, urgency="progress")
        except AmbiguousWrite:
            found = await self.find_check_run(head_sha, check.name, shared=False)
            if found is None:
                raise
            return found.id

    async def _progressed(self, number: int, title: str, check: RunningCheck) -> None:
        output = {"title": title, "summary": fit_bytes(self.safe(check.summary), MAX_TEXT)}

        def write(repository: Repository) -> None:
            repository.get_check_run(number).edit(status="in_progress", output=output)

        await self._client.write(f"update {check.name}", write, idempotent=True, urgency="progress")

    def _output(self, check: CheckRun, annotations: Sequence[Annotation]) -> dict[str, Any]:
        return {
            "title": self.safe(check.title, plain=True)[:255] or check.name,
            "summary": fit_bytes(self.safe(check.summary), MAX_TEXT),
            "annotations": [
                {
                    "path": self._redactor(it.path),
                    "start_line": it.line,
                    "end_line": it.line,
                    "annotation_level": it.level,
                    "message": fit(self.safe(it.message), 16_000) or "finding",
                    "title": self.safe(it.title, plain=True)[:255],
                }
                for it in annotations
            ],
        }

    def _actions(self, check: CheckRun) -> list[dict[str, str]]:
        """Return the buttons as GitHub takes them; an empty list takes those of an earlier round away."""
        buttons = check.buttons if self._buttons else ()
        return [{"label": it.label, "description": it.description, "identifier": it.identifier} for it in buttons]

    # where checks may not be written

    async def _instead(self, head_sha: str, name: str, conclusion: str, title: str, urgency: Urgency = "final") -> str:
        """Make a commit status of a check run's name, pending without a conclusion; return what is missing."""
        try:
            await self._write_status(head_sha, name, conclusion, title, urgency)
        except Refused as error:
            if error.status not in (403, 404):
                raise
            return missing_permission(self._login, self._client.server_url, ("checks", "statuses"))
        return missing_permission(self._login, self._client.server_url, ("checks",))

    async def _write_status(self, head_sha: str, name: str, conclusion: str, title: str, urgency: Urgency) -> None:
        state = _STATUS_STATES.get(conclusion, "error")
        description = self.safe(f"{conclusion}: {title}" if conclusion else title, plain=True)
        description = description if len(description) <= _STATUS_LETTERS else f"{description[: _STATUS_LETTERS - 1]}…"

        def write(repository: Repository) -> None:
            commit = repository.get_commit(head_sha)
            latest = next((it for it in commit.get_statuses() if it.context == name), None)
            # Each status stays in a commit's list, which has a thousand at most: one says that the work goes on.
            known = latest and (latest.state if not conclusion else (latest.state, latest.description))
            if known != (state if not conclusion else (state, description)):
                commit.create_status(state, description=description, context=name)

        await self._client.write(f"set the status {name}", write, idempotent=True, urgency=urgency)

    async def _end_status(self, head_sha: str, check: CheckRun) -> None:
        def pending(repository: Repository) -> bool:
            listed = repository.get_commit(head_sha).get_statuses()
            latest = next((it for it in listed if it.context == check.name), None)
            return latest is not None and latest.state == "pending"

        try:
            if await self._client.read("list statuses", pending):
                await self._write_status(head_sha, check.name, check.conclusion, check.title, "final")
        except Refused as error:
            if error.status not in (403, 404):
                raise
            return  # a token that may not even read them has made none
