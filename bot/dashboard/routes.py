"""The dashboard's routes: pages for people and the same as JSON."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request
from starlette.datastructures import QueryParams
from starlette.responses import HTMLResponse, JSONResponse, Response

from bot.dashboard.pages import (
    RunLine,
    moment,
    previews_page,
    queued_page,
    run_page,
    runs_page,
    stylesheet,
    unknown_page,
)
from bot.described import described
from bot.jobs import Jobs
from bot.shared_jobs import SharedJobs
from orchestrator.github.staging.preview import Preview, shown
from orchestrator.github.triggers.spec_change import is_lint
from orchestrator.state import ProjectState, ProjectStatus, TaskStatus
from orchestrator.store import AuditStore, Database, PreviewStore, RunRow, RunStore

PAGE_SIZE = 25
API_PAGE_SIZE = 50
MAX_PAGE_SIZE = 100
MAX_PAGE = 1000


Report = Callable[[ProjectState], dict[str, Any]]


def dashboard_routes(database: Database, jobs: Jobs | SharedJobs, report: Report) -> APIRouter:
    """Return the routes of the pages and the API; a run that is accepted and not begun shows as queued.

    `report` gives a run's report.json.
    """
    router, runs = APIRouter(), RunStore(database)

    async def index(request: Request) -> Response:
        page = _number(request.query_params, "page", default=1, highest=MAX_PAGE)
        unborn, rows, more = await _page_of(runs, jobs, page, PAGE_SIZE)
        queued = [RunLine(run_id, run_id, ProjectStatus.QUEUED) for run_id in unborn]
        lines = [await _line(runs, row) for row in rows]
        return HTMLResponse(runs_page([*queued, *lines], page=page, more=more))

    async def one(request: Request) -> Response:
        run_id = request.path_params["run_id"]
        state = await runs.state(run_id)
        previews = shown(Preview.from_json(text) for text in await PreviewStore(database, run_id).kept())
        if state is not None:
            return HTMLResponse(run_page(state, previews))
        if previews:
            return HTMLResponse(previews_page(run_id, previews))
        if run_id in await _unborn(runs, jobs):
            return HTMLResponse(queued_page(run_id))
        return HTMLResponse(unknown_page(run_id), 404)

    async def api_index(request: Request) -> Response:
        size = _number(request.query_params, "per_page", "limit", default=API_PAGE_SIZE, highest=MAX_PAGE_SIZE)
        page = _number(request.query_params, "page", default=1, highest=MAX_PAGE)
        unborn, rows, _ = await _page_of(runs, jobs, page, size)
        queued = [{"id": run_id, "status": "queued"} for run_id in unborn]
        return JSONResponse({"runs": [*queued, *map(_row, rows)]})

    async def api_one(request: Request) -> Response:
        run_id = request.path_params["run_id"]
        state = await runs.state(run_id)
        if state is not None:
            return JSONResponse(report(state))
        if run_id in await _unborn(runs, jobs):
            return JSONResponse({"project_id": run_id, "status": "queued"})
        return JSONResponse({"error": "There is no run with this id."}, 404)

    async def api_audit(request: Request) -> Response:
        entries = await AuditStore(database, request.path_params["run_id"]).entries()
        if not entries:
            return JSONResponse({"error": "Nothing is known of a run with this id."}, 404)
        rows = [{**asdict(entry), "at": moment(entry.at)} for entry in entries]
        return JSONResponse({"audit": rows})

    async def style(request: Request) -> Response:
        return Response(stylesheet(), media_type="text/css")

    answers: dict[str, Callable[[Request], Awaitable[Response]]] = {
        "/": index,
        "/runs/{run_id}": one,
        "/api/runs": api_index,
        "/api/runs/{run_id}": api_one,
        "/api/runs/{run_id}/audit": api_audit,
        "/dashboard.css": style,
    }
    for path, answer in answers.items():
        for method in ("GET", "HEAD"):
            router.add_api_route(path, answer, **described(path, [method]))
    return router


async def _page_of(
    runs: RunStore, jobs: Jobs | SharedJobs, page: int, size: int
) -> tuple[list[str], tuple[RunRow, ...], bool]:
    """Return a page of the one list that begins with what is queued: queued ids, runs, and whether more follow."""
    unborn = await _unborn(runs, jobs)
    first, last = (page - 1) * size, page * size
    newest = await runs.list(max(0, last - len(unborn)) + 1)
    skipped = max(0, first - len(unborn))
    shown = newest[skipped : max(0, last - len(unborn))]
    return unborn[first:last], shown, len(unborn) + len(newest) > last


async def _unborn(runs: RunStore, jobs: Jobs | SharedJobs) -> list[str]:
    """Return the ids of runs that are accepted and not yet in the store, the oldest first."""
    accepted = (it for it in await jobs.unfinished() if it.actor and not is_lint(it.run_id))
    ids = dict.fromkeys(it.run_id for it in accepted)
    return [run_id for run_id in ids if await runs.job(run_id) is None]


async def _line(runs: RunStore, row: RunRow) -> RunLine:
    state = await runs.state(row.id)
    results = state.results.values() if state else ()
    return RunLine(
        id=row.id,
        title=row.title,
        status=row.status,
        score=row.score,
        tasks_done=sum(result.status is TaskStatus.COMPLETED for result in results),
        tasks=len(state.tasks) if state else 0,
        spent_usd=row.spent_usd,
        max_usd=state.budget.max_usd if state else 0.0,
        updated_at=row.updated_at,
    )


def _row(row: RunRow) -> dict[str, object]:
    return {
        "id": row.id,
        "status": row.status.value,
        "title": row.title,
        "score": row.score,
        "spent_usd": row.spent_usd,
        "created_at": moment(row.created_at),
        "updated_at": moment(row.updated_at),
    }


def _number(query: QueryParams, *names: str, default: int, highest: int) -> int:
    """Return the first of the parameters that is a whole number, from 1 to `highest`; whatever else is no error."""
    for name in names:
        text = query.get(name, "")
        if text.isascii() and text.isdigit():
            return max(1, min(highest, int(text[:9])))
    return default
