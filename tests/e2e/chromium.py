"""Headless Chromium, driven over a pipe by its own protocol: https://chromedevtools.github.io/devtools-protocol/."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SECONDS = 120
# As root, without a screen, and without looking up the browser vendor's hosts.
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
    "--remote-debugging-pipe",
)  # fmt: skip


class Chromium:
    """One browser with one page; `complaints` is what a developer would see in red or yellow on its console."""

    def __init__(self, reading: int, writing: int) -> None:
        self.complaints: list[str] = []
        self._reading, self._writing = reading, writing
        self._buffer = b""
        self._number = 0
        self._session: dict[str, str] = {}
        self._idle: set[str] = set()
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._session = {"sessionId": session}
        for domain in ("Page", "Runtime", "Log"):
            self.ask(f"{domain}.enable")
        self.ask("Page.setLifecycleEventsEnabled", enabled=True)

    def open(self, address: str, text: str) -> None:
        """Open a page, and wait until it shows a text and its network is still."""
        loader = self.ask("Page.navigate", url=address)["loaderId"]
        looking = f"document.body.innerText.includes({json.dumps(text)}) ? done() : setTimeout(look, 50)"
        waiting = f"new Promise((done) => {{ const look = () => {looking}; look(); }})"
        self.ask("Runtime.evaluate", expression=waiting, awaitPromise=True)
        while loader not in self._idle:
            self._note(self._next())

    def press(self, selector: str, text: str) -> None:
        """Click an element, and wait until a page that follows shows a text and its network is still."""
        # Not at once: the answer to the command must come before the page goes.
        self.run(f"setTimeout(() => document.querySelector({json.dumps(selector)}).click(), 0)")
        shown = False
        while not shown:
            before = set(self._idle)
            while self._idle == before:
                self._note(self._next())
            shown = self.run(f"document.body.innerText.includes({json.dumps(text)})")

    def run(self, expression: str) -> Any:
        """Return what an expression is worth on the page."""
        return self.ask("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def screenshot(self, path: Path) -> None:
        """Save what the page shows, all of it, as PNG."""
        taken = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(taken["data"]))

    def ask(self, method: str, **parameters: object) -> dict[str, Any]:
        """Send a command and return its result; events that come meanwhile are noted."""
        self._number += 1
        command = {"id": self._number, "method": method, "params": parameters, **self._session}
        os.write(self._writing, json.dumps(command).encode() + b"\0")
        while (message := self._next()).get("id") != self._number:
            self._note(message)
        assert "error" not in message, message
        result: dict[str, Any] = message["result"]
        return result

    def _next(self) -> dict[str, Any]:
        deadline = time.monotonic() + SECONDS
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._reading], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"Chromium said nothing for {SECONDS} seconds"
            chunk = os.read(self._reading, 1 << 16)
            assert chunk, "Chromium ended"
            self._buffer += chunk
        text, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        return message

    def _note(self, message: dict[str, Any]) -> None:
        said = message.get("params", {})
        match message.get("method"):
            case "Runtime.consoleAPICalled" if said["type"] in ("error", "warning", "assert"):
                self.complaints.append(" ".join(str(one.get("value", one)) for one in said["args"]))
            case "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(said["exceptionDetails"]))
            case "Log.entryAdded" if said["entry"]["level"] in ("error", "warning"):
                self.complaints.append(f"{said['entry']['text']} {said['entry'].get('url', '')}")
            case "Page.lifecycleEvent" if said["name"] == "networkIdle":
                self._idle.add(said["loaderId"])


@contextlib.contextmanager
def chromium(profile: Path) -> Iterator[Chromium]:
    """Start Chromium with a new profile, and end it with all that it started."""
    (commands, send), (receive, events) = os.pipe(), os.pipe()
    started = subprocess.Popen(
        # It reads commands from descriptor 3 and writes events to descriptor 4.
        [
            "bash",
            "-c",
            f'exec "$@" 3<&{commands} 4>&{events}',
            "bash",
            "chromium",
            *FLAGS,
            f"--user-data-dir={profile}",
        ],
        env={**os.environ, "HOME": str(profile)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(commands, events),
        start_new_session=True,
    )
    os.close(commands)
    os.close(events)
    try:
        yield Chromium(receive, send)
    finally:
        os.killpg(started.pid, 9)
        started.wait()
        os.close(send)
        os.close(receive)
