"""One repository on GitHub, as this process may use it: PyGithub, threads, deadlines and retries meet here only.

`read` and idempotent writes are tried again with `Retry-After` honoured; any other write only when GitHub refused it
before acting (401, rate limits). A write whose answer was lost raises `AmbiguousWrite`: look before you write again.
When GitHub limits one call, all calls of that installation wait, and no others.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import requests
from github import Github, GithubException, RateLimitExceededException
from github.Repository import Repository

from orchestrator.codes import Code
from orchestrator.errors import GitHubError
from orchestrator.github.api.limits import Limits
from orchestrator.github.api.signature import said_now

DEADLINE_SECONDS = 120.0
"""For one call with all its pages; a single request has PyGithub's own 15 seconds."""
ATTEMPTS = 5
LOST = (requests.RequestException, TimeoutError, json.JSONDecodeError)
"""How an answer is lost: the connection broke, it took too long, or what came is no JSON."""
MAX_WAIT_SECONDS = 120.0
"""The longest single wait that GitHub may ask for; above it the call fails and says when to come back."""
MINUTE_SECONDS = 60.0
HOUR_SECONDS = 3600.0
"""What a secondary limit without `Retry-After` asks for, doubled each time.

Source: https://docs.github.com/en/rest/using-the-rest-api/best-practices-for-using-the-rest-api#handle-rate-limit-errors-appropriately
"""

Urgency = Literal["final", "progress", "none"]
"""How a write counts against an installation's room for content; git's objects and refs are none."""

T = TypeVar("T")
Sleep = Callable[[float], Awaitable[None]]
Allowed = Callable[[], Awaitable[None]]


class Refused(GitHubError):
    """GitHub answered with an error; `status` is its HTTP status, `said` its message."""

    def __init__(self, what: str, status: int, said: str) -> None:
        super().__init__(f"GitHub would not {what}: {status} {said}".rstrip(), hint=_HINTS.get(status, ""))
        self.status = status
        self.said = said
        if status in (401, 403):
            self.code = Code.MISSING_PERMISSION


class NotFound(Refused):
    """404: it is not there, or not to be seen with this token."""


class Unreachable(GitHubError):
    """GitHub is down, slow or over its limits: the same call may succeed later."""

    code = Code.GITHUB_UNREACHABLE


class NoRoom(Unreachable):
    """The installation has no room for more content now; of progress nothing is lost."""


class AmbiguousWrite(Unreachable):
    """A write was sent and its answer lost, so that it may or may not have happened."""


LATER = "Check the network and GITHUB_API_URL; a run goes on where it stopped when it is started again."
_HINTS = {
    401: "Check the App's private key, or the token; it may have expired or been revoked.",
    403: "Check the permissions of the App or the workflow's token.",
    404: "Check that the repository exists and that the App is installed on it.",
}


@dataclass(slots=True)
class Session:
    """A PyGithub client with a token and the time it was minted, by a monotonic clock in seconds.

    `granted` are the permissions that came with the token, None where GitHub did not say.
    """

    github: Github
    token: str
    minted_at: float
    granted: Mapping[str, str] | None = None


@dataclass(slots=True)
class RepositoryClient:
    """Calls on one repository; `open_session` mints a token when there is none, or the last is old or was refused.

    `limits` are shared by all clients of one installation; `limited_seconds` is the wait after a limit that names none.
    `called` is awaited after each call, whether it succeeded or not; `allowed` right before each try of a write, which
    is not sent when it raises.
    """

    name: str
    server_url: str
    open_session: Callable[[], Session]
    token_seconds: float = float("inf")
    sleep: Sleep = asyncio.sleep
    deadline: float = DEADLINE_SECONDS
    limits: Limits = field(default_factory=Limits)
    limited_seconds: float = MINUTE_SECONDS
    called: Callable[[], Awaitable[None]] | None = None
    allowed: Allowed | None = None
    _session: Session | None = None
    _opening: asyncio.Lock = field(default_factory=asyncio.Lock)
    _writing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def owner(self) -> str:
        """The account that the repository belongs to."""
        return self.name.partition("/")[0]

    async def read(self, what: str, call: Callable[[Repository], T]) -> T:
        """Return what `call` reads; `what` ends the sentence "GitHub would not …" of an error."""
        return await self._call(what, call, idempotent=True)

    async def read_if_permitted(self, what: str, call: Callable[[Repository], list[T]]) -> list[T]:
        """Return what `call` lists, or nothing where the token may not see it."""
        try:
            return await self.read(what, call)
        except Refused as error:
            if error.status not in (403, 404):
                raise
            return []

    async def write(
        self, what: str, call: Callable[[Repository], T], *, idempotent: bool = False, urgency: Urgency = "final"
    ) -> T:
        """Return what `call` wrote; writes of one client never overlap, as GitHub asks.

        Where the installation has no room for more content, a final write waits for some, and progress raises
        `NoRoom`. Raises `AmbiguousWrite` when it is not `idempotent` and its answer was lost.
        """
        if urgency != "none":
            await self._room(what, progress=urgency == "progress")
        async with self._writing:
            return await self._call(what, call, idempotent=idempotent, allowed=self.allowed)

    async def read_api(self, what: str, call: Callable[[Github], T]) -> T:
        """Return what `call` reads from outside the repository."""
        return await self._attempts(what, lambda session: call(session.github), idempotent=True)

    async def token(self) -> str:
        """Return a token that is good for some minutes, for git."""
        return (await self._opened(None)).token

    async def granted(self) -> Mapping[str, str] | None:
        """Return the permissions of an App's token; None for a token of another kind, which does not say."""
        return (await self._session_for("say what it may do")).granted

    async def reopen(self, open_session: Callable[[], Session], called: Callable[[], Awaitable[None]]) -> None:
        """Go on with sessions of another kind, and with `called` after each call."""
        await self.aclose()
        self.open_session, self.called = open_session, called

    async def aclose(self) -> None:
        """Close the connections; the next call opens new ones."""
        if self._session is not None:
            session, self._session = self._session, None
            await asyncio.to_thread(session.github.close)

    async def _call(
        self, what: str, call: Callable[[Repository], T], *, idempotent: bool, allowed: Allowed | None = None
    ) -> T:
        def on_repository(session: Session) -> T:
            return call(session.github.get_repo(self.name))

        return await self._attempts(what, on_repository, idempotent=idempotent, allowed=allowed)

    async def _room(self, what: str, *, progress: bool) -> None:
        waited = 0.0
        while (seconds := await self.limits.take(progress=progress)) > 0:
            waited += seconds
            if progress or waited > MAX_WAIT_SECONDS:
                raise NoRoom(
                    f"This installation has written as much on GitHub as it may for now: no room to {what}.",
                    hint=f"There is room again in about {seconds:.0f} s; what was built so far is kept.",
                )
            await self.sleep(seconds)

    async def _attempts(
        self, what: str, call: Callable[[Session], T], *, idempotent: bool, allowed: Allowed | None = None
    ) -> T:
        await self._unpaused(what)
        renewed, attempt = False, 0
        while True:
            attempt += 1
            session = await self._session_for(what)
            if allowed is not None:
                await allowed()
            try:
                result = await self._in_thread(call, session)
                self._note_remaining(session)
                return result
            except GithubException as error:
                if error.status == 401 and not renewed:
                    # A token that was refused is no attempt that failed.
                    renewed, attempt = True, attempt - 1
                    await self._opened(session)
                    continue
                wait = self._wait_for(error, attempt)
                lost = error.status >= 500
                if wait is None or attempt == ATTEMPTS or (lost and not idempotent):
                    raise _translated(what, error, ambiguous=lost and not idempotent) from error
            except LOST as error:
                if not idempotent:
                    raise AmbiguousWrite(f"GitHub's answer was lost while we tried to {what}.") from error
                if attempt == ATTEMPTS:
                    raise _unreachable(what, error) from error
                wait = backoff(attempt)
            await self.sleep(wait)

    async def _session_for(self, what: str) -> Session:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._opened(None)
            except GithubException as error:
                wait = self._wait_for(error, attempt)
                if wait is None or attempt == ATTEMPTS:
                    raise _translated(f"give a token to {what}", error, ambiguous=False) from error
            except LOST as error:
                if attempt == ATTEMPTS:
                    raise _unreachable(what, error) from error
                wait = backoff(attempt)
            await self.sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    async def _opened(self, refused: Session | None) -> Session:
        async with self._opening:
            current = self._session
            stale = current is None or current is refused or _age(current) >= self.token_seconds
            if current is None or stale:
                async with asyncio.timeout(self.deadline):
                    current = await asyncio.to_thread(self.open_session)
                self._session = current
            return current

    async def _unpaused(self, what: str) -> None:
        """Wait until GitHub's limits let this installation go on; raises `Unreachable` when that is too long."""
        waited = 0.0
        while (seconds := self.limits.paused) > 0:
            waited += seconds
            if waited > MAX_WAIT_SECONDS:
                raise Unreachable(
                    f"GitHub limits this installation for {seconds:.0f} s more, so it could not {what}.", hint=LATER
                )
            await self.sleep(seconds)

    def _wait_for(self, error: GithubException, attempt: int) -> float | None:
        """Return the seconds to wait before the same call may succeed, or None when it never will.

        A limit holds for every other call of the installation too.
        """
        limited = is_limited(error)
        if not limited and error.status < 500:
            return None
        wait = _asked_for(error) if limited else _seconds(_headers(error).get("retry-after"))
        if wait is None and limited:
            wait = self.limited_seconds * 2 ** (attempt - 1)
        if wait is None:
            wait = backoff(attempt)
        if limited:
            self.limits.pause(wait)
        return wait if wait <= MAX_WAIT_SECONDS else None

    def _note_remaining(self, session: Session) -> None:
        """Pause before GitHub has to refuse a call: none is left until the limit is reset."""
        remaining, _ = session.github.requester.rate_limiting
        reset = session.github.requester.rate_limiting_resettime - time.time()
        if remaining == 0 and reset > 0:
            # GitHub resets hourly: a longer wait comes of a clock of ours that is behind.
            self.limits.pause(min(reset, HOUR_SECONDS) + 1)

    async def _in_thread(self, call: Callable[[Session], T], session: Session) -> T:
        try:
            async with asyncio.timeout(self.deadline):
                return await asyncio.to_thread(call, session)
        finally:
            if self.called is not None:
                await self.called()


def _age(session: Session) -> float:
    return time.monotonic() - session.minted_at


def is_limited(error: GithubException) -> bool:
    """Tell whether GitHub refused a call for its primary or a secondary limit."""
    headers = _headers(error)
    return error.status == 429 or (
        error.status == 403
        and (
            isinstance(error, RateLimitExceededException)
            or "retry-after" in headers
            or headers.get("x-ratelimit-remaining") == "0"
        )
    )


def _asked_for(error: GithubException) -> float | None:
    """Return the seconds that GitHub asks to wait for, or None where it names none."""
    headers = _headers(error)
    asked = _seconds(headers.get("retry-after"))
    if asked is None and headers.get("x-ratelimit-remaining") == "0":
        reset = _seconds(headers.get("x-ratelimit-reset"))
        asked = None if reset is None else max(0.0, reset - said_now(headers)) + 1
    return asked


def _headers(error: GithubException) -> dict[str, str]:
    return {name.lower(): value for name, value in (error.headers or {}).items()}


def _seconds(text: str | None) -> float | None:
    return float(text) if text and text.isascii() and text.isdigit() else None


def backoff(attempt: int) -> float:
    """Return the seconds to wait after failed try `attempt`, counted from 1."""
    # Full jitter: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    return random.uniform(0, min(20.0, 0.5 * 2**attempt))  # noqa: S311  (spreads load, hides nothing)


def _translated(what: str, error: GithubException, *, ambiguous: bool) -> GitHubError:
    said = _said(error)
    if ambiguous:
        return AmbiguousWrite(f"GitHub answered {error.status} while we tried to {what}; it may have happened.")
    if error.status >= 500 or is_limited(error):
        return Unreachable(f"GitHub would not {what}: {error.status} {said}".rstrip(), hint=LATER)
    return NotFound(what, 404, said) if error.status == 404 else Refused(what, error.status, said)


def _said(error: GithubException) -> str:
    data = error.data if isinstance(error.data, dict) else {}
    details = [
        str(item.get("message") or f"{item.get('field', '')} {item.get('code', '')}")
        if isinstance(item, dict)
        else str(item)
        for item in data.get("errors") or []
    ]
    return "; ".join([str(data.get("message") or error.message or ""), *details])[:500]


def _unreachable(what: str, error: Exception) -> Unreachable:
    return Unreachable(f"GitHub could not be reached to {what} ({type(error).__name__}).", hint=LATER)
