"""The server: HTTP/1.1 on a loopback port in a thread of its own, with the faults that only a raw socket can make."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType

import h11

from tests.counts import FAULTS, count
from tests.loopback import answers, requests
from tests.loopback.journal import Call, Journal
from tests.loopback.requests import PROVIDERS, Rejected
from tests.loopback.script import Answer, Asked, Fault, Said, Script

_KEYS = {
    "openai": "OPENAI",
    "anthropic": "ANTHROPIC",
    "google": "GOOGLE",
    "deepseek": "DEEPSEEK",
    "moonshot": "MOONSHOT",
    "minimax": "MINIMAX",
    "zhipu": "ZHIPU",
}
_CHAT = re.compile(r"/(openai|deepseek|moonshot|minimax|zhipu|local)/v1/chat/completions")
_GEMINI = re.compile(r"/google/v1(?:beta)?/models/([^/:]+):(generateContent|streamGenerateContent|countTokens)")
_MODELS = re.compile(r"/(\w+)/(?:v1|v1beta)/models")
_MODEL_IDS = ("loopback-model",)
_UNBILLED = frozenset({"status", "drop", "hang"})


@dataclass(frozen=True, slots=True)
class _Reply:
    """What goes onto the wire: `cut` ends in the middle of the body, `drop` sends nothing at all."""

    status: int = 200
    content_type: str = "application/json"
    body: bytes = b"{}"
    headers: tuple[tuple[str, str], ...] = ()
    cut: bool = False
    drop: bool = False
    billed: bool = False


class ModelServer:
    """Serves a script until it is stopped; a context manager.

    `hold()` keeps every answer back until `release()`; `hold_after(n)` lets n billed answers leave and keeps the rest
    back, so that a test can end its client exactly there. `on_answer` is called in the server's thread after each
    billed answer has left, with their count.
    """

    def __init__(
        self,
        script: Script | Callable[[Asked], Said] | None = None,
        *,
        port: int = 0,
        on_answer: Callable[[int], None] | None = None,
    ) -> None:
        self.script = script or Script()
        self.port = port
        self._log = Journal()
        self._on_answer = on_answer
        self._turns: dict[str, int] = {}
        self._admitted = 0
        self._quota: int | None = None
        self._thread: threading.Thread | None = None
        self._started = threading.Event()
        self._failed: OSError | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped: asyncio.Event | None = None
        self._released: asyncio.Condition | None = None
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """The server's address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def journal(self) -> list[Call]:
        """Every call so far, in the order they came."""
        return self._log.calls

    @property
    def billed(self) -> list[Call]:
        """The calls that a vendor would bill."""
        return [call for call in self.journal if call.billed]

    def base_url(self, provider: str) -> str:
        """Return the base URL of a provider, in the form its SDK takes."""
        return f"{self.url}/{provider}" + ("" if provider in ("anthropic", "google") else "/v1")

    def environment(
        self, providers: Sequence[str] = ("openai", "anthropic", "google", "deepseek", "moonshot")
    ) -> dict[str, str]:
        """Return the environment variables that point the product at this server."""
        variables: dict[str, str] = {}
        for provider in providers:
            if provider == "local":
                variables |= {"LOCAL_LLM_BASE_URL": self.base_url("local"), "LOCAL_LLM_MODEL": _MODEL_IDS[0]}
                continue
            name = _KEYS[provider]
            variables[f"{name}_API_KEY"] = requests.key_of(provider)
            variable = "GOOGLE_GEMINI_BASE_URL" if provider == "google" else f"{name}_BASE_URL"
            variables[variable] = self.base_url(provider)
        return variables

    def wait_for_calls(self, count: int, timeout: float = 30.0) -> None:
        """Block until that many requests came; raises `TimeoutError`."""
        self._log.wait_for_calls(count, timeout)

    def wait_for_answers(self, count: int, timeout: float = 30.0) -> None:
        """Block until that many billed answers left; raises `TimeoutError`."""
        self._log.wait_for_answers(count, timeout)

    def wait_for_end_of(self, index: int, timeout: float = 30.0) -> None:
        """Block until the call of that index has ended, its client gone or answered; raises `TimeoutError`."""
        self._log.wait_for_end_of(index, timeout)

    def hold(self) -> None:
        """Keep back every answer that has not left."""
        self.hold_after(0)

    def hold_after(self, answers_: int) -> None:
        """Let that many billed answers leave, counted from now, and keep back what comes then."""
        self._on_loop(answers_)

    def release(self) -> None:
        """Let all answers go again."""
        self._on_loop(None)

    def start(self) -> ModelServer:
        """Start serving; returns when the port is open."""
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), name="loopback-models", daemon=True)
        self._thread.start()
        self._started.wait()
        if self._failed:
            raise self._failed
        return self

    def stop(self) -> None:
        """Stop serving and close every connection."""
        if self._loop and self._stopped and self._thread and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopped.set)
        if self._thread:
            self._thread.join()

    def __enter__(self) -> ModelServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _on_loop(self, quota: int | None) -> None:
        if self._loop is None:
            self._quota = quota
            return
        asyncio.run_coroutine_threadsafe(self._set_quota(quota), self._loop).result()

    async def _set_quota(self, quota: int | None) -> None:
        assert self._released
        async with self._released:
            self._quota = None if quota is None else self._admitted + quota
            self._released.notify_all()

    async def _main(self) -> None:
        self._loop, self._stopped, self._released = asyncio.get_running_loop(), asyncio.Event(), asyncio.Condition()
        try:
            server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        except OSError as error:
            self._failed = error
            self._started.set()
            return
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._stopped.wait()
        server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._connections.add(task)
        try:
            await self._converse(h11.Connection(h11.SERVER), reader, writer)
        except (ConnectionError, h11.RemoteProtocolError, asyncio.CancelledError):
            # The client went away, or the server stops: either way this connection is over.
            writer.transport.abort()
        finally:
            self._connections.discard(task)
            writer.close()

    async def _converse(self, http: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (request := await _next_request(http, reader)) is not None:
            head, body = request
            reply = await self._reply(head, body, reader)
            self._log.changed()
            if reply.drop:
                writer.transport.abort()
                return
            await _send(http, writer, reply)
            if reply.billed:
                self._log.sent()
                if self._on_answer:
                    self._on_answer(self._log.answers)
            if reply.cut or http.our_state is h11.MUST_CLOSE:
                return
            http.start_next_cycle()

    async def _reply(self, head: h11.Request, body: bytes, reader: asyncio.StreamReader) -> _Reply:
        path = head.target.decode("ascii").partition("?")[0]
        headers = {name.decode().lower(): value.decode("latin-1") for name, value in head.headers}
        if path.startswith("/_"):
            return await self._control(path, json.loads(body or b"{}"))
        if head.method == b"GET" and (models := _MODELS.fullmatch(path)):
            return _models(models[1], headers)
        provider, model, action = _route(path)
        if not provider or head.method != b"POST":
            return _Reply(404, body=json.dumps(answers.error("openai", 404, "", f"no such path: {path}")).encode())
        call = Call(len(self.journal), provider, model, "", time.time(), "", "", "", 0, 0, headers)
        try:
            asked = requests.read(provider, model, headers, body)
        except Rejected as refused:
            self._log.add(call)
            return _close(call, _error(provider, refused.status, refused.error, refused.message), "rejected")
        return await self._serve(call, asked, action, reader)

    async def _serve(self, call: Call, asked: Asked, action: str, reader: asyncio.StreamReader) -> _Reply:
        if action == "count":
            total = requests.input_tokens(asked)
            return _Reply(body=json.dumps({"input_tokens": total, "totalTokens": total}).encode())
        turn = self._turns.get(asked.purpose, 0)
        self._turns[asked.purpose] = turn + 1
        asked = Asked(**{name: getattr(asked, name) for name in Asked.__slots__} | {"turn": turn})
        call.model, call.purpose, call.key, call.body = asked.model, asked.purpose, asked.key, asked.body
        call.system, call.prompt, call.max_output_tokens = asked.system, asked.prompt, asked.max_output_tokens
        call.could_bill_input = requests.input_tokens(asked)
        self._log.add(call)
        said = self.script(asked)
        count(FAULTS, isinstance(said, Fault))
        if isinstance(said, Answer) and said.delay:
            await asyncio.sleep(said.delay)
        await self._admit(billed=isinstance(said, Answer) or said.kind not in _UNBILLED)
        if isinstance(said, Fault) and said.kind == "hang":
            await _gone(reader)
            return _close(call, _Reply(drop=True), "hang")
        return _said(call, asked, said, self.script)

    async def _admit(self, *, billed: bool) -> None:
        assert self._released
        async with self._released:
            await self._released.wait_for(lambda: self._quota is None or self._admitted < self._quota)
            self._admitted += billed

    async def _control(self, path: str, body: dict[str, int]) -> _Reply:
        match path:
            case "/_journal":
                calls = [call.as_json() for call in self.journal]
                return _Reply(body=json.dumps({"calls": calls, "answers": self._log.answers}).encode())
            case "/_environment":
                return _Reply(body=json.dumps(self.environment()).encode())
            case "/_hold":
                await self._set_quota(int(body.get("after", 0)))
            case "/_release":
                await self._set_quota(None)
            case _:
                return _Reply(404)
        return _Reply()


def _route(path: str) -> tuple[str, str, str]:
    if chat := _CHAT.fullmatch(path):
        return chat[1], "", "ask"
    if gemini := _GEMINI.fullmatch(path):
        return "google", gemini[1], "count" if gemini[2] == "countTokens" else "ask"
    if path in ("/anthropic/v1/messages", "/anthropic/v1/messages/count_tokens"):
        return "anthropic", "", "count" if path.endswith("count_tokens") else "ask"
    return "", "", ""


def _said(call: Call, asked: Asked, said: Said, script: Script | Callable[[Asked], Said]) -> _Reply:
    """Turn what the script said into bytes, and close the call's row with its bill."""
    if isinstance(said, Answer):
        return _answered(call, asked, said, "stop", "answer")
    usual = script.default(asked) if isinstance(script, Script) else Answer("{}")
    match said.kind:
        case "status":
            wait = (("retry-after", said.retry_after),) if said.retry_after is not None else ()
            extra = (*wait, *said.headers.items())
            return _close(call, _error(asked.provider, said.code, said.error, said.message, extra), "status")
        case "drop":
            return _close(call, _Reply(drop=True), "drop")
        case "truncated":
            cut = Answer(usual.text[: max(1, len(usual.text) // 2)], full_output=True)
            return _answered(call, asked, cut, "length", "truncated")
        case "malformed":
            return _answered(call, asked, Answer(usual.text[:-1] + ",]"), "stop", "malformed")
        case "empty":
            return _answered(call, asked, Answer("", output_tokens=1), "stop", "empty")
        case "refusal":
            return _answered(call, asked, Answer("I cannot help with that."), "refusal", "refusal")
    reply = _answered(call, asked, usual, "stop", said.kind)
    if said.kind == "not_json":
        return _Reply(body=b"<html>gateway</html>", billed=True)
    return _Reply(reply.status, reply.content_type, reply.body, cut=True)


def _answered(call: Call, asked: Asked, answer: Answer, finish: str, outcome: str) -> _Reply:
    text = answer.text
    output = requests.tokens(text) if answer.output_tokens is None else answer.output_tokens
    if output > asked.max_output_tokens:
        # A model stops at its limit, whatever it still had to say.
        text = text.encode()[: asked.max_output_tokens * requests.BYTES_PER_TOKEN].decode(errors="ignore")
        output, finish = asked.max_output_tokens, "length"
    if answer.full_output:
        output = asked.max_output_tokens
    given = requests.input_tokens(asked) if answer.input_tokens is None else answer.input_tokens
    spoken = answers.Spoken(text, finish, given, output, answer.cached_tokens, answer.usage)
    call.input_tokens, call.output_tokens, call.cached_tokens = given, output, answer.cached_tokens
    content_type, body = answers.answer(asked, spoken)
    if answer.raw is not None:
        body = json.dumps(json.loads(body) | dict(answer.raw)).encode()
    return _close(call, _Reply(200, content_type, body, billed=True), outcome)


def _close(call: Call, reply: _Reply, outcome: str) -> _Reply:
    call.status, call.outcome, call.ended = (0 if reply.drop else reply.status), outcome, time.time()
    return reply


def _error(provider: str, status: int, code: str, message: str, headers: tuple[tuple[str, str], ...] = ()) -> _Reply:
    return _Reply(status, body=json.dumps(answers.error(provider, status, code, message)).encode(), headers=headers)


def _models(provider: str, headers: Mapping[str, str]) -> _Reply:
    if provider not in PROVIDERS:
        return _Reply(404)
    try:
        requests.checked_key(provider, headers)
    except Rejected as refused:
        return _error(provider, refused.status, refused.error, refused.message)
    if provider == "google":
        return _Reply(body=json.dumps({"models": [{"name": f"models/{name}"} for name in _MODEL_IDS]}).encode())
    entries = [{"id": name, "object": "model", "type": "model"} for name in _MODEL_IDS]
    return _Reply(body=json.dumps({"object": "list", "data": entries, "has_more": False}).encode())


async def _next_request(http: h11.Connection, reader: asyncio.StreamReader) -> tuple[h11.Request, bytes] | None:
    head: h11.Request | None = None
    body = b""
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(await reader.read(65536))
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage) and head is not None:
            return head, body
        else:
            return None


async def _send(http: h11.Connection, writer: asyncio.StreamWriter, reply: _Reply) -> None:
    headers = [("content-type", reply.content_type), ("content-length", str(len(reply.body))), *reply.headers]
    writer.write(http.send(h11.Response(status_code=reply.status, headers=headers)) or b"")
    body = reply.body[: len(reply.body) // 2] if reply.cut else reply.body
    writer.write(http.send(h11.Data(data=body)) or b"")
    if not reply.cut:
        writer.write(http.send(h11.EndOfMessage()) or b"")
    await writer.drain()


async def _gone(reader: asyncio.StreamReader) -> None:
    while await reader.read(1024):
        pass
