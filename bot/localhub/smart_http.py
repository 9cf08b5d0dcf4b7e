"""git over HTTP: clone, fetch and push, by git's own `http-backend`."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from bot.localhub import git
from bot.localhub.auth import Actor, Unauthorized, authenticate
from bot.localhub.git import Git
from bot.localhub.state import Repository
from bot.localhub.world import World


def _unauthorized() -> Response:
    headers = {"WWW-Authenticate": 'Basic realm="GitHub"'}
    return PlainTextResponse("Authentication required", 401, headers)


def _refusal(actor: Actor, repo: Repository | None, *, pushing: bool) -> Response | None:
    """Return why this caller may not, or None."""
    if repo is None or not actor.sees(repo):
        return PlainTextResponse("Repository not found.", 404) if actor.user else _unauthorized()
    if pushing:
        if actor.user is None:
            return _unauthorized()
        if not actor.may(repo, "write", "contents", "write"):
            message = f"Permission to {repo.full_name}.git denied to {actor.user.login}."
            return PlainTextResponse(message, 403)
    elif actor.user and repo.private and not actor.may(repo, "read", "contents", "read"):
        return PlainTextResponse("Repository not found.", 404)
    return None


async def serve(world: World, request: Request, tail: str) -> Response:
    """Answer one request of git's; `tail` is what follows the repository in its path."""
    try:
        actor = authenticate(world.state, request.headers.get("authorization"))
    except Unauthorized:
        return _unauthorized()
    owner, name = request.path_params["owner"], request.path_params["repo"]
    repo = world.state.repository(f"{owner}/{name.removesuffix('.git')}")
    pushing = tail == "git-receive-pack" or request.query_params.get("service") == "git-receive-pack"
    refused = _refusal(actor, repo, pushing=pushing)
    if refused is not None or repo is None:
        return refused or _unauthorized()
    if tail != "git-receive-pack":
        return await _backend(request, repo, tail, actor)
    async with repo.lock:
        before = await Git(repo.path).refs()
        response = await _backend(request, repo, tail, actor)
        after = await Git(repo.path).refs()
        names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
        await world.refs_moved(repo, actor, {name: (before.get(name), after.get(name)) for name in names})
    return response


async def _backend(request: Request, repo: Repository, tail: str, actor: Actor) -> Response:
    body = await request.body()
    cgi = {
        "GIT_PROJECT_ROOT": str(repo.path.parent),
        "GIT_HTTP_EXPORT_ALL": "1",
        "PATH_INFO": f"/{repo.path.name}/{tail}",
        "REQUEST_METHOD": request.method,
        "QUERY_STRING": request.url.query,
        "CONTENT_TYPE": request.headers.get("content-type", ""),
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_CONTENT_ENCODING": request.headers.get("content-encoding", ""),
        "GIT_PROTOCOL": request.headers.get("git-protocol", ""),
        "REMOTE_ADDR": "127.0.0.1",
    }
    if actor.user:
        # http-backend takes pushes only from somebody who is known.
        cgi["REMOTE_USER"] = actor.user.login
    out = await git.run(["http-backend"], data=body, extra=cgi)
    head, _, content = out.partition(b"\r\n\r\n")
    lines = [line.partition(": ") for line in head.decode("latin-1").split("\r\n")]
    headers = {name.lower(): value for name, _, value in lines}
    status = int(headers.pop("status", "200 OK").split(" ")[0])
    return Response(content, status, headers)
