"""Set-up mode: what answers while the bot has neither credentials nor a webhook secret."""

from __future__ import annotations

import secrets

from fastapi import FastAPI, Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp

from bot.dashboard.access import host_is_ours, same
from bot.dashboard.pages import setup_page
from bot.settings import Settings

COOKIE = "orchestrator_setup"
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def create_setup_app(settings: Settings, token: str) -> ASGIApp:
    """Return the application of set-up mode; `token` opens `/setup` once, for the browser that gives it first."""
    app = FastAPI(title="orchestrator", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    session = secrets.token_hex(32)
    secret = secrets.token_hex(32)
    unused = {token}

    async def not_ready() -> Response:
        answer = {"status": "not ready", "reason": "the bot is in set-up mode; open /setup with the console's token"}
        return JSONResponse(answer, 503, headers={"Retry-After": "60"})

    async def healthz() -> Response:
        return JSONResponse({"status": "ok"})

    async def setup(request: Request) -> Response:
        if not host_is_ours(settings, request.headers.get("host", "")):
            return PlainTextResponse("The bot does not go by this name; set PUBLIC_URL.\n", 421, headers=_HEADERS)
        known = same(request.cookies.get(COOKIE, ""), session)
        first = token in unused and same(request.query_params.get("token", ""), token)
        if not (known or first):
            message = "Open /setup?token=… with the one-time token that the bot's console shows.\n"
            return PlainTextResponse(message, 403, headers=_HEADERS)
        nonce = secrets.token_hex(16)
        base = settings.public_url or f"http://{request.headers['host']}"
        answer = HTMLResponse(
            setup_page(secret=secret, webhook=f"{base}/webhook", nonce=nonce),
            headers=_HEADERS
            | {
                "Content-Security-Policy": f"default-src 'none'; style-src 'nonce-{nonce}'; img-src data:; "
                "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
            },
        )
        if first:
            unused.clear()
            answer.set_cookie(COOKIE, session, httponly=True, samesite="strict")
        return answer

    app.add_api_route("/healthz", healthz, methods=["GET", "HEAD"])
    app.add_api_route("/readyz", not_ready, methods=["GET", "HEAD"])
    app.add_api_route("/webhook", not_ready, methods=["POST"])
    app.add_api_route("/setup", setup, methods=["GET"])
    return app
