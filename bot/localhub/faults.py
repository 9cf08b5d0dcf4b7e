"""The gate in front of everything: it records each request, and breaks those that a test asks it to break."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from bot.localhub.state import JSON

MOST_BODY = 100 * 1024 * 1024
"""GitHub refuses larger pushes and files; so does this."""

Kind = Literal["status", "drop_before", "drop_after", "delay", "malformed", "page", "truncated"]
_SPOILT = ("malformed", "page", "truncated")
_PAGE = b"<!DOCTYPE html><title>Bad gateway</title><p>The server is busy. Try again.</p>"


@dataclass
class RecordedRequest:
    """A request as it came, and the status it got: 0 when the connection was dropped."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    status: int = 0


@dataclass
class Fault:
    """What goes wrong with the next `times` requests of a method whose path matches."""

    method: str
    path_regex: re.Pattern[str]
    kind: Kind
    status: int
    times: int
    seconds: float
    headers: dict[str, str]
    body: JSON
    when: Callable[[RecordedRequest], bool]
    then: Callable[[], object]
    hits: int = 0

    def matches(self, request: RecordedRequest) -> bool:
        """Tell whether this fault is for the request and not used up."""
        if self.hits >= self.times or self.method not in ("*", request.method):
            return False
        return self.path_regex.search(request.path) is not None and self.when(request)


@dataclass
class Faults:
    """The faults that wait, in the order in which they were added."""

    waiting: list[Fault] = field(default_factory=list)

    def add(
        self,
        *,
        method: str = "*",
        path_regex: str,
        kind: Kind,
        status: int = 502,
        times: int = 1,
        seconds: float = 0.0,
        headers: Mapping[str, str] | None = None,
        body: JSON | None = None,
        when: Callable[[RecordedRequest], bool] = lambda _: True,
        then: Callable[[], object] = lambda: None,
    ) -> Fault:
        """Break the next `times` requests whose path (as sent, with its prefix) contains `path_regex`
        and of which `when` is true.

        `status` answers so, with `headers` and `body`, without doing anything. `drop_before` closes the connection
        without doing anything, `drop_after` does everything and closes it without an answer; `then` is called right
        before it is closed. `delay` waits `seconds` first. Three do everything and spoil the answer: of `malformed`
        only the first half of the body is there, `truncated` breaks the connection in the middle of it, and `page` is
        an HTML page in its place, as a proxy sends one. Returns the fault, whose `hits` counts.
        """
        answer = body or {"message": "Server Error", "documentation_url": "", "status": str(status)}
        regex = re.compile(path_regex)
        fault = Fault(method.upper(), regex, kind, status, times, seconds, dict(headers or {}), answer, when, then)
        self.waiting.append(fault)
        return fault

    def clear(self) -> None:
        """Let everything work again."""
        self.waiting.clear()

    def take(self, request: RecordedRequest) -> Fault | None:
        """Return the fault for this request, counted as used."""
        for fault in self.waiting:
            if fault.matches(request):
                fault.hits += 1
                return fault
        return None


class DroppableProtocol(H11Protocol):
    """uvicorn's HTTP/1.1, which keeps its connections by the address of the client so that one can be cut."""

    transports: dict[Any, asyncio.Transport] = {}  # noqa: RUF012  (set anew for each server, see `protocol`)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Remember the connection."""
        super().connection_made(transport)
        self.transports[transport.get_extra_info("peername")] = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self.transports.pop(self.transport.get_extra_info("peername"), None)
        super().connection_lost(exc)


def protocol() -> type[DroppableProtocol]:
    """Return a protocol class with connections of its own."""
    return type("Protocol", (DroppableProtocol,), {"transports": {}})


class Gate:
    """The outermost ASGI application."""

    def __init__(self, app: ASGIApp, faults: Faults, requests: list[RecordedRequest], connections: Any) -> None:
        self._app = app
        self._faults = faults
        self._requests = requests
        self._connections = connections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Record the request, break it if a fault says so, else hand it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = await _read(receive)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        record = RecordedRequest(scope["method"], scope["path"], scope["query_string"].decode(), headers, body)
        self._requests.append(record)
        fault = self._faults.take(record)

        unread: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            # After the body only a disconnect may come; a streaming response waits for it.
            return unread.pop() if unread else await receive()

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
            await send(message)

        if fault and fault.kind == "delay":
            await asyncio.sleep(fault.seconds)
        if fault and fault.kind in ("drop_before", "drop_after"):
            if fault.kind == "drop_after":
                await self._app(scope, replay, _discard)
            fault.then()
            await self._drop(scope, receive)
        elif fault and fault.kind in _SPOILT:
            await self._spoil(fault.kind, scope, receive, replay, answer)
        elif fault and fault.kind == "status":
            await JSONResponse(fault.body, fault.status, fault.headers)(scope, replay, answer)
        elif len(body) > MOST_BODY:
            await JSONResponse({"message": "Payload too large"}, 413)(scope, replay, answer)
        else:
            await self._app(scope, replay, answer)

    async def _spoil(self, kind: Kind, scope: Scope, receive: Receive, replay: Receive, answer: Send) -> None:
        """Let the application answer, and spoil what it said."""
        said: list[Message] = []

        async def hear(message: Message) -> None:
            said.append(message)

        await self._app(scope, replay, hear)
        begin, whole = said[0], b"".join(message.get("body", b"") for message in said[1:])
        body = _PAGE if kind == "page" else whole[: len(whole) // 2]
        headers = [it for it in begin["headers"] if it[0] not in (b"content-length", b"content-type")]
        promised = len(whole) if kind == "truncated" else len(body)
        content_type = b"text/html" if kind == "page" else dict(begin["headers"]).get(b"content-type", b"")
        headers += [(b"content-length", b"%d" % promised), (b"content-type", content_type)]
        await answer({**begin, "headers": headers})
        await answer({"type": "http.response.body", "body": body, "more_body": promised != len(body)})
        if promised != len(body):
            await self._drop(scope, receive, sent=True)

    async def _drop(self, scope: Scope, receive: Receive, *, sent: bool = False) -> None:
        """Break the connection; what was `sent` on it still arrives."""
        connection = self._connections[tuple(scope["client"])]
        if sent:
            connection.close()
        else:
            connection.abort()
        # Until the server knows that the client is gone it would answer 500.
        while (await receive())["type"] != "http.disconnect":
            pass


async def _read(receive: Receive) -> bytes:
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        if size <= MOST_BODY + 1:
            parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    data = b"".join(parts)
    return data if size <= MOST_BODY else data.ljust(MOST_BODY + 1, b"\0")


async def _discard(message: Message) -> None:
    """Take an answer that nobody will see."""
