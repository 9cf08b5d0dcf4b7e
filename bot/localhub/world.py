"""What happens on GitHub, once for REST, for the pages and for tests: people open, comment, label, push and close."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC

from bot.localhub import render, render_code
from bot.localhub.auth import Actor
from bot.localhub.git import Git, Signature, line_after
from bot.localhub.render import stamp
from bot.localhub.state import (
    DEFAULT_LABELS,
    JSON,
    App,
    CheckRun,
    CheckSuite,
    Comment,
    Issue,
    Label,
    Pull,
    Reaction,
    Repository,
    Review,
    ReviewComment,
    State,
    User,
    now,
)
from bot.localhub.webhooks import Webhooks

ZERO = "0" * 40
PUSH_COMMITS = 2048
"""The most that a push lists: https://docs.github.com/en/webhooks/webhook-events-and-payloads#push"""

_CLOSING = re.compile(r"(?i)\b(?:close[sd]?|fix(?:e[sd])?|resolve[sd]?):?\s+#([0-9]{1,9})\b")


def closing_numbers(text: str) -> list[int]:
    """Return the issues that a pull request's text says it closes.

    https://docs.github.com/en/issues/tracking-your-work-with-issues/using-issues/linking-a-pull-request-to-an-issue
    """
    return [int(number) for number in _CLOSING.findall(text)]


@dataclass
class World:
    """The tables, the address under which they are shown, and the webhooks that tell of changes."""

    state: State
    base: str
    webhooks: Webhooks

    def actor(self, account: User) -> Actor:
        """Return `account` acting by hand, without a token."""
        return Actor(user=account)

    # issues and comments

    def open_issue(
        self,
        repo: Repository,
        actor: Actor,
        title: str,
        body: str | None,
        labels: Sequence[str] = (),
        assignees: Sequence[User] = (),
    ) -> Issue:
        """Open an issue and tell the hooks, one `labeled` for each label after `opened`."""
        issue = self._numbered(repo, actor, title, body)
        issue.assignees = list(assignees)
        self._issue_event(repo, actor, issue, "opened")
        self.add_labels(repo, actor, issue, labels)
        return issue

    def _numbered(self, repo: Repository, actor: Actor, title: str, body: str | None) -> Issue:
        number = max(repo.issues, default=0) + 1
        user = _user(actor)
        issue = Issue(self.state.next_id(), number, user, title, body, app=actor.through_app)
        repo.issues[number] = issue
        return issue

    def _issue_event(self, repo: Repository, actor: Actor, issue: Issue, action: str, **extra: object) -> None:
        if issue.pull:
            self.pull_event(repo, actor, issue, action, **extra)
            return
        payload = {"action": action, "issue": render.issue_in_webhook(self.base, repo, issue), **extra}
        self.webhooks.emit("issues", repo, _user(actor), payload)

    def pull_event(self, repo: Repository, actor: Actor, issue: Issue, action: str, **extra: object) -> None:
        """Tell the hooks about a pull request."""
        payload = {"action": action, "number": issue.number, "pull_request": self._pull(repo, issue), **extra}
        self.webhooks.emit("pull_request", repo, _user(actor), payload)

    def _pull(self, repo: Repository, issue: Issue, *, reviewed: bool = False) -> JSON:
        """Return a pull request as events carry it; those of reviews carry less."""
        if issue.pull is None:
            raise ValueError(f"#{issue.number} is an issue, not a pull request")
        render_pull = render_code.pull if reviewed else render_code.pull_in_webhook
        return render_pull(self.base, repo, issue, issue.pull)

    def comment(self, repo: Repository, actor: Actor, issue: Issue, body: str) -> Comment:
        """Comment on an issue or pull request and tell the hooks."""
        comment = Comment(self.state.next_id(), _user(actor), body, app=actor.through_app)
        issue.comments.append(comment)
        issue.updated_at = comment.created_at
        self._comment_event(repo, actor, issue, comment, "created")
        return comment

    def edit_comment(self, repo: Repository, actor: Actor, issue: Issue, comment: Comment, body: str) -> None:
        """Change the text of a comment and tell the hooks what it was."""
        before, comment.body, comment.updated_at = comment.body, body, now()
        self._comment_event(repo, actor, issue, comment, "edited", changes={"body": {"from": before}})

    def delete_comment(self, repo: Repository, actor: Actor, issue: Issue, comment: Comment) -> None:
        """Remove a comment and tell the hooks."""
        issue.comments.remove(comment)
        self._comment_event(repo, actor, issue, comment, "deleted")

    def _comment_event(
        self, repo: Repository, actor: Actor, issue: Issue, comment: Comment, action: str, **extra: object
    ) -> None:
        payload = {
            "action": action,
            "issue": render.issue_in_webhook(self.base, repo, issue),
            "comment": render.comment(self.base, repo, issue, comment),
            **extra,
        }
        self.webhooks.emit("issue_comment", repo, _user(actor), payload)

    def label(self, repo: Repository, name: str, color: str = "ededed", description: str | None = None) -> Label:
        """Return the repository's label of that name, made when it is new."""
        key = name.lower()
        if key not in repo.labels:
            repo.labels[key] = Label(self.state.next_id(), name, color, description)
        return repo.labels[key]

    def default_labels(self, repo: Repository) -> None:
        """Give a new repository the labels it begins with."""
        for name, (color, description) in DEFAULT_LABELS.items():
            self.label(repo, name, color, description)

    def add_labels(self, repo: Repository, actor: Actor, issue: Issue, names: Sequence[str]) -> None:
        """Label an issue; only what is new is told."""
        for name in names:
            label = self.label(repo, name)
            if label not in issue.labels:
                issue.labels.append(label)
                issue.updated_at = now()
                self._issue_event(repo, actor, issue, "labeled", label=render.label(self.base, repo, label))

    def remove_label(self, repo: Repository, actor: Actor, issue: Issue, label: Label) -> None:
        """Take a label off an issue and tell the hooks."""
        issue.labels.remove(label)
        self._issue_event(repo, actor, issue, "unlabeled", label=render.label(self.base, repo, label))

    def react(self, actor: Actor, reactions: list[Reaction], content: str) -> tuple[Reaction, bool]:
        """Return this actor's reaction and whether it is new."""
        user = _user(actor)
        for reaction in reactions:
            if reaction.user is user and reaction.content == content:
                return reaction, False
        reactions.append(Reaction(self.state.next_id(), user, content))
        return reactions[-1], True

    def set_state(self, repo: Repository, actor: Actor, issue: Issue, state: str, reason: str | None = None) -> None:
        """Close or reopen an issue or pull request and tell the hooks."""
        if issue.state == state:
            return
        closing = state == "closed"
        issue.state, issue.updated_at = state, now()
        issue.closed_at = issue.updated_at if closing else None
        issue.closed_by = actor.user if closing else None
        if issue.pull is None:
            issue.state_reason = (reason or "completed") if closing else "reopened"
        self._issue_event(repo, actor, issue, state if closing else "reopened")

    # pull requests

    def open_pull(self, repo: Repository, actor: Actor, title: str, body: str | None, pull: Pull) -> Issue:
        """Open a pull request and tell the hooks."""
        issue = self._numbered(repo, actor, title, body)
        issue.pull = pull
        self.pull_event(repo, actor, issue, "opened")
        return issue

    def submit_review(
        self, repo: Repository, actor: Actor, issue: Issue, review: Review, comments: Sequence[ReviewComment]
    ) -> None:
        """Add a review with its line comments and tell the hooks."""
        pull = self._pull(repo, issue, reviewed=True)
        if issue.pull is not None:
            issue.pull.reviews.append(review)
        rendered = render_code.review(self.base, repo, issue.number, review) | {"state": review.state.lower()}
        payload = {"action": "submitted", "review": rendered, "pull_request": pull}
        self.webhooks.emit("pull_request_review", repo, _user(actor), payload)
        for comment in comments:
            self.add_review_comment(repo, actor, issue, comment)

    def add_review_comment(self, repo: Repository, actor: Actor, issue: Issue, comment: ReviewComment) -> None:
        """Add a comment on a line and tell the hooks."""
        if issue.pull is not None:
            issue.pull.comments.append(comment)
        rendered = render_code.review_comment(self.base, repo, issue.number, comment)
        payload = {"action": "created", "comment": rendered, "pull_request": self._pull(repo, issue, reviewed=True)}
        self.webhooks.emit("pull_request_review_comment", repo, _user(actor), payload)

    # code

    async def refs_moved(self, repo: Repository, actor: Actor, moves: dict[str, tuple[str | None, str | None]]) -> None:
        """Bring pull requests up to date after refs changed from old to new SHA, and tell the hooks of each push."""
        if moves:
            repo.pushed_at = now()
        for name, (old, new) in moves.items():
            if name.startswith(("refs/heads/", "refs/tags/")):
                await self._push_event(repo, actor, name, old, new)
            if name.startswith("refs/heads/"):
                await self._follow_branch(repo, actor, name.removeprefix("refs/heads/"), new)

    async def _push_event(self, repo: Repository, actor: Actor, name: str, old: str | None, new: str | None) -> None:
        user = _user(actor)
        git = Git(repo.path)
        commits: list[JSON] = []
        if new and name.startswith("refs/heads/"):
            listed = await git.log(f"{old}..{new}" if old else new, count=PUSH_COMMITS if old else 1)
            commits = [await self._push_commit(repo, git, it.sha) for it in reversed(listed)]
        payload = {
            "ref": name,
            "before": old or ZERO,
            "after": new or ZERO,
            "created": old is None,
            "deleted": new is None,
            "forced": bool(old and new and not await git.is_ancestor(old, new)),
            "base_ref": None,
            "compare": f"{self.base}/{repo.full_name}/compare/{(old or ZERO)[:12]}...{(new or ZERO)[:12]}",
            "commits": commits,
            "head_commit": commits[-1] if commits else None,
            "pusher": {"name": user.login, "email": user.email},
        }
        self.webhooks.emit("push", repo, user, payload)

    async def _push_commit(self, repo: Repository, git: Git, sha: str) -> JSON:
        it = await git.commit(sha)
        changes = await git.changes(it.parents[0] if it.parents else None, sha)
        return {
            "id": it.sha,
            "tree_id": it.tree,
            "distinct": True,
            "message": it.message,
            "timestamp": stamp(it.committer.date.astimezone(UTC)),
            "url": f"{self.base}/{repo.full_name}/commit/{it.sha}",
            "author": {"name": it.author.name, "email": it.author.email},
            "committer": {"name": it.committer.name, "email": it.committer.email},
            "added": [change.path for change in changes if change.status in ("added", "renamed")],
            "removed": [
                change.previous_path or change.path for change in changes if change.status in ("removed", "renamed")
            ],
            "modified": [change.path for change in changes if change.status == "modified"],
        }

    async def _follow_branch(self, repo: Repository, actor: Actor, branch: str, new: str | None) -> None:
        for target in self.state.repositories.values():
            for issue in list(target.issues.values()):
                pull = issue.pull
                if pull is None or issue.state != "open":
                    continue
                if target is repo and pull.base_ref == branch and new:
                    pull.base_sha = new
                if pull.head_repository is not repo or pull.head_ref != branch:
                    continue
                if new is None:
                    self.set_state(target, actor, issue, "closed")
                elif pull.head_sha != new:
                    before, pull.head_sha, issue.updated_at = pull.head_sha, new, now()
                    await self.keep_head(target, issue)
                    await self._carry_comments(target, pull, before, new)
                    self.pull_event(target, actor, issue, "synchronize", before=before, after=new)

    async def keep_head(self, repo: Repository, issue: Issue) -> None:
        """Hold the head of a pull request in `refs/pull/N/head` of its base, fetched from a fork if need be."""
        pull = issue.pull
        if pull is None:
            return
        git = Git(repo.path)
        if pull.head_repository is not repo:
            source = str(pull.head_repository.path)
            await git("fetch", "--quiet", "--no-tags", "--end-of-options", source, pull.head_sha)
        await git("update-ref", "--end-of-options", f"refs/pull/{issue.number}/head", pull.head_sha)
        changes = await git.changes(await git.merge_base(pull.base_sha, pull.head_sha), pull.head_sha)
        commits = len(await git.log(f"{pull.base_sha}..{pull.head_sha}"))
        added, deleted = sum(it.additions for it in changes), sum(it.deletions for it in changes)
        pull.size = (commits, added, deleted, len(changes))

    async def _carry_comments(self, repo: Repository, pull: Pull, before: str, after: str) -> None:
        """Move the comments on lines along with the head; one whose line changed stays where it was, outdated."""
        alive = [it for it in pull.comments if it.line is not None and it.side == "RIGHT"]
        if not alive:
            return
        changed = {it.previous_path or it.path: it for it in await Git(repo.path).changes(before, after)}
        for comment in alive:
            change = changed.get(comment.path)
            if comment.line is not None and change is not None:
                gone = change.status == "removed" or change.path != comment.path
                comment.line = None if gone else line_after(change.patch or "", comment.line)
            if comment.line is not None:
                comment.commit_sha = after

    async def merge(self, repo: Repository, actor: Actor, issue: Issue, title: str | None = None) -> str | None:
        """Merge a pull request with a merge commit and return its SHA, or None for a conflict."""
        pull, git, user = issue.pull, Git(repo.path), _user(actor)
        if pull is None:
            return None
        tree = await git.merge_tree(pull.base_sha, pull.head_sha)
        if tree is None:
            return None
        head = f"{pull.head_repository.owner.login}/{pull.head_ref}"
        message = f"{title or f'Merge pull request #{issue.number} from {head}'}\n\n{issue.title}"
        author = Signature(user.login, user.email, now())
        committer = Signature("GitHub", "noreply@github.com", author.date)
        sha = await git.write_commit(message, tree, [pull.base_sha, pull.head_sha], author, committer)
        base, name = pull.base_sha, f"refs/heads/{pull.base_ref}"
        await git.update_ref(name, sha, base)
        repo.signed_commits.add(sha)
        pull.merged_at, pull.merged_by, pull.merge_commit_sha = now(), user, sha
        self.set_state(repo, actor, issue, "closed")
        await self.refs_moved(repo, actor, {name: (base, sha)})
        # The pull request keeps the base it was merged into.
        pull.base_sha = base
        if pull.base_ref == repo.default_branch:
            for number in closing_numbers(issue.body or ""):
                if number in repo.issues and number != issue.number:
                    self.set_state(repo, actor, repo.issues[number], "closed", "completed")
        return sha

    # checks

    def suite(self, repo: Repository, app: App, sha: str, branch: str | None) -> CheckSuite:
        """Return the suite of `app` on a commit, made when there is none."""
        for suite in repo.check_suites.values():
            if suite.app is app and suite.head_sha == sha:
                return suite
        suite = CheckSuite(self.state.next_id(), app, sha, branch)
        repo.check_suites[suite.id] = suite
        return suite

    def rerequest(self, repo: Repository, sender: User, run: CheckRun) -> None:
        """Ask the App that made a check run to run it again; until it writes one, the suite waits.

        The check run itself stays as it is: https://docs.github.com/en/rest/checks/runs#rerequest-a-check-run
        """
        repo.check_suites[run.suite_id].waits = True
        self.check_run_event(repo, sender, run, "rerequested")

    async def rerequest_suite(self, repo: Repository, sender: User, suite: CheckSuite) -> None:
        """Ask an App to run all its checks on a commit again; until it writes one, the suite waits."""
        suite.waits = True
        head = await Git(repo.path).commit(suite.head_sha)
        shape = render_code.check_suite(self.base, repo, suite, head)
        del shape["repository"]
        self.webhooks.emit("check_suite", repo, sender, {"action": "rerequested", "check_suite": shape}, app=suite.app)

    def press(self, repo: Repository, sender: User, run: CheckRun, identifier: str) -> bool:
        """Press a button that a check run shows, which only a completed one does; False when there is none such."""
        shown = [action["identifier"] for action in run.actions] if run.status == "completed" else []
        if identifier not in shown:
            return False
        self.check_run_event(repo, sender, run, "requested_action", requested_action={"identifier": identifier})
        return True

    def check_run_event(self, repo: Repository, sender: User, run: CheckRun, action: str, **extra: object) -> None:
        """Tell the App that owns a check run about it."""
        rendered = render_code.check_run(self.base, repo, run)
        suite = repo.check_suites[run.suite_id]
        rendered["check_suite"] = {
            "id": suite.id,
            "head_branch": suite.head_branch,
            "head_sha": suite.head_sha,
            "app": rendered["app"],
            "pull_requests": rendered["pull_requests"],
        }
        payload = {"action": action, "check_run": rendered, **extra}
        # GitHub tells `created` and `completed` to every App, the rest to the one whose check run it is.
        owner = None if action in ("created", "completed") else run.app
        self.webhooks.emit("check_run", repo, sender, payload, app=owner)


def _user(actor: Actor) -> User:
    if actor.user is None:
        raise ValueError("Nobody is signed in; an account must act here")
    return actor.user
