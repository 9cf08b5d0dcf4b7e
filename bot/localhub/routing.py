"""Which address leads where: the API with and without GHES's prefix, git over HTTP, and the pages."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import Callable

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bot.localhub import (
    graphql,
    pages,
    registration,
    rest_actions,
    rest_apps,
    rest_checks,
    rest_git,
    rest_issues,
    rest_pulls,
    rest_repos,
    rest_reviews,
    smart_http,
)
from bot.localhub.auth import Actor, Unauthorized, authenticate
from bot.localhub.call import ApiError, Call, Handler, not_found
from bot.localhub.journal import Journal
from bot.localhub.render import API
from bot.localhub.state import User
from bot.localhub.world import World

FILES = (
    rest_repos, rest_issues, rest_pulls, rest_reviews, rest_git, rest_checks, rest_actions, rest_apps, registration,
)  # fmt: skip


def application(world: World, page_account: Callable[[], User], journal: Journal) -> Starlette:
    """Return the whole application."""
    table = [entry for file in FILES for entry in file.routes.table]
    routes = [
        Route(prefix + path, _endpoint(world, handler, journal), methods=[method])
        for prefix in (API, "")
        for method, path, handler in table
    ]
    routes += [
        Route(path, _endpoint(world, graphql.answer_query, journal), methods=["POST"])
        for path in ("/api/graphql", "/graphql")
    ]
    every_method = ["GET", "POST", "PUT", "PATCH", "DELETE"]
    routes.append(Route("/api/{rest:path}", _endpoint(world, _nothing, journal), methods=every_method))
    routes.append(Route("/repos/{rest:path}", _endpoint(world, _nothing, journal), methods=every_method))
    routes += _git_routes(world)
    routes += pages.routes(world, page_account)
    # A foreign page that resolves its own name to 127.0.0.1 must not drive the forms.
    hosts = Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])
    return Starlette(routes=routes, middleware=[hosts])


async def _nothing(call: Call) -> Response:
    raise not_found()


def _endpoint(world: World, handler: Handler, journal: Journal) -> Callable[[Request], object]:
    async def run(request: Request) -> Response:
        call = Call(request, world, Actor(), await request.body())
        try:
            call.actor = _actor(world, request)
            async with _turn(call):
                response = await handler(call)
        except ApiError as error:
            response = error.response()
        if request.method == "GET" and response.status_code == 200:
            response = _conditional(call, response)
        response.headers.update(rest_apps.rate_headers(call))
        response.headers["X-GitHub-Media-Type"] = "github.v3; format=json"
        response.headers["X-GitHub-Request-Id"] = secrets.token_hex(16).upper()
        journal.exchange(request, call.raw, response)
        return response

    return run


def _conditional(call: Call, response: Response) -> Response:
    """Return the answer with its ETag, or 304 for one that the caller has, which does not count as a request.

    An ETag is good for one token, as on GitHub, whose answers vary by it.
    """
    told = call.request.headers.get("authorization", "") + call.request.headers.get("accept", "")
    etag = f'W/"{hashlib.sha256(told.encode() + bytes(response.body)).hexdigest()}"'
    if call.request.headers.get("if-none-match") == etag:
        if call.actor.token:
            call.actor.token.requests -= 1
        response = Response(status_code=304)
    response.headers["ETag"] = etag
    return response


def _actor(world: World, request: Request) -> Actor:
    try:
        actor = authenticate(world.state, request.headers.get("authorization"))
    except Unauthorized as error:
        raise ApiError(401, str(error)) from error
    if actor.installation and actor.installation.suspended_at:
        raise ApiError(403, "This installation has been suspended")
    if actor.token:
        actor.token.requests += 1
    return actor


def _turn(call: Call) -> contextlib.AbstractAsyncContextManager[object]:
    """Return the repository's lock for what may change it: looking and then writing must be one step."""
    repo = call.world.state.repository(f"{call.params.get('owner')}/{call.params.get('repo')}")
    return repo.lock if repo and call.request.method != "GET" else contextlib.nullcontext()


def _git_routes(world: World) -> list[Route]:
    def route(tail: str, method: str) -> Route:
        async def run(request: Request) -> Response:
            return await smart_http.serve(world, request, tail)

        return Route("/{owner}/{repo}/" + tail, run, methods=[method])

    return [route("info/refs", "GET"), route("git-upload-pack", "POST"), route("git-receive-pack", "POST")]
