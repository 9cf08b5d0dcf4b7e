"""A language server as an editor drives it: JSON-RPC over its standard input and output.

Source: https://microsoft.github.io/language-server-protocol/specifications/lsp/3.17/specification/
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

SECONDS = 60.0
SETTINGS = {"yaml": {"schemaStore": {"enable": False}, "validate": True, "completion": True}}


class LanguageServer:
    """One server; messages are read in order, and its own requests are answered with the settings or nothing."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._last = 0
        self._diagnostics: dict[str, list[dict[str, Any]]] = {}

    async def request(self, method: str, params: dict[str, Any]) -> Any:
        """Return the result of a request."""
        self._last += 1
        await self._send({"id": self._last, "method": method, "params": params})
        async with asyncio.timeout(SECONDS):
            while True:
                message = await self._next()
                if message.get("id") == self._last and "method" not in message:
                    assert "error" not in message, message
                    return message["result"]

    async def notify(self, method: str, params: dict[str, Any]) -> None:
        """Send a notification."""
        await self._send({"method": method, "params": params})

    async def open(self, path: Path, text: str) -> str:
        """Open a document with a text and return its address."""
        document = {"uri": path.as_uri(), "languageId": "yaml", "version": 1, "text": text}
        await self.notify("textDocument/didOpen", {"textDocument": document})
        return path.as_uri()

    async def diagnostics(self, uri: str) -> list[dict[str, Any]]:
        """Return what the server finds in an open document, once it says so."""
        async with asyncio.timeout(SECONDS):
            while uri not in self._diagnostics:
                await self._next()
        return self._diagnostics[uri]

    async def completions(self, uri: str, line: int, character: int) -> list[str]:
        """Return the labels offered at a position, which counts from 0."""
        place = {"textDocument": {"uri": uri}, "position": {"line": line, "character": character}}
        found = await self.request("textDocument/completion", place)
        return [item["label"] for item in (found["items"] if isinstance(found, dict) else found)]

    async def _send(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self._process.stdin
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        await self._process.stdin.drain()

    async def _next(self) -> dict[str, Any]:
        assert self._process.stdout
        head = await self._process.stdout.readuntil(b"\r\n\r\n")
        (length,) = [int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
        message: dict[str, Any] = json.loads(await self._process.stdout.readexactly(length))
        if message.get("method") == "textDocument/publishDiagnostics":
            self._diagnostics[message["params"]["uri"]] = message["params"]["diagnostics"]
        elif "method" in message and "id" in message:
            await self._send({"id": message["id"], "result": _answer(message)})
        return message


@asynccontextmanager
async def language_server(command: Sequence[str], folder: Path) -> AsyncIterator[LanguageServer]:
    """Start a server on a workspace folder, and end it with the block."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        server = LanguageServer(process)
        workspace = {"uri": folder.as_uri(), "name": folder.name}
        capabilities = {"workspace": {"configuration": True, "workspaceFolders": True}}
        await server.request(
            "initialize", {"processId": None, "rootUri": folder.as_uri(), "workspaceFolders": [workspace],
                           "capabilities": capabilities},
        )  # fmt: skip
        await server.notify("initialized", {})
        await server.notify("workspace/didChangeConfiguration", {"settings": SETTINGS})
        yield server
    finally:
        process.kill()
        await process.wait()


def _answer(request: dict[str, Any]) -> Any:
    if request["method"] != "workspace/configuration":
        return None
    return [SETTINGS.get(item.get("section", "")) for item in request["params"]["items"]]
