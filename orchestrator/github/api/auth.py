"""Who we are on GitHub: an App that mints a token per repository, or one token that was given."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
from github import Auth, Github, GithubException, GithubIntegration
from jwt import PyJWTError

from orchestrator.bucket import Bucket, content_bucket
from orchestrator.errors import GitHubError, UsageError
from orchestrator.github.api.client import (
    ATTEMPTS,
    MINUTE_SECONDS,
    Allowed,
    RepositoryClient,
    Session,
    Sleep,
    Unreachable,
    backoff,
    is_limited,
)
from orchestrator.github.api.etags import connected
from orchestrator.github.api.limits import Clock, Limits, MemoryRoom, Room
from orchestrator.github.api.publisher import Effects, OpenCheck, Publisher
from orchestrator.github.api.registration import APP_PERMISSIONS
from orchestrator.github.api.signature import DatedAuth
from orchestrator.github.rendering.permissions import WORKFLOW_LOGIN
from orchestrator.github.rendering.sanitize import Redactor
from orchestrator.github.staging.stage import Stage
from orchestrator.github.staging.staged import StagedGithub

TOKEN_SECONDS = 50 * 60.0
"""A token lives one hour; a new one is minted well before (SECURITY 35)."""

SECONDS_BETWEEN_WRITES = 1.0
"""https://docs.github.com/en/rest/using-the-rest-api/best-practices-for-using-the-rest-api#pause-between-mutative-requests"""

Answer = TypeVar("Answer")
_REQUEST_SECONDS = 15
_USER_AGENT = "multi-llm-orchestrator"


@dataclass(slots=True)
class GitHubConnection:
    """The way to GitHub; exactly one of `app` and `given_token` is set.

    `room` counts what each installation writes, and nothing is counted without one; `allowed` comes before every write.
    """

    api_url: str = "https://api.github.com"
    server_url: str = "https://github.com"
    app: Auth.AppAuth | None = None
    given_token: str = field(default="", repr=False)
    seconds_between_writes: float = SECONDS_BETWEEN_WRITES
    limited_seconds: float = MINUTE_SECONDS
    sleep: Sleep = asyncio.sleep
    clock: Clock = time.monotonic
    room: Room | None = None
    allowed: Allowed | None = None
    _limits: dict[str, Limits] = field(default_factory=dict)
    _slug: str | None = None
    _owner: str | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> GitHubConnection:
        """Return the connection that the environment describes (CONTRACT section 1); raises `UsageError` for none.

        `GITHUB_APP_ID` with `GITHUB_APP_PRIVATE_KEY` (PEM text or a path) wins over `GITHUB_TOKEN`. Writes are neither
        paced nor counted towards a GitHub on this machine, which has no limits to keep.
        """
        api_url = _address(environment, "GITHUB_API_URL", "https://api.github.com")
        server_url = _address(environment, "GITHUB_SERVER_URL", "https://github.com")
        local = _is_loopback(api_url)
        room = None if local else MemoryRoom(content_bucket())
        paced: dict[str, Any] = {
            "seconds_between_writes": 0.0 if local else SECONDS_BETWEEN_WRITES,
            "limited_seconds": 1.0 if local else MINUTE_SECONDS,
            "room": room,
        }
        app_id, key = environment.get("GITHUB_APP_ID", ""), environment.get("GITHUB_APP_PRIVATE_KEY", "")
        token = environment.get("GITHUB_TOKEN", "")
        if app_id and key:
            return cls(api_url, server_url, app=_app(app_id, key), **paced)
        if app_id or key:
            missing = "GITHUB_APP_PRIVATE_KEY" if app_id else "GITHUB_APP_ID"
            raise UsageError(f"{missing} is not set.", hint="An App needs its id and its private key.")
        if token:
            return cls(api_url, server_url, given_token=token, **paced)
        raise UsageError(
            "There are no credentials for GitHub.",
            hint="Set GITHUB_APP_ID and GITHUB_APP_PRIVATE_KEY, or GITHUB_TOKEN.",
        )

    def count_content(self, an_hour: int | None, stored: Callable[[Bucket], Room]) -> None:
        """Count what installations write in a room that others share, within `an_hour` writes.

        None means GitHub's own limit, and no limit at all towards a GitHub on this machine.
        """
        if an_hour is not None or self.room is not None:
            self.room = stored(content_bucket() if an_hour is None else content_bucket(an_hour))

    def repository(self, name: str, installation_id: int = 0) -> RepositoryClient:
        """Return calls on one repository, with a token for it alone; asks GitHub nothing yet.

        `installation_id` 0 is looked up when an App acts.
        """
        # An App is installed once on an account, so that the account's name stands for the installation.
        owner = name.partition("/")[0].lower()
        shared = self._limits.setdefault(owner, Limits(owner, self.room, self.clock))
        given = self.app is None
        return RepositoryClient(
            name,
            self.server_url,
            self._given if given else lambda: self._minted(name, installation_id),
            token_seconds=float("inf") if given else TOKEN_SECONDS,
            sleep=self.sleep,
            limits=shared,
            limited_seconds=self.limited_seconds,
            allowed=self.allowed,
        )

    def fenced(self, allowed: Allowed) -> GitHubConnection:
        """Return the same way to GitHub, its limits shared, on which nothing is written once `allowed` raises."""
        return replace(self, allowed=allowed)

    def staged_session(self, name: str, installation_id: int, stage: Stage) -> Callable[[], Session]:
        """Return what opens sessions that read a repository and write to a stage; an App's token may only read."""

        def opened() -> Session:
            read_only = dict.fromkeys(APP_PERMISSIONS, "read")
            token = self.given_token if self.app is None else self._token(name, installation_id, read_only)[0]
            github = StagedGithub(stage, auth=Auth.Token(token), per_page=100, lazy=True, **self._settings())
            return Session(github, token, time.monotonic())

        return opened

    async def app_slug(self) -> str | None:
        """Return the App's own name, as in `@name`; None for a token.

        Raises `GitHubError` when GitHub does not say, also when asked again.
        """
        if self.app is None:
            return None
        attempt = 0
        while self._slug is None:
            attempt += 1
            try:
                self._slug, self._owner = await asyncio.to_thread(self._read_app)
            except Unreachable:
                if attempt == ATTEMPTS:
                    raise
                await self.sleep(backoff(attempt))
        return self._slug

    async def app_owner(self) -> str | None:
        """Return the account that registered the App; None for a token. Raises `GitHubError` like `app_slug`."""
        await self.app_slug()
        return self._owner

    async def login(self, client: RepositoryClient) -> str:
        """Return the login under which our comments appear."""
        if self.app is not None:
            return f"{await self.app_slug()}[bot]"
        if self._slug is None:
            self._slug = await client.read_api("say whose token this is", _login_of_token)
        return self._slug

    async def publisher(
        self,
        client: RepositoryClient,
        *,
        run_id: str,
        effects: Effects,
        secrets: Iterable[str] = (),
        requester: str = "",
        buttons: bool = False,
        open_checks: set[OpenCheck] | None = None,
    ) -> Publisher:
        """Return who writes for a run in our name; neither `secrets` nor the token we were given get into a text."""
        return Publisher(
            client,
            run_id=run_id,
            redactor=Redactor([*secrets, self.given_token]),
            effects=effects,
            login=await self.login(client),
            requester=requester,
            buttons=buttons,
            open_checks=open_checks,
        )

    def integration(self) -> GithubIntegration:
        """Return a client that acts as the App itself, to be closed by the caller; raises `ValueError` for a token."""
        if self.app is None:
            raise ValueError("a token acts, and no App")
        return connected(GithubIntegration(auth=self.app, **self._settings()), self.api_url)

    def as_app(self, call: Callable[[GithubIntegration], Answer]) -> Answer:
        """Return what a call says as the App: once more by GitHub's clock, when it refuses what is signed by ours."""
        integration = self.integration()
        try:
            try:
                return call(integration)
            except GithubException as error:
                wrong = isinstance(self.app, DatedAuth) and self.app.corrected(error.headers or {})
                if error.status != 401 or not wrong:
                    raise
                return call(integration)
        finally:
            integration.close()

    def _given(self) -> Session:
        return Session(self._client(Auth.Token(self.given_token)), self.given_token, time.monotonic())

    def _minted(self, name: str, installation_id: int) -> Session:
        token, granted = self._token(name, installation_id, APP_PERMISSIONS)
        return Session(self._client(Auth.Token(token)), token, time.monotonic(), granted)

    def _token(self, name: str, installation_id: int, permissions: Mapping[str, str]) -> tuple[str, Mapping[str, str]]:
        owner, _, repository = name.partition("/")

        def minted(integration: GithubIntegration) -> tuple[str, Mapping[str, str]]:
            number = installation_id or integration.get_repo_installation(owner, repository).id
            return _mint(integration, number, repository, permissions)

        return self.as_app(minted)

    def _read_app(self) -> tuple[str, str]:
        try:
            found = self.as_app(lambda integration: integration.get_app())
            # An enterprise, which has no login, installs its Apps by name: see `installations`.
            return str(found.slug), str(found.raw_data["owner"].get("login", ""))
        except PyJWTError as error:
            raise GitHubError(
                "The App's private key signs nothing.",
                hint="Set GITHUB_APP_PRIVATE_KEY to the whole .pem file that GitHub made.",
            ) from error
        except (GithubException, requests.RequestException) as error:
            refused = isinstance(error, GithubException) and error.status < 500 and not is_limited(error)
            raise (GitHubError if refused else Unreachable)(
                f"GitHub did not say which App this is ({type(error).__name__}).",
                hint="Check GITHUB_APP_ID, GITHUB_APP_PRIVATE_KEY and GITHUB_API_URL.",
            ) from error

    def _client(self, auth: Auth.Auth) -> Github:
        return connected(Github(auth=auth, per_page=100, lazy=True, **self._settings()), self.api_url)

    def _settings(self) -> dict[str, Any]:
        return {
            "base_url": self.api_url,
            "timeout": _REQUEST_SECONDS,
            "user_agent": _USER_AGENT,
            "retry": None,
            "seconds_between_requests": 0,
            "seconds_between_writes": self.seconds_between_writes,
        }


def _mint(
    integration: GithubIntegration, installation_id: int, repository: str, permissions: Mapping[str, str]
) -> tuple[str, Mapping[str, str]]:
    """Return a token for one repository and what it may do: an installation that grants less gives what it has."""
    path = f"/app/installations/{installation_id}"
    body: dict[str, Any] = {"repositories": [repository], "permissions": dict(permissions)}
    try:
        _, answer = integration.requester.requestJsonAndCheck("POST", f"{path}/access_tokens", input=body)
    except GithubException as error:
        if error.status != 422:
            raise
        _, installation = integration.requester.requestJsonAndCheck("GET", path)
        granted = installation["permissions"]
        body["permissions"] = {
            name: level if granted[name] == "write" else "read"
            for name, level in permissions.items()
            if name in granted
        }
        _, answer = integration.requester.requestJsonAndCheck("POST", f"{path}/access_tokens", input=body)
    return str(answer["token"]), dict(answer.get("permissions") or body["permissions"])


def _login_of_token(client: Github) -> str:
    try:
        return client.get_user().login
    except GithubException as error:
        if error.status != 403:
            raise
    # The token of an installation may not ask REST for its own name, but may ask GraphQL.
    try:
        _, answer = client.requester.graphql_query("{viewer{login}}", {})
        return str(answer["data"]["viewer"]["login"])
    except GithubException as error:
        if error.status in (400, 401, 403, 404):
            return WORKFLOW_LOGIN
        raise


def _app(app_id: str, key: str) -> Auth.AppAuth:
    if "-----BEGIN" not in key:
        path = Path(key).expanduser()
        try:
            key = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                "GITHUB_APP_PRIVATE_KEY is neither PEM text nor a readable file.",
                hint="Give the text of the .pem file that GitHub made, or its path.",
            ) from error
    # A .env file and many secret stores keep line ends as two letters.
    return DatedAuth(int(app_id) if app_id.isdecimal() else app_id, key.replace("\\n", "\n"))


def _address(environment: Mapping[str, str], name: str, default: str) -> str:
    address = (environment.get(name) or default).rstrip("/")
    parts = urlsplit(address)
    if parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(address)):
        return address
    raise UsageError(f"{name} must be an https address, not {address!r}.")


def _is_loopback(address: str) -> bool:
    host = urlsplit(address).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
