"""The bot's routes: verify, keep, answer; the work itself is `bot.jobs`'s."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp

from bot.dashboard.access import Gate
from bot.dashboard.routes import Report, dashboard_routes
from bot.described import described
from bot.intake import Asked, CloseAsked, LintAsked, Rules, named, read_delivery, read_payload, repository_of, signed
from bot.jobs import Jobs
from bot.logs import fields
from bot.metrics import CONTENT_TYPE, Kept, Metrics
from bot.origins import made_out, run_meant
from bot.readiness import Look, Readiness
from bot.settings import Settings
from bot.shared_jobs import SharedJobs
from orchestrator.errors import StoreError
from orchestrator.github.triggers.trigger import Ignored
from orchestrator.store import Database, Delivery, DeliveryStore, RunStore
from orchestrator.telemetry import Telemetry

MAX_BODY_BYTES = 25 * 2**20
"""GitHub's own cap for a payload.

Source: https://docs.github.com/en/webhooks/webhook-events-and-payloads#payload-cap
"""
DISCARD_BYTES = 4 * MAX_BODY_BYTES
READ_SECONDS = 30.0
SMALL_BYTES = 2**20
LARGE_AT_ONCE = 4
"""How many bodies above `SMALL_BYTES` are held in memory at once; whose sender knows the secret is known only after."""
STORE_SECONDS = 8.0
"""GitHub waits ten seconds for an answer."""
RETRY_AFTER_SECONDS = 60

SIGNATURE = re.compile(r"sha256=[0-9a-f]{64}", re.ASCII)

log = logging.getLogger(__name__)
Stored = TypeVar("Stored")


class Refused(Exception):
    """A delivery that is refused before it is read; `label` is its name among the metrics."""

    def __init__(self, status: int, label: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.label = label


def create_app(
    settings: Settings,
    database: Database,
    jobs: Jobs | SharedJobs,
    rules: Rules,
    report: Report,
    telemetry: Callable[[], Telemetry] = Telemetry,
) -> ASGIApp:
    """Return the bot as an ASGI application behind its gate.

    `jobs` gets what is accepted, `report` gives a run's report.json, `telemetry` what runs did since the start.
    """
    app = FastAPI(title="orchestrator", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    metrics = Metrics(telemetry)
    intake = Intake(database, jobs, rules)
    readiness = Readiness(database)
    bodies = Bodies(settings.webhook_secrets)

    async def webhook(request: Request) -> Response:
        headers = request.headers
        about = {"delivery": headers.get("x-github-delivery", "")[:80], "kind": headers.get("x-github-event", "")[:60]}
        try:
            body = await bodies.verified(request)
            status, label, answer = await intake.take(about["kind"], about["delivery"], _payload(body))
        except Refused as refused:
            status, label, answer = refused.status, refused.label, {"error": str(refused)}
        metrics.answered(label)
        log.info("delivery", extra=fields(**about, answer=label, status=status, **_ids(answer)))
        retry = {"Retry-After": str(RETRY_AFTER_SECONDS)} if status == 503 else None
        return JSONResponse(answer, status, headers=retry)

    async def healthz() -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz() -> Response:
        missing = [] if jobs.alive else ["the worker takes up nothing"]
        if not await readiness.writable():
            missing.append("the database cannot be written")
        if missing:
            return JSONResponse({"status": "not ready", "reason": "; ".join(missing)}, 503)
        return JSONResponse({"status": "ready"})

    async def look() -> Kept:
        runs, spent = await RunStore(database).totals()
        return Kept(runs, spent, await DeliveryStore(database).queued_count(), await jobs.pausing())

    stored = Look(look, "the database cannot be read")

    async def metrics_text() -> Response:
        rendered = metrics.render(await stored.found(), working=len(jobs.working), finished=jobs.finished)
        return Response(rendered, media_type=CONTENT_TYPE)

    app.add_api_route("/webhook", webhook, **described("/webhook", ["POST"]))
    answers: dict[str, Callable[[], Awaitable[Response]]] = {
        "/healthz": healthz,
        "/readyz": readyz,
        "/metrics": metrics_text,
    }
    for path, answer in answers.items():
        for method in ("GET", "HEAD"):
            app.add_api_route(path, answer, **described(path, [method]))
    app.include_router(dashboard_routes(database, jobs, report))
    app.add_exception_handler(StoreError, _unreadable)
    return Gate(app, settings)


class Intake:
    """Keeps what a verified delivery asks for and says how it is answered."""

    def __init__(self, database: Database, jobs: Jobs | SharedJobs, rules: Rules) -> None:
        self._database = database
        self._deliveries = DeliveryStore(database)
        self._jobs = jobs
        self._rules = rules
        self._storing: set[asyncio.Future[Any]] = set()

    async def take(self, event: str, delivery_id: str, payload: dict[str, object]) -> tuple[int, str, dict[str, str]]:
        """Return the answer's status, its name among the metrics, and its JSON; raises `Refused` if it is not kept."""
        asked = read_delivery(event, delivery_id, payload, self._rules, self._database.clock())
        if isinstance(asked, Ignored):
            return await self._nothing(event, delivery_id, payload, asked.reason)
        if isinstance(asked, LintAsked):
            return await self._lint(asked)
        if isinstance(asked, CloseAsked):
            stored, _ = await self._kept(self._keep(asked.delivery()))
            if stored != "queued":
                return 200, stored, {"status": stored}
            return 200, "ignored", _ignored("it starts no run; what it ends or moves is seen to")
        if asked.pressed:
            known = await self._kept(made_out(self._database, asked))
            if known is None:
                return await self._nothing(event, delivery_id, payload, "the check run belongs to no run of ours")
            asked = known
        stored, run_id = await self._kept(self._queue(asked))
        if stored != "queued":
            return 200, stored, {"status": stored}
        if asked.starts or asked.follows:
            return 202, "queued", {"status": "queued", "run_id": run_id}
        return 200, "ignored", _ignored("the comment starts no run; it is answered on GitHub")

    async def _nothing(
        self, event: str, delivery_id: str, payload: dict[str, object], reason: str
    ) -> tuple[int, str, dict[str, str]]:
        nothing = Delivery(delivery_id, event, repository_of(payload), "{}")
        stored, _ = await self._kept(self._keep(nothing))
        return 200, stored, _ignored(reason) if stored == "ignored" else {"status": stored}

    async def _lint(self, asked: LintAsked) -> tuple[int, str, dict[str, str]]:
        """Keep a lint, and of `Re-run all` the re-run of the run's own checks as a delivery beside it."""
        again, run_id = "", ""
        if asked.rerun is not None and (rerun := await self._kept(made_out(self._database, asked.rerun))):
            again, run_id = await self._kept(self._keep(rerun.delivery(rerun.trigger.run)))
        stored, _ = await self._kept(self._keep(asked.delivery()))
        if stored != "queued":
            return 200, stored, {"status": stored}
        if again == "queued":
            return 202, again, {"status": again, "run_id": run_id}
        return 200, "ignored", _ignored("it starts no run; a spec or policy file that it touches is linted")

    async def _queue(self, asked: Asked) -> tuple[str, str]:
        existing = await run_meant(self._deliveries, asked)
        return await self._keep(asked.delivery(existing))

    async def _keep(self, delivery: Delivery) -> tuple[str, str]:
        return await self._jobs.keep(delivery), delivery.run_id

    async def _kept(self, keeping: Awaitable[Stored]) -> Stored:
        # A store that is slow beyond GitHub's patience may still succeed: then the work goes on, and a redelivery is
        # a duplicate. Cancelling it here could leave a delivery that is stored and that nobody works on.
        task = asyncio.ensure_future(keeping)
        self._storing.add(task)
        task.add_done_callback(self._storing.discard)
        try:
            return await asyncio.wait_for(asyncio.shield(task), STORE_SECONDS)
        except (StoreError, TimeoutError) as error:
            log.exception("a delivery could not be stored")
            raise Refused(503, "unstored", "The delivery could not be stored; send it again later.") from error


class Bodies:
    """Reads the bodies of deliveries, of which only few large ones are in memory at a time."""

    def __init__(self, webhook_secrets: tuple[str, ...]) -> None:
        self._secrets = webhook_secrets
        self._large = asyncio.Semaphore(LARGE_AT_ONCE)

    async def verified(self, request: Request) -> bytes:
        """Return the raw body of a delivery that is well-formed and signed; raises `Refused`.

        What the headers alone show to be wrong is refused before anything is read.
        """
        headers = request.headers
        signature = headers.get("x-hub-signature-256", "")
        if not named(headers.get("x-github-event", ""), headers.get("x-github-delivery", "")):
            raise Refused(400, "malformed", "X-GitHub-Event and X-GitHub-Delivery are needed.")
        if not _too_large(headers.get("content-length", "")):
            if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
                raise Refused(415, "wrong_type", "Set the webhook's content type to application/json.")
            if not SIGNATURE.fullmatch(signature):
                raise _unsigned()
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(READ_SECONDS):
                    body = await self._read(request, stack)
            except TimeoutError as error:
                raise Refused(408, "too_slow", f"The body was not read within {READ_SECONDS:g} seconds.") from error
            except ClientDisconnect as error:
                raise Refused(400, "malformed", "The body ended early.") from error
            if not signed(body, signature, self._secrets):
                raise _unsigned()
        return body

    async def _read(self, request: Request, stack: AsyncExitStack) -> bytes:
        """Read at most `MAX_BODY_BYTES`; of a larger body some more is discarded, so that its sender sees the answer.

        A body above `SMALL_BYTES` waits for a place among the large ones, which it has until the stack unwinds.
        """
        too_large = _too_large(request.headers.get("content-length", ""))
        chunks: list[bytes] = []
        size, is_large = 0, False
        async for chunk in request.stream():
            size += len(chunk)
            too_large = too_large or size > MAX_BODY_BYTES
            if too_large:
                chunks.clear()
                if size > DISCARD_BYTES:
                    break
                continue
            if size > SMALL_BYTES and not is_large:
                await stack.enter_async_context(self._large)
                is_large = True
            chunks.append(chunk)
        if too_large:
            raise Refused(413, "too_large", f"A delivery has at most {MAX_BODY_BYTES} bytes.")
        return b"".join(chunks)


def _too_large(declared: str) -> bool:
    return declared.isdigit() and int(declared[:20]) > MAX_BODY_BYTES


def _unsigned() -> Refused:
    return Refused(401, "unsigned", "X-Hub-Signature-256 is missing or does not match the webhook's secret.")


async def _unreadable(request: Request, error: Exception) -> Response:
    """Answer a page that needs the database while it does not answer."""
    log.error("a page could not be shown", extra=fields(path=request.url.path, reason=str(error)))
    said = "The database cannot be used just now; the bot's log says why. Try again later."
    retry = {"Retry-After": str(RETRY_AFTER_SECONDS)}
    if request.url.path.startswith("/api/"):
        return JSONResponse({"error": said}, 503, headers=retry)
    return PlainTextResponse(f"{said}\n", 503, headers=retry)


def _payload(body: bytes) -> dict[str, object]:
    try:
        return read_payload(body)
    except ValueError as error:
        raise Refused(400, "malformed", f"The body is not a JSON object: {error}.") from error


def _ignored(reason: str) -> dict[str, str]:
    return {"status": "ignored", "reason": reason}


def _ids(answer: dict[str, str]) -> dict[str, str]:
    return {"run": answer["run_id"]} if "run_id" in answer else {}
