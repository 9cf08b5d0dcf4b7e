"""REST: the logs of workflow jobs, and the place apart from the API where they are kept."""

from __future__ import annotations

from starlette.responses import PlainTextResponse, RedirectResponse, Response

from bot.localhub.call import ApiError, Call, Routes, not_found

routes = Routes()


@routes("GET", "/repos/{owner}/{repo}/actions/jobs/{id:int}/logs")
async def job_log(call: Call) -> Response:
    """Answer where a job's log is kept: on another host, at an address that is good without a token."""
    repo = call.repo(permission="actions")
    kept = repo.job_logs.get(call.number("id"))
    if kept is None:
        raise not_found()
    elsewhere = call.base.replace("127.0.0.1", "localhost")
    return RedirectResponse(f"{elsewhere}/job-logs/{repo.full_name}/{call.number('id')}?sig={kept.signature}", 302)


@routes("GET", "/job-logs/{owner}/{repo}/{id:int}")
async def kept_log(call: Call) -> Response:
    """Answer with a log as Azure's storage does, which takes the signature and nothing else."""
    if "authorization" in call.request.headers:
        raise ApiError(400, "Authentication information is not given in the correct format.")
    repo = call.world.state.repository(f"{call.params['owner']}/{call.params['repo']}")
    kept = repo.job_logs.get(call.number("id")) if repo else None
    if kept is None or call.query("sig") != kept.signature:
        raise ApiError(403, "Server failed to authenticate the request.")
    return PlainTextResponse("\ufeff" + kept.text)
