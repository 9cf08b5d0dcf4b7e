"""REST: check runs, check suites and commit statuses."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from starlette.responses import Response

from bot.localhub import render, render_code, render_git
from bot.localhub.call import BY_PERSONAL_TOKEN, ApiError, Call, Routes, answer, invalid, not_found
from bot.localhub.rest_repos import commit_sha, get_commit
from bot.localhub.state import JSON, CheckRun, Repository, Status, now

routes = Routes()

REPO = "/repos/{owner}/{repo}"
STATUSES = ("queued", "in_progress", "completed", "waiting", "requested", "pending")
CONCLUSIONS = (
    "action_required",
    "cancelled",
    "failure",
    "neutral",
    "success",
    "skipped",
    "stale",
    "timed_out",
)
MOST_ANNOTATIONS = 50
LONGEST_TEXT = 65_535
"""Limits of one request, of texts in bytes: https://docs.github.com/en/rest/checks/runs#create-a-check-run"""
ACTION_LIMITS = {"label": 20, "description": 40, "identifier": 20}
MOST_ACTIONS = 3


def _writable(call: Call) -> Repository:
    repo = call.repo("read", "checks")
    if call.installation() is None:
        raise ApiError(403, BY_PERSONAL_TOKEN)
    return repo


def _run(call: Call, repo: Repository) -> CheckRun:
    run = repo.check_runs.get(call.number("id"))
    if run is None:
        raise not_found()
    return run


@routes("POST", REPO + "/check-runs")
async def create_check_run(call: Call) -> Response:
    """Make a check run on a commit."""
    repo = _writable(call)
    app = call.actor.through_app
    if app is None:
        raise ApiError(403, BY_PERSONAL_TOKEN)
    name, git = call.needed("name", str), call.git(repo)
    wanted = call.needed("head_sha", str)
    if await git.object_type(wanted) != "commit":
        raise ApiError(422, f"No commit found for SHA: {wanted}")
    branches = await git.refs("refs/heads/")
    branch = next((ref.removeprefix("refs/heads/") for ref, sha in branches.items() if sha == wanted), None)
    suite = call.world.suite(repo, app, wanted, branch)
    run = CheckRun(call.world.state.next_id(), app, suite.id, name, wanted)
    _apply(call, run)
    suite.waits = False
    run.started_at = run.started_at or now()
    repo.check_runs[run.id] = run
    _tell(call, repo, run, "created")
    return answer(render_code.check_run(call.base, repo, run), 201)


@routes("PATCH", REPO + "/check-runs/{id:int}")
async def update_check_run(call: Call) -> Response:
    """Change a check run of one's own App; annotations are added to those that are there."""
    repo = _writable(call)
    run = _run(call, repo)
    if run.app is not call.actor.through_app:
        raise ApiError(403, "Invalid app_id `check_run` can only be modified by the GitHub App that created it.")
    before = run.status
    _apply(call, run)
    repo.check_suites[run.suite_id].waits = False
    if run.status == "completed" and before != "completed":
        _tell(call, repo, run, "completed")
    return answer(render_code.check_run(call.base, repo, run))


def _tell(call: Call, repo: Repository, run: CheckRun, action: str) -> None:
    call.world.check_run_event(repo, call.user(), run, action)


def _apply(call: Call, run: CheckRun) -> None:
    status, conclusion = call.field("status", str), call.field("conclusion", str)
    if status not in (None, *STATUSES):
        raise invalid("CheckRun", "status")
    if conclusion not in (None, *CONCLUSIONS):
        raise invalid("CheckRun", "conclusion")
    completed_at, started_at = _time(call, "completed_at"), _time(call, "started_at")
    if status == "completed" and conclusion is None:
        raise ApiError(422, 'Invalid request.\n\n"conclusion" wasn\'t supplied.')
    output = _output(call)
    actions = _actions(call)
    run.name = call.field("name", str) or run.name
    run.external_id = call.field("external_id", str, run.external_id) or ""
    run.details_url = call.field("details_url", str, run.details_url)
    run.started_at = started_at or run.started_at
    if conclusion or status == "completed":
        run.status, run.conclusion, run.completed_at = "completed", conclusion, completed_at or now()
    elif status:
        run.status, run.conclusion, run.completed_at = status, None, None
    if output is not None:
        run.title, run.summary = output.get("title", run.title), output.get("summary", run.summary)
        run.text = output.get("text", run.text)
        run.annotations += output.get("annotations") or []
    if actions is not None:
        run.actions = actions


def _time(call: Call, name: str) -> datetime | None:
    text = call.field(name, str)
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise ApiError(422, f"Invalid request.\n\n{text} is not a valid date-time.") from error


def _output(call: Call) -> JSON | None:
    output: JSON | None = call.field("output", dict)
    if output is None:
        return None
    for name in ("title", "summary"):
        if call.request.method == "POST" and not isinstance(output.get(name), str):
            raise ApiError(422, f'Invalid request.\n\nNo subschema in "anyOf" matched: "{name}" wasn\'t supplied.')
    for name in ("summary", "text"):
        if len((output.get(name) or "").encode(errors="surrogatepass")) > LONGEST_TEXT:
            raise ApiError(
                422,
                "Validation Failed",
                [
                    {
                        "resource": "CheckRun",
                        "code": "custom",
                        "field": name,
                        "message": f"{name} exceeds a maximum bytesize of {LONGEST_TEXT}",
                    }
                ],
            )
    annotations: list[Any] = output.get("annotations") or []
    if len(annotations) > MOST_ANNOTATIONS:
        raise ApiError(
            422,
            f"Invalid request.\n\nNo more than {MOST_ANNOTATIONS} items are allowed; {len(annotations)} were supplied.",
        )
    for annotation in annotations:
        _check_annotation(annotation)
    return output


def _check_annotation(it: Any) -> None:
    kinds = {"path": str, "start_line": int, "end_line": int, "annotation_level": str, "message": str}
    for name, kind in kinds.items():
        if not isinstance(it, dict) or not isinstance(it.get(name), kind):
            raise ApiError(422, f'Invalid request.\n\n"{name}" wasn\'t supplied.')
    if it["annotation_level"] not in ("notice", "warning", "failure"):
        raise invalid("CheckAnnotation", "annotation_level")
    if it.get("start_column") and it["start_line"] != it["end_line"]:
        raise invalid("CheckAnnotation", "start_column")


def _actions(call: Call) -> list[JSON] | None:
    actions = call.field("actions", list)
    if actions is None:
        return None
    if len(actions) > MOST_ACTIONS:
        raise ApiError(422, f"Invalid request.\n\nNo more than {MOST_ACTIONS} items are allowed.")
    for action in actions:
        for name, limit in ACTION_LIMITS.items():
            if not isinstance(action, dict) or not isinstance(action.get(name), str):
                raise ApiError(422, f'Invalid request.\n\n"{name}" wasn\'t supplied.')
            if len(action[name]) > limit:
                raise ApiError(422, f"Invalid request.\n\nOnly {limit} characters are allowed in {name}.")
    return actions


@routes("GET", REPO + "/check-runs/{id:int}")
async def get_check_run(call: Call) -> Response:
    """Answer with one check run."""
    repo = call.repo(permission="checks")
    return answer(render_code.check_run(call.base, repo, _run(call, repo)))


@routes("GET", REPO + "/check-runs/{id:int}/annotations")
async def list_annotations(call: Call) -> Response:
    """List the annotations of a check run."""
    repo = call.repo(permission="checks")
    run = _run(call, repo)
    optional: JSON = dict.fromkeys(("start_column", "end_column", "title", "raw_details"))
    blob = f"{call.base}/{repo.full_name}/blob/{run.head_sha}/"
    return call.page(run.annotations, lambda it: {**optional, **it, "blob_href": blob + it["path"]})


@routes("POST", REPO + "/check-runs/{id:int}/rerequest")
async def rerequest_check_run(call: Call) -> Response:
    """Ask the App that made a check run to run it again."""
    repo = call.repo("write", "checks")
    run = _run(call, repo)
    call.world.rerequest(repo, call.user(), run)
    return answer({}, 201)


def _filtered(call: Call, runs: list[CheckRun]) -> list[CheckRun]:
    name, status, app = call.query("check_name"), call.query("status"), call.query("app_id")
    found = [
        run for run in runs if name in ("", run.name) and status in ("", run.status) and app in ("", str(run.app.id))
    ]
    if call.query("filter", "latest") == "latest":
        latest = {(run.app.id, run.name): run for run in sorted(found, key=lambda run: run.id)}
        found = list(latest.values())
    return sorted(found, key=lambda run: run.id, reverse=True)


@routes("GET", REPO + "/commits/{ref:path}/check-runs")
async def list_check_runs(call: Call) -> Response:
    """List the check runs of a commit; by default only the latest of each name and App."""
    repo = call.repo(permission="checks")
    sha = await commit_sha(call.git(repo), call.params["ref"])
    runs = _filtered(call, [run for run in repo.check_runs.values() if run.head_sha == sha])
    return call.page(runs, lambda run: render_code.check_run(call.base, repo, run), key="check_runs")


@routes("GET", REPO + "/commits/{ref:path}/check-suites")
async def list_check_suites(call: Call) -> Response:
    """List the check suites of a commit."""
    repo = call.repo(permission="checks")
    git = call.git(repo)
    head = await git.commit(await commit_sha(git, call.params["ref"]))
    suites = [suite for suite in repo.check_suites.values() if suite.head_sha == head.sha]
    return call.page(suites, lambda it: render_code.check_suite(call.base, repo, it, head), key="check_suites")


@routes("GET", REPO + "/check-suites/{id:int}")
async def get_check_suite(call: Call) -> Response:
    """Answer with one check suite."""
    repo = call.repo(permission="checks")
    suite = repo.check_suites.get(call.number("id"))
    if suite is None:
        raise not_found()
    head = await call.git(repo).commit(suite.head_sha)
    return answer(render_code.check_suite(call.base, repo, suite, head))


@routes("POST", REPO + "/check-suites/{id:int}/rerequest")
async def rerequest_check_suite(call: Call) -> Response:
    """Ask the App of a check suite to run all its checks again."""
    repo = call.repo("write", "checks")
    suite = repo.check_suites.get(call.number("id"))
    if suite is None:
        raise not_found()
    await call.world.rerequest_suite(repo, call.user(), suite)
    return answer({}, 201)


@routes("GET", REPO + "/check-suites/{id:int}/check-runs")
async def list_suite_check_runs(call: Call) -> Response:
    """List the check runs of a suite."""
    repo = call.repo(permission="checks")
    runs = _filtered(call, [run for run in repo.check_runs.values() if run.suite_id == call.number("id")])
    return call.page(runs, lambda run: render_code.check_run(call.base, repo, run), key="check_runs")


# statuses


@routes("POST", REPO + "/statuses/{sha}")
async def create_status(call: Call) -> Response:
    """Set a commit status; the newest of a context counts."""
    repo = call.repo("write", "statuses")
    sha, state = call.params["sha"], call.needed("state", str)
    if state not in ("error", "failure", "pending", "success"):
        raise invalid("Status", "state")
    description = call.field("description", str)
    if description and len(description) > 140:
        raise invalid("Status", "description", "custom", "description is too long (maximum is 140 characters)")
    if await call.git(repo).object_type(sha) != "commit":
        raise ApiError(422, f"No commit found for SHA: {sha}")
    status = Status(
        call.world.state.next_id(),
        sha,
        state,
        call.field("context", str) or "default",
        description,
        call.field("target_url", str),
        call.user(),
    )
    repo.statuses.append(status)
    return answer(render_code.status(call.base, repo, status), 201)


@routes("GET", REPO + "/commits/{ref:path}/statuses")
@routes("GET", REPO + "/statuses/{ref:path}")
async def list_statuses(call: Call) -> Response:
    """List the statuses of a commit, the newest first."""
    repo = call.repo(permission="statuses")
    sha = await commit_sha(call.git(repo), call.params["ref"])
    found = [status for status in reversed(repo.statuses) if status.sha == sha]
    return call.page(found, lambda status: render_code.status(call.base, repo, status))


@routes("GET", REPO + "/commits/{ref:path}/status")
async def combined_status(call: Call) -> Response:
    """Answer with the newest status of each context, and what they come to."""
    repo = call.repo(permission="statuses")
    sha = await commit_sha(call.git(repo), call.params["ref"])
    latest = list({status.context: status for status in repo.statuses if status.sha == sha}.values())
    states = {status.state for status in latest}
    state = "failure" if states & {"error", "failure"} else "success" if states == {"success"} else "pending"
    url = f"{render_git.repo_url(call.base, repo)}/commits/{sha}"
    shown = [render_code.status(call.base, repo, status) for status in call.on_page(latest)]
    for shape in shown:
        del shape["creator"]
    return answer(
        {
            "state": state,
            "statuses": shown,
            "sha": sha,
            "total_count": len(latest),
            "repository": render.minimal_repository(call.base, repo),
            "commit_url": url,
            "url": f"{url}/status",
        }
    )


@routes("GET", REPO + "/commits/{ref:path}/pulls")
async def list_pulls_of_commit(call: Call) -> Response:
    """List the pull requests whose head is this commit."""
    repo = call.repo(permission="pull_requests")
    sha = await commit_sha(call.git(repo), call.params["ref"])
    found = [(issue, issue.pull) for issue in repo.issues.values() if issue.pull and issue.pull.head_sha == sha]
    return call.page(found, lambda pair: render_code.pull(call.base, repo, *pair))


# Its path, a ref with slashes, swallows all of those above.
routes("GET", REPO + "/commits/{ref:path}")(get_commit)
