"""What the command line's flags do: submit, resume, list, plan, and print the schema."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from dotenv import dotenv_values

from orchestrator.control_plane import ControlPlane
from orchestrator.errors import StoreError, UsageError
from orchestrator.events import Event
from orchestrator.exits import EXIT_CAP, EXIT_COMPLETED, EXIT_INTERRUPTED, EXIT_NO_MODEL, EXIT_NOT_COMPLETED
from orchestrator.output import OutputFolder
from orchestrator.policy import combine
from orchestrator.policy_files import load_policy_file
from orchestrator.progress import follow, plan_text, summary
from orchestrator.providers.registry import BASE_URL_VARIABLES, KEY_VARIABLES
from orchestrator.report import report
from orchestrator.specs import JobSpec, ProjectFile, json_schema, load_project_file, with_flags
from orchestrator.state import ProjectState, ProjectStatus
from orchestrator.store import RunStore
from orchestrator.strict import nearest
from orchestrator.titles import checked_run_id, new_run_id

DEFAULT_OUTPUT_DIR = "./results"


def run(arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    """Do what the flags ask and return the exit status; raises `OrchestratorError` for what cannot be done."""
    if arguments.print_schema:
        print(json.dumps(json_schema(), indent=2, ensure_ascii=False))
        return EXIT_COMPLETED
    environment = environment_with_dotenv(env, Path(".env"))
    if arguments.offline:
        environment["ORCHESTRATOR_OFFLINE"] = "1"
    if arguments.list_projects:
        return asyncio.run(_list(environment, as_json=arguments.json))
    goes_on: list[str] = []
    try:
        return asyncio.run(_submit(arguments, environment, goes_on))
    except (KeyboardInterrupt, asyncio.CancelledError):
        print(" ".join(["Interrupted.", *goes_on]), file=sys.stderr)
        return EXIT_INTERRUPTED


def environment_with_dotenv(env: Mapping[str, str], path: Path) -> dict[str, str]:
    """Return the environment with the provider keys of a `.env` file; real variables win.

    A base URL of the file counts only with a key of the same file: a stray file must not lead a real key elsewhere.
    """
    merged = dict(env)
    if not path.is_file():
        return merged
    try:
        found = {name: value for name, value in dotenv_values(path, interpolate=False).items() if value}
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}", hint="Mend it, or remove it.") from error
    for provider, variables in KEY_VARIABLES.items():
        if any(env.get(variable) for variable in variables):
            continue
        taken = next((variable for variable in variables if variable in found), None)
        if taken is not None:
            merged[taken] = found[taken]
            base_url = BASE_URL_VARIABLES[provider]
            if base_url in found and not env.get(base_url):
                merged[base_url] = found[base_url]
    return merged


def exit_status(state: ProjectState) -> int:
    """Return the exit status that a run's ending earns (CONTRACT section 2)."""
    if state.outcome.code == "no_model":
        return EXIT_NO_MODEL
    if state.status in (ProjectStatus.BUDGET_EXHAUSTED, ProjectStatus.TIMED_OUT):
        return EXIT_CAP
    if state.status in (ProjectStatus.COMPLETED, ProjectStatus.WAITING):
        return EXIT_COMPLETED
    return EXIT_NOT_COMPLETED


async def _list(env: Mapping[str, str], *, as_json: bool) -> int:
    async with ControlPlane.open(env) as plane:
        rows = await plane.list()
    if as_json:
        projects = [
            {
                "id": row.id,
                "title": row.title,
                "status": row.status.value,
                "score": row.score,
                "spent_usd": row.spent_usd,
                "created_at": row.created_at,
            }
            for row in rows
        ]
        print(json.dumps({"projects": projects}, indent=2))
        return EXIT_COMPLETED
    if not rows:
        print("No run yet.")
    for row in rows:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(row.created_at))
        print(f"{row.id:40}  {row.status.value:16}  {row.score:4.2f}  ${row.spent_usd:9.4f}  {when}  {row.title}")
    return EXIT_COMPLETED


async def _submit(arguments: argparse.Namespace, env: Mapping[str, str], goes_on: list[str]) -> int:
    """Run or resume, deliver what was built however it ended, and say so.

    `goes_on` gets the command that goes on as soon as there is a run, for whoever is interrupted, once or more often.
    """
    file = _project_file(arguments)
    concurrency = arguments.concurrency or (file.concurrency if file else None)
    async with ControlPlane.open(env, concurrency=concurrency) as plane:
        known = await _known(plane, arguments)
        if known is not None:
            goes_on.append(_resume(arguments.resume or arguments.project_id))
        job = _job(arguments, file, known)
        for warning in plane.policy_report(job.policies).warnings:
            print(f"Warning: {warning}", file=sys.stderr)
        run_id = arguments.resume or arguments.project_id or new_run_id(job.title)
        folder = arguments.output_dir or (await plane.output_dir(run_id) if known else "") or DEFAULT_OUTPUT_DIR
        output = OutputFolder.at(folder)
        if known is not None and job.description != known.description:
            await _warn_of_another_job(plane, run_id)
        out = sys.stderr if arguments.json else sys.stdout
        print(f"Run {run_id}", file=out, flush=True)
        if "offline" in plane.providers:
            print("Using the built-in offline model: starter projects, no vendor's model.", file=out, flush=True)
        _stop_on_sigterm()
        try:
            async with follow(out, job.budget) as show:

                async def on_event(event: Event) -> None:
                    goes_on[:] = [_resume(run_id)]  # a run that tells something is in the store
                    await show(event)

                state = await plane.submit(
                    job,
                    run_id=run_id,
                    output=output,
                    plan_only=arguments.plan,
                    retry_failed=known is not None,
                    on_event=on_event,
                )
        except asyncio.CancelledError:
            interrupted = await _deliver_interrupted(plane, run_id, output, plan_only=arguments.plan)
            if arguments.json and interrupted is not None:
                print(json.dumps(report(interrupted), ensure_ascii=False), flush=True)
            raise
        except StoreError as error:
            raise type(error)(error.message, hint=f"{error.hint}\n{_resume(run_id)}") from error
    _say(state, output, arguments)
    return exit_status(state)


async def _warn_of_another_job(plane: ControlPlane, run_id: str) -> None:
    state = await plane.state(run_id)
    if state is not None and state.tasks:
        print(
            f"Warning: {run_id} goes on with its own plan, for {state.title!r}. "
            "To build something else, give another --project-id.",
            file=sys.stderr,
        )


def _resume(run_id: str) -> str:
    return f"Go on with: python -m orchestrator --resume {run_id}"


async def _deliver_interrupted(
    plane: ControlPlane, run_id: str, output: OutputFolder, *, plan_only: bool
) -> ProjectState | None:
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()
    return await (plane.state(run_id) if plan_only else plane.deliver(run_id, output))


def _say(state: ProjectState, output: OutputFolder, arguments: argparse.Namespace) -> None:
    out = sys.stderr if arguments.json else sys.stdout
    if arguments.plan:
        print(plan_text(state), file=out)
    else:
        print(summary(state, str(output.root)), file=out)
    if arguments.json:
        print(json.dumps(report(state), ensure_ascii=False))


async def _known(plane: ControlPlane, arguments: argparse.Namespace) -> JobSpec | None:
    """Return the stored job of the run that the flags name, or None for a new run."""
    if arguments.resume and arguments.project_id and arguments.resume != arguments.project_id:
        raise UsageError("--resume and --project-id name two runs.", hint="Give one of them.")
    named = arguments.resume or arguments.project_id
    if named is None:
        return None
    known = await plane.job(checked_run_id(named))
    if known is None and arguments.resume:
        ids = [row.id for row in await plane.list()]
        raise UsageError(
            f"--resume: there is no run {named!r}{nearest(named, ids) if ids else ''}",
            hint="--list-projects shows every known run.",
        )
    if repository := await RunStore(plane.database).source(named):
        raise UsageError(
            f"The run {named} is about {repository} and goes on there, not in a folder.",
            hint="Comment `/orchestrate resume` where it was asked for, or begin a run of your own.",
        )
    return known


def _project_file(arguments: argparse.Namespace) -> ProjectFile | None:
    """Return what `--file` names; a file in the older flat form is said to be deprecated, with what replaces it."""
    if arguments.file and arguments.project:
        raise UsageError("--file and --project exclude each other.", hint="Give one of them.")
    if not arguments.file:
        return None
    file = load_project_file(Path(arguments.file))
    if file.note:
        print(f"orchestrator: warning: {file.note}", file=sys.stderr)
    return file


def _job(arguments: argparse.Namespace, file: ProjectFile | None, known: JobSpec | None) -> JobSpec:
    if file is not None:
        spec = file.job
    elif known is not None:
        spec = known
    elif arguments.project is not None:
        spec = JobSpec()
    else:
        raise UsageError("Nothing to build.", hint="Give --project TEXT or --file PATH; --help shows all flags.")
    job = with_flags(
        spec,
        project=arguments.project,
        criteria=arguments.criteria,
        max_usd=arguments.budget,
        max_time_seconds=arguments.max_time,
        app_type=arguments.app_type,
    )
    if arguments.policy:
        hierarchy = load_policy_file(arguments.policy)
        for stranger in hierarchy.strangers(job.budget.team, job.budget.job):
            print(f"Warning: {arguments.policy}: {stranger}", file=sys.stderr)
        flagged = hierarchy.policies_for(job.budget.team, job.budget.job)
        job = replace(job, policies=combine(job.policies, flagged))
    return job


def _stop_on_sigterm() -> None:
    """Let SIGTERM stop the run as an interrupt does: checkpointed, with the command that goes on."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
