"""Who may see the dashboard, the API and the metrics (SECURITY 5); the gate in front of every other route."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bot.dashboard.pages import sign_in_page
from bot.settings import Settings, is_loopback

OPEN_PATHS = frozenset({"/webhook", "/healthz", "/readyz"})
COOKIE = "orchestrator_dashboard"
SESSION_SECONDS = 12 * 3600
MAX_FORM_BYTES = 8 * 1024
FORM_SECONDS = 10.0

_FORWARDING = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Verdict(Enum):
    """What the gate decides about a request."""

    LET_IN = "let in"
    ASK = "ask for the token"
    LOCAL_ONLY = "refuse: there is no token that could be given"
    WRONG_HOST = "refuse: the Host is not ours"
    WRONG_ORIGIN = "refuse: another site asks"


@dataclass(frozen=True, slots=True)
class Asking:
    """What the gate looks at: the peer's address, and the headers by lower-case name."""

    client: str
    headers: Mapping[str, str]
    now: float = 0.0


def decide(settings: Settings, asking: Asking) -> Verdict:
    """Decide about a request to anything but the open paths."""
    host = _host_name(asking.headers.get("host", ""))
    ours = _our_hosts(settings)
    if not host_is_ours(settings, asking.headers.get("host", "")):
        return Verdict.WRONG_HOST
    origin = asking.headers.get("origin")
    if origin is not None and not _is_ours(_origin_host(origin), {host, *ours}):
        return Verdict.WRONG_ORIGIN
    # A proxy on this machine may say nothing of whom it asks for: nginx by its defaults is such a one.
    if settings.on_loopback and not settings.is_public and _direct(asking, host):
        return Verdict.LET_IN
    if not settings.dashboard_token:
        return Verdict.LOCAL_ONLY
    scheme, _, bearer = asking.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and same(bearer.strip(), settings.dashboard_token):
        return Verdict.LET_IN
    if _session_holds(asking.headers.get("cookie", ""), settings.dashboard_token, asking.now):
        return Verdict.LET_IN
    return Verdict.ASK


def may_sign_in(settings: Settings, headers: Mapping[str, str]) -> bool:
    """Tell whether a form with the token comes from our own page: only its site's `Origin` says so, and it must."""
    origin = headers.get("origin", "")
    try:
        sent_by = urlsplit(origin).netloc
    except ValueError:
        return False
    ours = {headers.get("host", ""), urlsplit(settings.public_url).netloc} - {""}
    return origin.startswith(("http://", "https://")) and sent_by.lower() in {name.lower() for name in ours}


def host_is_ours(settings: Settings, header: str) -> bool:
    """Tell whether a `Host` header names the bot."""
    host = _host_name(header)
    # Nor could it point such a name at us; Prometheus calls each of several bots by its own.
    return _is_ours(host, _our_hosts(settings)) or _is_inner(settings, host)


def session(token: str, expires: int) -> str:
    """Return a cookie's value that proves the token was given, until `expires` in seconds since the epoch."""
    mac = hmac.new(token.encode(), f"dashboard session until {expires}".encode(), hashlib.sha256)
    return f"{expires}.{mac.hexdigest()}"


def same(given: str, expected: str) -> bool:
    """Compare two secrets in constant time; an empty one equals nothing."""
    return bool(expected) and hmac.compare_digest(given.encode(errors="replace"), expected.encode(errors="replace"))


class Gate:
    """Lets a request through to the routes, or answers it; puts the security headers on every answer."""

    def __init__(self, app: ASGIApp, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self.app = app
        self._settings = settings
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        answer = None if scope["path"] in OPEN_PATHS else await self._answer(scope, receive)
        await (answer or self.app)(scope, receive, send_with_headers)

    async def _answer(self, scope: Scope, receive: Receive) -> Response | None:
        headers = Headers(scope=scope)
        client = scope["client"][0] if scope.get("client") else ""
        verdict = decide(self._settings, Asking(client, dict(headers.items()), self._clock()))
        if verdict is Verdict.LET_IN:
            return None
        if verdict is Verdict.ASK:
            if scope["method"] == "POST" and headers.get("content-type", "").startswith(_FORM):
                return await self._sign_in(Request(scope, receive))
            return _ask(headers, wrong=False)
        return _refuse(verdict)

    async def _sign_in(self, request: Request) -> Response:
        """Exchange the token of the form for a cookie: in an address it would stand in every log on its way."""
        if not may_sign_in(self._settings, request.headers):
            return _refuse(Verdict.WRONG_ORIGIN)
        if not same(await _form_token(request), self._settings.dashboard_token):
            return _ask(request.headers, wrong=True)
        # A path that begins with two slashes would lead to another site.
        target = "/" + request.url.path.lstrip("/\\") + (f"?{request.url.query}" if request.url.query else "")
        answer = RedirectResponse(target, status_code=303)
        answer.set_cookie(
            COOKIE,
            session(self._settings.dashboard_token, int(self._clock()) + SESSION_SECONDS),
            max_age=SESSION_SECONDS,
            httponly=True,
            samesite="strict",
            secure=self._settings.public_url.startswith("https://"),
        )
        return answer


_FORM = "application/x-www-form-urlencoded"
_REFUSALS = {
    Verdict.LOCAL_ONLY: (
        "This page is only for the machine that the bot runs on.\n"
        "To see it from elsewhere, set ORCHESTRATOR_DASHBOARD_TOKEN and start the bot again.\n"
    ),
    Verdict.WRONG_HOST: "The bot does not go by this name. If it should, set PUBLIC_URL to its address.\n",
    Verdict.WRONG_ORIGIN: "Another site asked for this page.\n",
}


async def _form_token(request: Request) -> str:
    """Return the form's `token`; an empty text where the form is too large, too slow or ends early."""
    body = b""
    try:
        async with asyncio.timeout(FORM_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_FORM_BYTES:
                    return ""
        return parse_qs(body.decode("utf-8", "replace"), max_num_fields=10).get("token", [""])[-1]
    except (TimeoutError, ClientDisconnect, ValueError):
        return ""


def _refuse(verdict: Verdict) -> Response:
    return PlainTextResponse(_REFUSALS[verdict], status_code=421 if verdict is Verdict.WRONG_HOST else 403)


def _ask(headers: Headers, *, wrong: bool) -> Response:
    challenge = {"WWW-Authenticate": 'Bearer realm="orchestrator"'}
    if "text/html" in headers.get("accept", ""):
        # Without a referrer browsers hide the origin of a form from its own site too.
        about = {"Referrer-Policy": "same-origin", **challenge}
        return Response(sign_in_page(wrong=wrong), 401, about, "text/html")
    return PlainTextResponse(
        "The dashboard's token is needed: send it as `Authorization: Bearer …`.\n", 401, headers=challenge
    )


def _direct(asking: Asking, host: str) -> bool:
    """Tell whether the request comes from this machine itself and not through a proxy on it."""
    forwarded = any(name in asking.headers for name in _FORWARDING) or any(
        name.startswith("x-forwarded-") for name in asking.headers
    )
    return is_loopback(asking.client) and is_loopback(host) and not forwarded


def _our_hosts(settings: Settings) -> Collection[str]:
    public = urlsplit(settings.public_url).hostname or ""
    return {name.lower() for name in (settings.host.strip("[]"), public) if name}


def _is_inner(settings: Settings, host: str) -> bool:
    """Tell whether a name is one of the network that the bot stands in, such as a container's, which has no dot."""
    return not settings.on_loopback and bool(host) and "." not in host


def _is_ours(host: str, ours: Collection[str]) -> bool:
    """Tell whether a host name is ours; an address is no name that a foreign DNS server could point at us."""
    return bool(host) and (host in ours or is_loopback(host) or _is_address(host))


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _host_name(header: str) -> str:
    try:
        return (urlsplit(f"//{header}").hostname or "") if "@" not in header and "/" not in header else ""
    except ValueError:
        return ""


def _origin_host(origin: str) -> str:
    try:
        return urlsplit(origin).hostname or ""
    except ValueError:
        return ""


def _session_holds(cookie: str, token: str, now: float) -> bool:
    try:
        morsel = SimpleCookie(cookie).get(COOKIE)
    except CookieError:
        return False
    expires, _, _ = (morsel.value if morsel else "").partition(".")
    if morsel is None or not (expires.isascii() and expires.isdigit()) or len(expires) > 12:
        return False
    return now < int(expires) and same(morsel.value, session(token, int(expires)))
