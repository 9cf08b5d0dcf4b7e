"""REST: Apps, installations, their tokens, hook deliveries, and the rate limit."""

from __future__ import annotations

from starlette.responses import Response

from bot.localhub import auth, render, render_apps
from bot.localhub.call import ApiError, Call, Routes, answer, not_found
from bot.localhub.rest_issues import texts
from bot.localhub.state import JSON, App, Delivery, Installation, now

routes = Routes()

HOURLY_LIMIT = 5000


def _app(call: Call) -> App:
    if call.actor.app is None:
        raise ApiError(401, "A JSON web token could not be decoded")
    return call.actor.app


def _installation(call: Call) -> Installation:
    app = _app(call)
    found = call.world.state.installations.get(call.number("id"))
    if found is None or found.app is not app:
        raise not_found()
    return found


@routes("GET", "/app")
async def get_app(call: Call) -> Response:
    """Answer which App the JWT is of."""
    app = _app(call)
    count = sum(it.app is app for it in call.world.state.installations.values())
    return answer(render.app(call.base, app) | {"installations_count": count})


@routes("GET", "/apps/{slug}")
async def get_app_by_slug(call: Call) -> Response:
    """Answer with an App by its short name."""
    for app in call.world.state.apps.values():
        if app.slug == call.params["slug"]:
            return answer(render.app(call.base, app))
    raise not_found()


@routes("GET", "/app/installations")
async def list_installations(call: Call) -> Response:
    """List where the App is installed."""
    app = _app(call)
    mine = [it for it in call.world.state.installations.values() if it.app is app]
    return call.page(mine, lambda it: render_apps.installation(call.base, it))


@routes("GET", "/app/installations/{id:int}")
async def get_installation(call: Call) -> Response:
    """Answer with one installation."""
    return answer(render_apps.installation(call.base, _installation(call)))


@routes("GET", "/repos/{owner}/{repo}/installation")
async def get_repository_installation(call: Call) -> Response:
    """Answer with the installation by which the App sees a repository."""
    app = _app(call)
    repo = call.world.state.repository(f"{call.params['owner']}/{call.params['repo']}")
    found = call.world.state.installation_for(app, repo) if repo else None
    if found is None:
        raise not_found()
    return answer(render_apps.installation(call.base, found))


@routes("POST", "/app/installations/{id:int}/access_tokens")
async def create_token(call: Call) -> Response:
    """Make a token of an installation for one hour, narrowed to named repositories and permissions."""
    installation = _installation(call)
    if installation.suspended_at:
        raise ApiError(403, "This installation has been suspended")
    permissions: JSON | None = call.field("permissions", dict)
    ranks = {"read": 1, "write": 2, "admin": 3}
    for name, level in (permissions or {}).items():
        if ranks.get(level, 9) > ranks.get(installation.permissions.get(name, ""), 0):
            raise ApiError(422, "The permissions requested are not granted to this installation.")
    mine = [repo for repo in call.world.state.repositories.values() if repo.id in installation.repositories]
    names, ids = texts(call, "repositories"), call.field("repository_ids", list)
    wanted = [repo for repo in mine if repo.name in (names or []) or repo.id in (ids or [])]
    narrowed = names is not None or ids is not None
    if narrowed and len(wanted) < len({*(names or [])}) + len({*(ids or [])}):
        raise ApiError(
            422, "There is at least one repository that does not exist or is not accessible to the parent installation."
        )
    only = frozenset(repo.id for repo in wanted) if narrowed else None
    token = auth.mint(call.world.state, installation, permissions, only)
    return answer(render_apps.installation_token(call.base, token, wanted if narrowed else mine), 201)


@routes("GET", "/installation/repositories")
async def list_installation_repositories(call: Call) -> Response:
    """List what a token of an installation reaches."""
    if call.installation() is None:
        raise ApiError(403, "You must authenticate with an installation access token in order to list repositories.")
    reached = [repo for repo in call.world.state.repositories.values() if call.actor.reaches(repo)]
    return call.page(reached, lambda repo: render.repository(call.base, repo, "write"), key="repositories")


@routes("DELETE", "/installation/token")
async def revoke_token(call: Call) -> Response:
    """End the token that asks."""
    if call.installation() is None or call.actor.token is None:
        raise ApiError(403, "You must authenticate with an installation access token")
    del call.world.state.tokens[call.actor.token.value]
    return answer(status=204)


# deliveries


def _delivery(call: Call) -> Delivery:
    app, wanted = _app(call), call.number("id")
    for delivery in call.world.state.deliveries:
        if delivery.id == wanted and delivery.app is app:
            return delivery
    raise not_found()


@routes("GET", "/app/hook/config")
async def get_hook_configuration(call: Call) -> Response:
    """Answer where the App's hook points; its secret is not shown."""
    url = _app(call).webhook_url or ""
    return answer({"content_type": "json", "insecure_ssl": "0", "secret": "********", "url": url})


@routes("PATCH", "/app/hook/config")
async def change_hook_configuration(call: Call) -> Response:
    """Point the App's hook elsewhere, or change its secret."""
    app = _app(call)
    url, secret = call.field("url", str), call.field("secret", str)
    app.webhook_url = app.webhook_url if url is None else url
    app.webhook_secret = app.webhook_secret if secret is None else secret
    return await get_hook_configuration(call)


@routes("GET", "/app/hook/deliveries")
async def list_deliveries(call: Call) -> Response:
    """List the deliveries, the newest first, in pages by `cursor` (the id of the last one seen)."""
    app, cursor = _app(call), call.query("cursor")
    mine = [it for it in reversed(call.world.state.deliveries) if it.app is app]
    if call.query("status") in ("success", "failure"):
        good = call.query("status") == "success"
        mine = [it for it in mine if (200 <= it.status_code < 300) == good]
    if cursor:
        mine = [it for it in mine if cursor.isdigit() and it.id < int(cursor)]
    size = int(call.query("per_page")) if call.query("per_page").isdigit() else 30
    shown = mine[: min(max(size, 1), 100)]
    response = answer([render_apps.delivery(it) for it in shown])
    if len(mine) > len(shown):
        url = f"{call.base}{call.request.url.path}?per_page={len(shown)}&cursor={shown[-1].id}"
        response.headers["Link"] = f'<{url}>; rel="next"'
    return response


@routes("GET", "/app/hook/deliveries/{id:int}")
async def get_delivery(call: Call) -> Response:
    """Answer with one delivery: what was sent, and what came back."""
    it = _delivery(call)
    return answer(
        {
            **render_apps.delivery(it),
            "url": it.app.webhook_url or "",
            "request": {"headers": it.request_headers, "payload": it.payload()},
            "response": {"headers": it.response_headers, "payload": it.response_body},
        }
    )


@routes("POST", "/app/hook/deliveries/{id:int}/attempts")
async def redeliver(call: Call) -> Response:
    """Send a delivery again, under the same GUID."""
    call.world.webhooks.redeliver(_delivery(call))
    return answer({}, 202)


# rate limit


def rate_headers(call: Call) -> dict[str, str]:
    """Return the X-RateLimit headers; nothing here is ever limited but by a fault that a test adds."""
    used = call.actor.token.requests if call.actor.token else 0
    return {
        "X-RateLimit-Limit": str(HOURLY_LIMIT),
        "X-RateLimit-Remaining": str(max(HOURLY_LIMIT - used, 1)),
        "X-RateLimit-Used": str(used),
        "X-RateLimit-Reset": str(_reset()),
        "X-RateLimit-Resource": "core",
    }


def _reset() -> int:
    return int((now() + auth.TOKEN_LIFETIME).timestamp())


@routes("GET", "/rate_limit")
async def rate_limit(call: Call) -> Response:
    """Answer what is left of the hour."""
    used = call.actor.token.requests if call.actor.token else 0
    core = {"limit": HOURLY_LIMIT, "remaining": max(HOURLY_LIMIT - used, 1), "reset": _reset(), "used": used}
    names = ("core", "search", "graphql", "integration_manifest", "code_scanning_upload")
    return answer({"resources": dict.fromkeys(names, core), "rate": core})
