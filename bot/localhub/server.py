"""The local GitHub as one object: it starts and stops the server, and sets a scene for demos and tests."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bot.localhub import auth, registration, render, render_git, routing
from bot.localhub.faults import Faults, Gate, RecordedRequest, protocol
from bot.localhub.git import Git, Signature
from bot.localhub.journal import Journal
from bot.localhub.listening import Server
from bot.localhub.state import (
    ALL_EVENTS,
    JSON,
    ROLES,
    CheckRun,
    Delivery,
    Issue,
    JobLog,
    Repository,
    State,
    Token,
    User,
    now,
)
from bot.localhub.view import View
from bot.localhub.webhooks import Webhooks
from bot.localhub.world import ZERO, World

JOURNAL = "LOCALHUB_JOURNAL"
"""The variable that names a folder into which every hub of a process writes its journal."""

ACTIONS_APP_ID = 15368
"""The App behind a workflow's own token: https://api.github.com/apps/github-actions"""


class LocalHub(View):
    """A GitHub on 127.0.0.1: `async with LocalHub(root=Path("hub")) as hub: ...`.

    Repositories lie as bare repositories below `root` and are found again there; everything else is in memory.
    `port` 0 takes a free one. `page_user` is the account that the forms of the pages act as. `journal` is a folder
    for the lines of `Journal`, by default the one that LOCALHUB_JOURNAL names. Methods are to be called in the event
    loop that entered it. Setting a scene sends webhooks as if people had done it on the page.
    """

    def __init__(self, root: Path, port: int = 0, *, page_user: str = "octocat", journal: Path | None = None) -> None:
        self._root = root
        self._port = port
        self._page_user = page_user
        named = os.environ.get(JOURNAL)
        self._journal = Journal(journal or (Path(named) if named else None))
        self._stop = asyncio.Event()
        self._main: asyncio.Task[None] | None = None
        self.state = State()
        self.faults = Faults()
        self.requests: list[RecordedRequest] = []
        self.url = ""

    @property
    def api_url(self) -> str:
        """Return what belongs into GITHUB_API_URL."""
        return self.url + render.API

    async def __aenter__(self) -> Self:
        """Listen, and find again what lies below `root`."""
        listener = socket.create_server(("127.0.0.1", self._port))
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        listening = asyncio.Event()
        self._main = asyncio.create_task(self._run(listener, listening))
        waiting = asyncio.create_task(listening.wait())
        await asyncio.wait({self._main, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if self._main.done():
            waiting.cancel()
            await self._main
        self._adopt()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop, cutting off deliveries that are under way."""
        self._stop.set()
        if self._main:
            await self._main

    async def _run(self, listener: socket.socket, listening: asyncio.Event) -> None:
        background: set[asyncio.Task[None]] = set()
        # Requests that were under way when it stopped may still send deliveries: these close last.
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:

            def spawn(work: Coroutine[Any, Any, None]) -> None:
                task = group.create_task(work)
                background.add(task)
                task.add_done_callback(background.discard)

            webhooks = Webhooks(self.state, self.url, spawn, self._journal)
            stack.push_async_callback(webhooks.aclose)
            self.world = World(self.state, self.url, webhooks)
            self._actions_app()
            connections = protocol()
            app = routing.application(self.world, self._page_account, self._journal)
            gate = Gate(app, self.faults, self.requests, connections.transports)
            server = Server(gate, connections)
            group.create_task(server.serve(sockets=[listener]))
            await server.listening.wait()
            listening.set()
            await self._stop.wait()
            server.should_exit = True
            for task in background:
                task.cancel()

    def _adopt(self) -> None:
        for path in sorted(self._folder.glob("*/*.git")):
            self._register(f"{path.parent.name}/{path.stem}", path, private=False)

    @property
    def _folder(self) -> Path:
        return self._root.resolve() / "repositories"

    # accounts and repositories

    def create_user(self, login: str, kind: str = "User") -> User:
        """Return the account `login`, made when it is new; `kind` is User, Organization or Bot."""
        return registration.account(self.state, login, kind)

    def _page_account(self) -> User:
        return self.create_user(self._page_user)

    def token_for(self, login: str) -> str:
        """Return a new personal token of an account."""
        token = Token("ghp_" + secrets.token_hex(18), self._user(login))
        self.state.tokens[token.value] = token
        return token.value

    def _user(self, login: str) -> User:
        user = self.state.user(login)
        if user is None:
            raise LookupError(f"No account is named {login!r}; make it with create_user first")
        return user

    def _register(self, full_name: str, path: Path, *, private: bool) -> Repository:
        owner, _, name = full_name.partition("/")
        account = self.state.user(owner) or self.create_user(owner, "Organization")
        repo = Repository(self.state.next_id(), account, name, path, private=private)
        self.state.repositories[full_name.lower()] = repo
        self.world.default_labels(repo)
        return repo

    async def create_repository(
        self,
        full_name: str,
        files: Mapping[str, str | bytes] | None = None,
        *,
        private: bool = False,
        description: str | None = None,
        default_branch: str = "main",
    ) -> Repository:
        """Make `owner/name` with one commit of `files`; an owner that does not exist becomes an organisation."""
        if self.state.repository(full_name):
            raise ValueError(f"The repository {full_name!r} exists already")
        repo = self._register(full_name, self._folder / f"{full_name}.git", private=private)
        repo.default_branch, repo.description = default_branch, description
        await Git(repo.path).create(default_branch)
        if files:
            await self.commit(full_name, files, message="Initial commit")
        return repo

    async def commit(
        self,
        full_name: str,
        files: Mapping[str, str | bytes | None],
        *,
        branch: str | None = None,
        message: str = "Change files",
        user: str | None = None,
    ) -> str:
        """Commit `files` (None deletes) onto a branch, as a push by `user` (default: the owner); return its SHA."""
        repo = self.repository(full_name)
        git, name = Git(repo.path), f"refs/heads/{branch or repo.default_branch}"
        async with repo.lock:
            old = await git.ref(name)
            parent = old or await git.ref(f"refs/heads/{repo.default_branch}")
            entries: list[tuple[str, str, str | None]] = []
            for path, content in files.items():
                data = content.encode() if isinstance(content, str) else content
                entries.append(("100644", path, None if data is None else await git.write_blob(data)))
            tree = await git.write_tree(parent, entries)
            account = self._user(user) if user else repo.owner
            who = Signature(*render_git.author_of(account), now())
            sha = await git.write_commit(message, tree, [parent] if parent else [], who, who)
            await git.update_ref(name, sha, old or ZERO)
            await self.world.refs_moved(repo, self.world.actor(account), {name: (old, sha)})
        return sha

    async def fork(self, full_name: str, login: str) -> Repository:
        """Fork a repository to the account `login`, under the same name."""
        source = self.repository(full_name)
        account = self._user(login)
        copy = self._register(
            f"{account.login}/{source.name}",
            self._folder / account.login / f"{source.name}.git",
            private=source.private,
        )
        copy.fork_of, copy.default_branch = source, source.default_branch
        await Git(copy.path).create(source.default_branch)
        await Git(copy.path)("fetch", "--quiet", "--end-of-options", str(source.path), "+refs/heads/*:refs/heads/*")
        return copy

    def set_permission(self, full_name: str, login: str, role: str) -> None:
        """Give an account a role: none, read, triage, write, maintain or admin."""
        if role not in ROLES:
            raise ValueError(f"{role!r} is no role; use one of {', '.join(ROLES)}")
        self.repository(full_name).permissions[self._user(login).login.lower()] = role

    # Apps

    def create_app(
        self,
        name: str,
        webhook_url: str | None,
        webhook_secret: str,
        *,
        owner: str = "octo",
        permissions: Mapping[str, str] | None = None,
        events: Sequence[str] = ALL_EVENTS,
    ) -> tuple[int, str]:
        """Register an App and return its id and its private key in PEM."""
        private, public = registration.new_key()
        app = registration.add_app(self.state, self.state.next_id(), name, public, owner, permissions)
        app.webhook_url, app.webhook_secret, app.events = webhook_url, webhook_secret, tuple(events)
        return app.id, private

    def _actions_app(self) -> None:
        registration.add_app(self.state, ACTIONS_APP_ID, "GitHub Actions", "", "github")

    def set_webhook(self, app_id: int, url: str | None, secret: str | None = None) -> None:
        """Point the hook of an App elsewhere, such as at a receiver that was just started."""
        app = self.state.apps[app_id]
        app.webhook_url = url
        app.webhook_secret = app.webhook_secret if secret is None else secret

    def install_app(self, app_id: int, *full_names: str, permissions: Mapping[str, str] | None = None) -> int:
        """Install an App on repositories of one owner and return the installation's id."""
        app, repos = self.state.apps[app_id], [self.repository(name) for name in full_names]
        granted = dict(permissions) if permissions is not None else app.permissions
        ids = {repo.id for repo in repos}
        installation = registration.add_installation(self.world, app, repos[0].owner, granted, ids)
        return installation.id

    def suspend_installation(self, installation_id: int) -> None:
        """Suspend an installation: its tokens are refused."""
        installation = self.state.installations[installation_id]
        installation.suspended_at = now()
        registration.tell_installation(self.world, installation, "suspend")

    def uninstall_app(self, installation_id: int) -> None:
        """Take an installation away, with all its tokens."""
        installation = self.state.installations.pop(installation_id)
        gone = [value for value, token in self.state.tokens.items() if token.installation is installation]
        for value in gone:
            del self.state.tokens[value]
        registration.tell_installation(self.world, installation, "deleted")

    def workflow_token(self, full_name: str, permissions: Mapping[str, str] | None = None) -> str:
        """Return a token such as a workflow run in the repository gets, writing as `github-actions[bot]`."""
        repo, app = self.repository(full_name), self.state.apps[ACTIONS_APP_ID]
        installation = self.state.installation_for(app, repo)
        if installation is None:
            installation = self.state.installations[self.install_app(app.id, full_name)]
        return auth.mint(self.state, installation, dict(permissions) if permissions is not None else None).value

    def fail_job(self, full_name: str, sha: str, name: str, log: str) -> int:
        """Have a workflow's job fail on a commit, with what it printed; returns its check run."""
        repo, app = self.repository(full_name), self.state.apps[ACTIONS_APP_ID]
        suite = self.world.suite(repo, app, sha, None)
        run = CheckRun(self.state.next_id(), app, suite.id, name, sha, "completed", "failure", completed_at=now())
        run.details_url = f"{self.url}/{repo.full_name}/actions/runs/{suite.id}/job/{run.id}"
        repo.check_runs[run.id], repo.job_logs[run.id] = run, JobLog(log)
        return run.id

    # what people do

    def create_issue(
        self, full_name: str, title: str, body: str = "", *, user: str | None = None, labels: Sequence[str] = ()
    ) -> int:
        """Open an issue as `user` (default: the page's account) and return its number."""
        actor = self._actor(user)
        return self.world.open_issue(self.repository(full_name), actor, title, body, labels).number

    def comment(self, full_name: str, number: int, body: str, *, user: str | None = None) -> int:
        """Comment on an issue or pull request as `user` (default: the page's account) and return the comment's id."""
        repo = self.repository(full_name)
        return self.world.comment(repo, self._actor(user), self._issue(repo, number), body).id

    def label_issue(self, full_name: str, number: int, name: str, *, user: str | None = None) -> None:
        """Label an issue as `user` (default: the page's account)."""
        repo = self.repository(full_name)
        self.world.add_labels(repo, self._actor(user), self._issue(repo, number), [name])

    def close_issue(self, full_name: str, number: int, *, user: str | None = None) -> None:
        """Close an issue or pull request as `user` (default: the page's account)."""
        repo = self.repository(full_name)
        self.world.set_state(repo, self._actor(user), self._issue(repo, number), "closed")

    def rename_repository(self, full_name: str, name: str, *, user: str | None = None) -> str:
        """Give a repository another name, tell the Apps, and return its full name; the old one leads nowhere."""
        repo = self.repository(full_name)
        del self.state.repositories[full_name.lower()]
        before, repo.name = repo.name, name
        self.state.repositories[repo.full_name.lower()] = repo
        payload = {"action": "renamed", "changes": {"repository": {"name": {"from": before}}}}
        self.world.webhooks.emit("repository", repo, self._actor(user).user or self._page_account(), payload)
        return repo.full_name

    async def merge_pull_request(self, full_name: str, number: int, *, user: str | None = None) -> str:
        """Merge a pull request as `user` (default: the page's account) and return the merge commit's SHA."""
        repo = self.repository(full_name)
        async with repo.lock:
            sha = await self.world.merge(repo, self._actor(user), self._issue(repo, number))
        if sha is None:
            raise ValueError(f"{full_name}#{number} is no pull request, or it has conflicts")
        return sha

    def press_button(self, full_name: str, check_run_id: int, identifier: str, *, user: str | None = None) -> None:
        """Press one of the buttons that a check run shows."""
        repo, account = self.repository(full_name), self._actor(user).user or self._page_account()
        run = repo.check_runs[check_run_id]
        if not self.world.press(repo, account, run, identifier):
            raise ValueError(f"The check run {run.name!r} shows no button {identifier!r}")

    def rerequest_check_run(self, full_name: str, check_run_id: int, *, user: str | None = None) -> None:
        """Ask for a check run again, as the `Re-run` link does."""
        repo, account = self.repository(full_name), self._actor(user).user or self._page_account()
        self.world.rerequest(repo, account, repo.check_runs[check_run_id])

    async def rerequest_check_suite(self, full_name: str, sha: str, app_id: int, *, user: str | None = None) -> None:
        """Ask for all check runs of an App on a commit again, as the `Re-run all` link does."""
        repo, account = self.repository(full_name), self._actor(user).user or self._page_account()
        await self.world.rerequest_suite(repo, account, self.world.suite(repo, self.state.apps[app_id], sha, None))

    def _actor(self, login: str | None) -> auth.Actor:
        return self.world.actor(self._user(login) if login else self._page_account())

    def _issue(self, repo: Repository, number: int) -> Issue:
        if number not in repo.issues:
            raise LookupError(f"{repo.full_name} has no issue or pull request #{number}")
        return repo.issues[number]

    # webhooks

    def deliver(self, event: str, payload: JSON, *, app_id: int | None = None) -> list[Delivery]:
        """Send a payload of one's own, signed, to one App, or to every App that has a hook."""
        apps = [self.state.apps[app_id]] if app_id else list(self.state.apps.values())
        sent = [self.world.webhooks.deliver(app, event, payload, foreign=True) for app in apps]
        return [delivery for delivery in sent if delivery]

    def redeliver(self, delivery_id: int) -> Delivery:
        """Send an earlier delivery again, under the same GUID."""
        earlier = next(it for it in self.state.deliveries if it.id == delivery_id)
        return self.world.webhooks.redeliver(earlier)

    @property
    def deliveries(self) -> list[Delivery]:
        """Return every delivery, the oldest first."""
        return list(self.state.deliveries)

    async def settled(self) -> None:
        """Wait until no delivery is under way."""
        await self.world.webhooks.settled()
