"""What each route takes and answers, as OpenAPI says it: which the tests hold the routes to; nothing serves it."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

Responses = dict[int | str, dict[str, Any]]


def _object(*required: str) -> dict[str, Any]:
    return {"type": "object", "required": list(required)}


def _answer(description: str, kind: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {kind: {"schema": schema}}}


def _json(description: str, *required: str) -> dict[str, Any]:
    return _answer(description, "application/json", _object(*required))


def _text(description: str, kind: str = "text/plain") -> dict[str, Any]:
    return _answer(description, kind, {"type": "string"})


_GATE: Responses = {
    401: {
        "description": "The token is needed.",
        "content": {kind: {"schema": {"type": "string"}} for kind in ("text/plain", "text/html")},
    },
    403: _text("Another site asks, or the page is only for the bot's own machine."),
    421: _text("The bot does not go by this name."),
}
_PAGE: Responses = {
    **_GATE,
    503: {
        "description": "The database does not answer.",
        "content": {"text/plain": {"schema": {"type": "string"}}, "application/json": {"schema": _object("error")}},
    },
}
_RUN_ID = {"parameters": [{"name": "run_id", "in": "path", "required": True, "schema": {"type": "string"}}]}
_PAGING = {
    "parameters": [
        {"name": name, "in": "query", "schema": {"type": "integer"}} for name in ("page", "per_page", "limit")
    ]
}
_DELIVERY = {
    "parameters": [
        {"name": name, "in": "header", "required": name != "X-Hub-Signature-256", "schema": {"type": "string"}}
        for name in ("X-GitHub-Event", "X-GitHub-Delivery", "X-Hub-Signature-256")
    ],
    "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}},
}
_REFUSED: Responses = {
    400: _json("Malformed.", "error"),
    401: _json("Not signed.", "error"),
    408: _json("Too slow.", "error"),
    413: _json("Too large.", "error"),
    415: _json("Not JSON.", "error"),
}
_READY: Responses = {200: _json("It is.", "status"), 503: _json("It is not.", "status", "reason")}
_SET_UP: Responses = {
    200: _text("The page.", "text/html"),
    403: _text("Another browser, site or moment."),
    421: _text("The bot does not go by this name."),
}

ROUTES: dict[str, tuple[Responses, dict[str, Any]]] = {
    "/webhook": (
        {
            200: _json("Ignored, or seen before.", "status"),
            202: _json("Kept, and worked on.", "status", "run_id"),
            503: _json("Not stored, or not set up.", "error"),
            **_REFUSED,
        },
        _DELIVERY,
    ),
    "/healthz": ({200: _json("Alive.", "status")}, {}),
    "/readyz": (_READY, {}),
    "/metrics": ({200: _text("Prometheus' text format."), **_GATE}, {}),
    "/": ({200: _text("The list of runs.", "text/html"), **_PAGE}, _PAGING),
    "/runs/{run_id}": (
        {200: _text("The run.", "text/html"), 404: _text("There is none.", "text/html"), **_PAGE},
        _RUN_ID,
    ),
    "/api/runs": ({200: _json("Runs, the newest first.", "runs"), **_PAGE}, _PAGING),
    "/api/runs/{run_id}": (
        {200: _json("The run's report.", "project_id", "status"), 404: _json("There is none.", "error"), **_PAGE},
        _RUN_ID,
    ),
    "/api/runs/{run_id}/audit": (
        {200: _json("What happened, the oldest first.", "audit"), 404: _json("There is none.", "error"), **_PAGE},
        _RUN_ID,
    ),
    "/dashboard.css": ({200: _text("The style.", "text/css"), **_GATE}, {}),
    "/setup": (_SET_UP, {"parameters": [{"name": "token", "in": "query", "schema": {"type": "string"}}]}),
    "/setup/organization": (
        {307: {"description": "On to GitHub."}, 422: _text("No name of an organisation."), **_SET_UP},
        {
            "requestBody": {
                "content": {
                    "application/x-www-form-urlencoded": {
                        "schema": {
                            "type": "object",
                            "properties": {name: {"type": "string"} for name in ("state", "organization")},
                        }
                    }
                }
            }
        },
    ),
    "/setup/registered": (
        {
            502: _text("GitHub did not exchange the code.", "text/html"),
            503: _text("The App could not be kept."),
            **_SET_UP,
        },
        {"parameters": [{"name": name, "in": "query", "schema": {"type": "string"}} for name in ("state", "code")]},
    ),
}
"""Each route's answers by status, and what it takes."""

NOT_READY: tuple[Responses, dict[str, Any]] = ({503: _json("In set-up mode.", "status", "reason")}, {})


def described(path: str, methods: list[str], how: tuple[Responses, dict[str, Any]] | None = None) -> dict[str, Any]:
    """Return the arguments of `add_api_route` for a route; of `HEAD` nothing is said that `GET` does not say."""
    responses, takes = how or ROUTES[path]
    return {
        "methods": methods,
        "include_in_schema": methods != ["HEAD"],
        "responses": responses,
        "response_class": Response,
        "openapi_extra": takes,
    }
