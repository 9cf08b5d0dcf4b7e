"""Set-up mode: what answers while the bot has neither credentials nor a webhook secret."""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qs, urlsplit

from fastapi import FastAPI, Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp

from bot.dashboard.access import host_is_ours, same
from bot.dashboard.pages import registered_page, setup_page
from bot.described import NOT_READY, described
from bot.settings import Settings
from orchestrator.errors import OrchestratorError
from orchestrator.github.api.registration import RegisteredApp, manifest, new_app_url, register

COOKIE = "orchestrator_setup"
MAX_FORM_BYTES = 64 * 1024
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Without a referrer browsers hide the origin of a form from its own site too.
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}

Ready = Callable[[], Awaitable[None]]
Registered = Callable[[RegisteredApp], Awaitable[None]]

log = logging.getLogger(__name__)


class SetUp:
    """One registration: the browser that gave the token first, the `state` that GitHub sends back, and the end.

    `state` is good for one answer of GitHub's; after a success nothing is open any more.
    """

    def __init__(self, settings: Settings, token: str, ready: Ready, registered: Registered) -> None:
        self._settings = settings
        self._token = token
        self._session = secrets.token_hex(32)
        self._state = secrets.token_urlsafe(32)
        self._name = f"orchestrator-{secrets.token_hex(3)}"
        self._ready = ready
        self._registered = registered
        self._registering = False

    async def page(self, request: Request) -> Response:
        """Show the form that posts the manifest to GitHub."""
        if refused := self._not_ours(request):
            return refused
        first = same(request.query_params.get("token", ""), self._token)
        if not (first or self._known(request)):
            return _text(403, "Open /setup?token=… with the one-time token that the bot's console shows.")
        answer = self._form(request)
        if first:
            self._token = ""
            # GitHub leads back here from its own site, which a strict cookie would not survive.
            secure = self._settings.public_url.startswith("https://") and self._base(request).startswith("https://")
            answer.set_cookie(COOKIE, self._session, httponly=True, samesite="lax", secure=secure)
        return answer

    async def organization(self, request: Request) -> Response:
        """Send the browser on to the organisation's page of GitHub, with the manifest that it has posted here."""
        if refused := self._not_ours(request) or self._stranger(request):
            return refused
        form = parse_qs((await request.body())[:MAX_FORM_BYTES].decode("utf-8", "replace"), max_num_fields=10)
        if not same(form.get("state", [""])[0], self._state):
            return _text(403, "This form is no longer good; open /setup again.")
        try:
            target = new_app_url(self._settings.github_server_url, self._state, form.get("organization", [""])[0])
        except ValueError as error:
            return _text(422, f"{error}. Go back, and give the name as it stands in its address on GitHub.")
        # 307 has the browser post the same form again.
        return RedirectResponse(target, 307, headers=_HEADERS)

    async def registered(self, request: Request) -> Response:
        """Take the code that GitHub sent the browser back with, and keep what it is exchanged for."""
        if refused := self._not_ours(request) or self._stranger(request):
            return refused
        if self._registering or not same(request.query_params.get("state", ""), self._state):
            return _text(403, "This answer of GitHub's is not the one that was waited for; open /setup again.")
        self._registering = True
        try:
            # GitHub shows an App's key once: what could not be kept is not asked for, and can be asked for again.
            if problem := await self._problem():
                return _text(503, f"{problem} Then load this page again.")
            self._state = secrets.token_urlsafe(32)
            app = await register(self._settings.github_api_url, request.query_params.get("code", ""))
            await self._registered(app)
        except OrchestratorError as error:
            log.exception("the App could not be registered")
            return self._form(request, problem=str(error), status=502)
        finally:
            self._registering = False
        self._session = secrets.token_hex(32)
        nonce = secrets.token_hex(16)
        page = registered_page(slug=app.slug, owner=app.owner, install_url=app.install_url, nonce=nonce)
        return HTMLResponse(page, headers=_headers(nonce, "'none'"))

    async def _problem(self) -> str:
        try:
            await self._ready()
        except OrchestratorError as error:
            log.exception("the App could not be kept")
            return str(error)
        return ""

    def _form(self, request: Request, *, problem: str = "", status: int = 200) -> Response:
        nonce, base, server = secrets.token_hex(16), self._base(request), self._settings.github_server_url
        public = self._settings.public_url
        asked = manifest(self._name, public, f"{base}/setup/registered") if public else None
        page = setup_page(
            manifest=json.dumps(asked) if asked else "",
            permissions=asked["default_permissions"] if asked else {},
            events=asked["default_events"] if asked else [],
            action=new_app_url(server, self._state),
            state=self._state,
            server=urlsplit(server).netloc,
            webhook=f"{public or base}/webhook",
            secret=secrets.token_hex(32),
            problem=problem,
            nonce=nonce,
        )
        return HTMLResponse(page, status, headers=_headers(nonce, f"'self' {server}"))

    def _base(self, request: Request) -> str:
        """Return the address under which the browser knows the bot."""
        host = request.headers["host"]
        return self._settings.public_url if host == urlsplit(self._settings.public_url).netloc else f"http://{host}"

    def _known(self, request: Request) -> bool:
        return same(request.cookies.get(COOKIE, ""), self._session)

    def _stranger(self, request: Request) -> Response | None:
        return None if self._known(request) else _text(403, "Open /setup in this browser first.")

    def _not_ours(self, request: Request) -> Response | None:
        if not host_is_ours(self._settings, request.headers.get("host", "")):
            return _text(421, "The bot does not go by this name; set PUBLIC_URL.")
        if request.method == "POST" and request.headers.get("origin", "") != self._base(request):
            return _text(403, "Another site asked for this page.")
        return None


def create_setup_app(settings: Settings, token: str, ready: Ready, registered: Registered) -> ASGIApp:
    """Return the application of set-up mode; `token` opens `/setup` once, for the browser that gives it first.

    `ready` raises while an App could not be kept, and is awaited before it is asked for. `registered` is awaited once
    with the App, before its page is answered; what it raises is shown there.
    """
    app = FastAPI(title="orchestrator", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    set_up = SetUp(settings, token, ready, registered)

    async def not_ready() -> Response:
        answer = {"status": "not ready", "reason": "the bot is in set-up mode; open /setup with the console's token"}
        return JSONResponse(answer, 503, headers={"Retry-After": "60"})

    async def healthz() -> Response:
        return JSONResponse({"status": "ok"})

    for method in ("GET", "HEAD"):
        app.add_api_route("/healthz", healthz, **described("/healthz", [method]))
        app.add_api_route("/readyz", not_ready, **described("/readyz", [method], NOT_READY))
    app.add_api_route("/webhook", not_ready, **described("/webhook", ["POST"], NOT_READY))
    app.add_api_route("/setup", set_up.page, **described("/setup", ["GET"]))
    app.add_api_route("/setup/organization", set_up.organization, **described("/setup/organization", ["POST"]))
    app.add_api_route("/setup/registered", set_up.registered, **described("/setup/registered", ["GET"]))
    return app


def _headers(nonce: str, form_action: str) -> dict[str, str]:
    return _HEADERS | {
        "Content-Security-Policy": f"default-src 'none'; style-src 'nonce-{nonce}'; img-src data:; "
        f"base-uri 'none'; form-action {form_action}; frame-ancestors 'none'"
    }


def _text(status: int, sentence: str) -> Response:
    return PlainTextResponse(f"{sentence}\n", status, headers=_HEADERS)
