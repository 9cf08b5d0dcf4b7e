"""What a local GitHub holds now, in the shapes of its REST API, for tests and demos to look at."""

from __future__ import annotations

from bot.localhub import render, render_code
from bot.localhub.git import Git
from bot.localhub.state import JSON, Repository, State


class View:
    """Reading `state`, shown under the address `url`; LocalHub is one that can also be acted upon."""

    state: State
    url: str

    def repository(self, full_name: str) -> Repository:
        """Return the record of a repository; LookupError when there is none."""
        repo = self.state.repository(full_name)
        if repo is None:
            raise LookupError(f"No repository is named {full_name!r}; make it with create_repository first")
        return repo

    def issues(self, full_name: str) -> list[JSON]:
        """Return every issue that is no pull request."""
        repo = self.repository(full_name)
        return [render.issue(self.url, repo, issue) for issue in repo.issues.values() if issue.pull is None]

    def pull_requests(self, full_name: str) -> list[JSON]:
        """Return every pull request, open or not."""
        repo = self.repository(full_name)
        return [render_code.pull(self.url, repo, it, it.pull) for it in repo.issues.values() if it.pull]

    def comments(self, full_name: str, number: int | None = None) -> list[JSON]:
        """Return the comments of one issue or pull request, or of all, the oldest first."""
        repo = self.repository(full_name)
        issues = [issue for issue in repo.issues.values() if number in (None, issue.number)]
        pairs = sorted(((it, c) for it in issues for c in it.comments), key=lambda pair: pair[1].id)
        return [render.comment(self.url, repo, issue, comment) for issue, comment in pairs]

    def reactions(self, full_name: str, comment_id: int) -> list[tuple[str, str]]:
        """Return (login, content) for each reaction to a comment."""
        repo = self.repository(full_name)
        return [
            (reaction.user.login, reaction.content)
            for issue in repo.issues.values()
            for comment in issue.comments
            if comment.id == comment_id
            for reaction in comment.reactions
        ]

    def check_runs(self, full_name: str, sha: str | None = None) -> list[JSON]:
        """Return every check run, of one commit if given, with its `annotations`, and its buttons as `actions`."""
        repo = self.repository(full_name)
        return [
            render_code.check_run(self.url, repo, run)
            | {"annotations": list(run.annotations), "actions": list(run.actions)}
            for run in repo.check_runs.values()
            if sha in (None, run.head_sha)
        ]

    def statuses(self, full_name: str) -> list[JSON]:
        """Return every commit status, the oldest first."""
        repo = self.repository(full_name)
        return [render_code.status(self.url, repo, status) for status in repo.statuses]

    async def branches(self, full_name: str) -> dict[str, str]:
        """Return every branch with the SHA of its head."""
        refs = await Git(self.repository(full_name).path).refs("refs/heads/")
        return {name.removeprefix("refs/heads/"): sha for name, sha in refs.items()}

    async def files(self, full_name: str, ref: str | None = None) -> dict[str, bytes]:
        """Return every file of a branch, tag or commit (default: the default branch) with its content."""
        repo = self.repository(full_name)
        git = Git(repo.path)
        sha = await git.resolve(ref or repo.default_branch)
        if sha is None:
            raise LookupError(f"{full_name} has no branch, tag or commit {ref or repo.default_branch!r}")
        return {it.path: await git.blob(it.sha) for it in await git.tree(sha, recursive=True) if it.type == "blob"}
