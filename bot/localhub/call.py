"""One REST request and its answer: the caller, the repository in the path, fields of the body, pages, errors."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from bot.localhub.auth import Actor
from bot.localhub.git import Git
from bot.localhub.state import JSON, Installation, Issue, Repository, User
from bot.localhub.world import World

DOCUMENTATION = "https://docs.github.com/rest"
BY_PERSONAL_TOKEN = "Resource not accessible by personal access token"  # noqa: S105  (a message)
BY_INTEGRATION = "Resource not accessible by integration"

T = TypeVar("T")


class ApiError(Exception):
    """An answer that is no success, in GitHub's words."""

    def __init__(self, status: int, message: str, errors: Sequence[JSON | str] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.errors = list(errors)

    def response(self) -> JSONResponse:
        """Return the error as GitHub sends it."""
        body: JSON = {"message": self.message, "documentation_url": DOCUMENTATION, "status": str(self.status)}
        if self.errors:
            body["errors"] = self.errors
        return JSONResponse(body, self.status)


def not_found() -> ApiError:
    """Return GitHub's answer to what is absent, or not to be seen."""
    return ApiError(404, "Not Found")


def invalid(resource: str, field: str, code: str = "invalid", message: str | None = None) -> ApiError:
    """Return GitHub's 422 for one field."""
    error = {"resource": resource, "field": field, "code": code}
    return ApiError(422, "Validation Failed", [error | ({"message": message} if message else {})])


@dataclass
class Call:
    """A REST request; `repo` is the repository of its path, set once the caller is known to see it."""

    request: Request
    world: World
    actor: Actor
    raw: bytes

    @property
    def base(self) -> str:
        """Return the address of the hub, without a slash at the end."""
        return self.world.base

    @property
    def params(self) -> dict[str, str]:
        """Return the variable parts of the path."""
        return self.request.path_params

    def number(self, name: str) -> int:
        """Return a part of the path that its pattern says is a number."""
        return int(self.params[name])

    def query(self, name: str, default: str = "") -> str:
        """Return a query parameter."""
        return self.request.query_params.get(name, default)

    # the caller

    def user(self) -> User:
        """Return the account that acts; 401 for nobody."""
        if self.actor.user is None or self.actor.app is not None:
            raise ApiError(401, "Requires authentication")
        return self.actor.user

    def installation(self) -> Installation | None:
        """Return the installation that acts, if one does."""
        return self.actor.installation

    def repo(self, role: str = "read", permission: str = "metadata", level: str | None = None) -> Repository:
        """Return the repository of the path if a user has `role`, or an installation `permission`, on it.

        Raises:
            ApiError: 404 when it is not there for the caller, 401 for nobody, 403 or 404 when they may not.
        """
        repo = self.world.state.repository(f"{self.params['owner']}/{self.params['repo']}")
        if repo is None or self.actor.app is not None or not self.actor.sees(repo):
            raise not_found()
        level = level or ("read" if self.request.method == "GET" else "write")
        if self.actor.user is None:
            if level == "read" and role == "read":
                return repo
            raise ApiError(401, "Requires authentication")
        if not self.actor.may(repo, role, permission, level):
            if self.actor.installation:
                raise ApiError(403, BY_INTEGRATION)
            if permission == "contents":
                # GitHub hides the git endpoints from those who may not push.
                raise not_found()
            raise ApiError(403, f"Must have {role} rights to Repository.")
        return repo

    def git(self, repo: Repository) -> Git:
        """Return the code of a repository."""
        return Git(repo.path)

    def issue(self, repo: Repository, name: str = "number") -> Issue:
        """Return the issue or pull request whose number stands in the path; 404 when there is none."""
        issue = repo.issues.get(self.number(name))
        if issue is None:
            raise not_found()
        return issue

    # the body

    def parsed(self) -> Any:
        """Return what the body holds as JSON; 400 when it is none."""
        try:
            return json.loads(self.raw or b"{}")
        except (ValueError, RecursionError) as error:
            raise ApiError(400, "Problems parsing JSON") from error

    def body(self) -> JSON:
        """Return the JSON object of the body; 400 when it is none."""
        value = self.parsed()
        if not isinstance(value, dict):
            raise ApiError(400, "Body should be a JSON object")
        return value

    def field(self, name: str, kind: type[T], default: T | None = None) -> T | None:
        """Return a field of the body, or `default` when it is absent or null; 422 when it is of another kind."""
        value = self.body().get(name)
        if value is None:
            return default
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise ApiError(422, f"Invalid request.\n\nFor 'properties/{name}', {value!r} is not a {kind.__name__}.")
        return value

    def needed(self, name: str, kind: type[T]) -> T:
        """Return a field of the body; 422 when it is absent or of another kind."""
        value = self.field(name, kind)
        if value is None:
            raise ApiError(422, f'Invalid request.\n\n"{name}" wasn\'t supplied.')
        return value

    # the answer

    def page(self, items: Sequence[T], shape: Callable[[T], Any] = lambda item: item, key: str = "") -> Response:
        """Answer with one page of `items`; with `key`, as an object with the total beside them."""
        size = self._whole("per_page", 30, 100)
        number = self._whole("page", 1, 1_000_000)
        shown = [shape(item) for item in items[(number - 1) * size : number * size]]
        pages = max(math.ceil(len(items) / size), 1)
        response = JSONResponse({"total_count": len(items), key: shown} if key else shown)
        relations = {"prev": number - 1, "next": number + 1, "last": pages, "first": 1}
        shows = {"prev": number > 1, "next": number < pages, "last": number < pages, "first": number > 1}
        links = [f'<{self._page_url(to)}>; rel="{name}"' for name, to in relations.items() if shows[name]]
        if links:
            response.headers["Link"] = ", ".join(links)
        return response

    def on_page(self, items: Sequence[T]) -> Sequence[T]:
        """Return the items of the page that is asked for."""
        size, number = self._whole("per_page", 30, 100), self._whole("page", 1, 1_000_000)
        return items[(number - 1) * size : number * size]

    def _whole(self, name: str, default: int, most: int) -> int:
        text = self.query(name)
        return min(max(int(text), 1), most) if re.fullmatch(r"[0-9]{1,9}", text) else default

    def _page_url(self, number: int) -> str:
        query = {**self.request.query_params, "page": str(number)}
        return f"{self.base}{self.request.url.path}?{urlencode(query)}"

    def accepts(self, media: str) -> bool:
        """Tell whether the caller asks for GitHub's media type of that name, such as "diff"."""
        wanted = self.request.headers.get("accept", "")
        return re.search(rf"application/vnd\.github\.(v3\.)?{media}\b", wanted) is not None


Handler = Callable[[Call], Awaitable[Response]]


class Routes:
    """The endpoints of one file, gathered by decorator: `@routes("GET", "/user")`."""

    def __init__(self) -> None:
        self.table: list[tuple[str, str, Handler]] = []

    def __call__(self, method: str, path: str) -> Callable[[Handler], Handler]:
        """Register the decorated handler."""

        def register(handler: Handler) -> Handler:
            self.table.append((method, path, handler))
            return handler

        return register


def encoded(data: bytes) -> str:
    """Return base64 in lines of 60, as GitHub sends it."""
    text = base64.b64encode(data).decode()
    return "".join(text[at : at + 60] + "\n" for at in range(0, len(text), 60))


def answer(body: JSON | list[Any] | None = None, status: int = 200) -> Response:
    """Answer with JSON, or with nothing."""
    return Response(status_code=status) if body is None else JSONResponse(body, status)


__all__ = ["ApiError", "Call", "Handler", "Routes", "answer", "encoded", "invalid", "not_found"]
