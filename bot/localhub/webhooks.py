"""Webhooks out: signed, recorded, sent in the background, and sent again on request."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Callable, Coroutine
from typing import Any

import httpx2

from bot.localhub import render
from bot.localhub.journal import Journal
from bot.localhub.state import JSON, App, Delivery, Repository, State, User

HOOK_SECONDS = 10.0
"""GitHub gives a receiver ten seconds: https://docs.github.com/en/webhooks/using-webhooks/best-practices-for-using-webhooks"""

Spawn = Callable[[Coroutine[Any, Any, None]], object]


def signature(secret: str, body: bytes) -> str:
    """Return the X-Hub-Signature-256 of `body`."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


class Webhooks:
    """The way out for events; `spawn` runs a coroutine in the background of the hub."""

    def __init__(self, state: State, base: str, spawn: Spawn, journal: Journal) -> None:
        self._state = state
        self._base = base
        self._spawn = spawn
        self._journal = journal
        self._pending = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._client = httpx2.AsyncClient(timeout=HOOK_SECONDS, trust_env=False)

    async def aclose(self) -> None:
        """Close the connections to the receivers."""
        await self._client.aclose()

    async def settled(self) -> None:
        """Wait until no delivery is under way."""
        await self._idle.wait()

    def emit(self, event: str, repository: Repository, sender: User, payload: JSON, *, app: App | None = None) -> None:
        """Tell every App, or `app` alone, that is installed on `repository` and subscribed to `event`."""
        for installation in self._state.installations.values():
            subscribed = event in installation.app.events and app in (None, installation.app)
            if repository.id not in installation.repositories or installation.suspended_at or not subscribed:
                continue
            body: JSON = {
                **payload,
                "repository": render.repository(self._base, repository),
                "sender": render.user(self._base, sender),
                "installation": {
                    "id": installation.id,
                    "node_id": render.node("Installation", installation.id),
                },
            }
            if repository.owner.type == "Organization":
                body["organization"] = render.organization(self._base, repository.owner)
            self.deliver(installation.app, event, body)

    def deliver(self, app: App, event: str, payload: JSON, *, foreign: bool = False) -> Delivery | None:
        """Send `payload` to the hook of `app` in the background; None when it has no hook.

        A `foreign` payload was made by somebody else, and no journal is kept of it.
        """
        if not foreign:
            self._journal.webhook(event, payload)
        if not app.webhook_url:
            return None
        delivery = Delivery(
            id=self._state.next_id(),
            guid=str(uuid.uuid4()),
            app=app,
            event=event,
            body=json.dumps(payload, ensure_ascii=False).encode(),
            action=payload.get("action"),
            installation_id=payload.get("installation", {}).get("id"),
            repository_id=payload.get("repository", {}).get("id"),
        )
        return self._start(delivery)

    def redeliver(self, earlier: Delivery) -> Delivery:
        """Send the same body under the same GUID again, as a new record."""
        return self._start(
            Delivery(
                id=self._state.next_id(),
                guid=earlier.guid,
                app=earlier.app,
                event=earlier.event,
                body=earlier.body,
                action=earlier.action,
                installation_id=earlier.installation_id,
                repository_id=earlier.repository_id,
                redelivery=True,
            )
        )

    def _start(self, delivery: Delivery) -> Delivery:
        self._state.deliveries.append(delivery)
        self._pending += 1
        self._idle.clear()
        self._spawn(self._send(delivery))
        return delivery

    async def _send(self, delivery: Delivery) -> None:
        app = delivery.app
        delivery.request_headers = {
            "Accept": "*/*",
            "Content-Type": "application/json",
            "User-Agent": f"GitHub-Hookshot/{delivery.guid[:7]}",
            "X-GitHub-Delivery": delivery.guid,
            "X-GitHub-Event": delivery.event,
            "X-GitHub-Hook-ID": str(app.hook_id),
            "X-GitHub-Hook-Installation-Target-ID": str(app.id),
            "X-GitHub-Hook-Installation-Target-Type": "integration",
            "X-Hub-Signature-256": signature(app.webhook_secret, delivery.body),
        }
        begun = time.monotonic()
        try:
            answer = await self._client.post(
                app.webhook_url or "", content=delivery.body, headers=delivery.request_headers
            )
        except httpx2.TimeoutException:
            delivery.status, delivery.status_code = "timed out", 504
        except httpx2.TransportError as error:
            delivery.status, delivery.status_code = f"failed to connect to host: {error}", 502
        else:
            delivery.status, delivery.status_code = answer.reason_phrase or str(answer.status_code), answer.status_code
            delivery.response_headers, delivery.response_body = dict(answer.headers), answer.text
        finally:
            delivery.duration = time.monotonic() - begun
            self._pending -= 1
            if not self._pending:
                self._idle.set()
