"""The story of one step: inputs and event in, a command handled, outputs, summary and annotations out."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from action.event import Asked, asked_by, origin
from action.inputs import Inputs, Runner, fail_on, half_of, process_environment, secrets_of
from action.outputs import (
    Ending,
    exit_status,
    fenced,
    masks,
    output_values,
    remarks,
    write_outputs,
    write_report,
    write_summary,
)
from action.plane import InputPlane
from orchestrator.codes import Code
from orchestrator.control_plane import ControlPlane
from orchestrator.errors import OrchestratorError, SpecError, UsageError
from orchestrator.github.api.auth import GitHubConnection
from orchestrator.github.rendering.sanitize import Redactor
from orchestrator.github.runs.rehearsal import MemoryPreviews, Previews
from orchestrator.github.staging.preview import Preview
from orchestrator.github.stories.follow import abandon
from orchestrator.github.stories.halves import generate, publish
from orchestrator.github.stories.handler import Earlier, HandledRun, Progress, handle
from orchestrator.github.triggers.command import Command
from orchestrator.github.triggers.trigger import Ignored
from orchestrator.hidden import visible
from orchestrator.operator_config import OperatorConfig, load_operator_config, operator_config_path
from orchestrator.output import OutputFolder
from orchestrator.store import ContentStore, DeliveryStore, EffectStore, PreviewStore

ExceptHook = Callable[[type[BaseException], BaseException, TracebackType | None], None]

INTERRUPTED = (
    "The job was cancelled. Run it again; with a shared ORCHESTRATOR_DATABASE_URL it goes on where it stopped."
)


def main() -> int:
    """Run the step and return its exit status (CONTRACT section 5)."""
    env = dict(os.environ)
    secrets = secrets_of(env)
    redactor = Redactor(secrets)
    print(*masks(secrets), sep="\n", flush=True)

    # 1. What makes the step fail, and where the runner wants to be told, come before anything that may go wrong.
    try:
        runner, fails_on, half = Runner.from_environment(env), fail_on(env), half_of(env)
    except UsageError as error:
        print(*remarks(_failed(error), redactor), sep="\n", flush=True)
        return error.exit_status
    if half == "generate":
        # What an earlier run left on this machine is not this one's.
        shutil.rmtree(runner.bundle, ignore_errors=True)
        runner = replace(runner, reports=runner.bundle)
    sys.excepthook = _internal_failure(runner, redactor, fails_on)

    # 2. Everything that is written meanwhile may hold a model's words, so nothing of it may act.
    with fenced(sys.stdout):
        try:
            ending = asyncio.run(_step(env, runner, secrets, redactor))
        except (KeyboardInterrupt, asyncio.CancelledError):
            ending = Ending("interrupted", INTERRUPTED, code=Code.INTERRUPTED, exit_status=130)
        except OrchestratorError as error:
            ending = _failed(error)

    # 3. What came of it, for the next steps, for people and for the diff.
    _publish(runner, ending, redactor)
    return exit_status(ending, fails_on)


async def _step(env: Mapping[str, str], runner: Runner, secrets: tuple[str, ...], redactor: Redactor) -> Ending:
    """Handle what the event and the inputs ask for; raises `OrchestratorError` for what cannot be said on GitHub."""
    _stop_on_sigterm()

    def tell(text: str) -> None:
        print(redactor(visible(text)), flush=True)

    async def told(progress: Progress) -> None:
        tell(f"{progress.step}: {progress.detail}")

    inputs = Inputs.from_environment(env, runner.workspace)
    opened = process_environment(env, inputs, runner)
    operator = _operator(opened, inputs)
    shared = bool(env.get("ORCHESTRATOR_DATABASE_URL"))
    asked = asked_by(_payload(env), env, inputs, bots=operator.bots, shared=shared)
    if isinstance(asked, Ignored):
        tell(f"ignored: {asked.reason}")
        return Ending("ignored", asked.reason, code=Code.IGNORED)
    github = GitHubConnection.from_environment(opened)
    if inputs.half == "publish":
        if keys := sorted(name for name, value in env.items() if name.endswith("_API_KEY") and value):
            tell(f"This half needs no keys; take them out of its job: {', '.join(keys)}.")
        previews: Previews = MemoryPreviews()
        handled = await publish(
            asked.trigger,
            asked.command,
            runner.bundle,
            github=github,
            operator=operator,
            secrets=secrets,
            spec_path=inputs.spec,
            progress=told,
            previews=previews,
        )
        return _staged(Ending.of(handled, requester=asked.trigger.actor), await previews.kept())
    async with ControlPlane.open(opened) as plane:
        github.count_content(operator.content_writes_per_hour, lambda bucket: ContentStore(plane.database, bucket))
        if "offline" in plane.providers:
            tell("Using the built-in offline model: starter projects, no vendor's model.")
        if inputs.half == "generate":
            handled = await generate(
                asked.trigger,
                asked.command,
                runner.bundle,
                github=github,
                plane=InputPlane(plane, tell, inputs.criteria),
                effects=EffectStore(plane.database, asked.run_id),
                operator=operator,
                secrets=secrets,
                spec_path=inputs.spec,
                progress=told,
            )
            return Ending.of(handled, requester=asked.trigger.actor, unpublished=True)
        earlier = await _earlier(plane, asked) if shared else None
        previews = PreviewStore(plane.database, earlier.run_id if earlier else asked.run_id)
        try:
            handled = await _run(
                plane, asked, inputs, github, operator, secrets, previews, earlier, shared=shared, tell=tell, told=told
            )
        finally:
            # Nobody takes up by itself what a job leaves: no check run may stay open (SECURITY 36).
            if earlier is not None and (left := await abandon(github, earlier, redactor, INTERRUPTED)):
                tell(left)
        kept = await previews.kept()
    folder = inputs.output_dir.relative_to(runner.workspace.resolve()).as_posix() if inputs.output_dir else ""
    return _staged(Ending.of(handled, requester=asked.trigger.actor, folder=folder), kept)


def _staged(ending: Ending, kept: Iterable[str]) -> Ending:
    """Return the ending with its previews, if any: what is only staged is there for nobody, nor for a later step."""
    previews = tuple(map(Preview.from_json, kept))
    return replace(ending, branch="", pull_request=None, pull_request_url="", previews=previews) if previews else ending


async def _run(
    plane: ControlPlane,
    asked: Asked,
    inputs: Inputs,
    github: GitHubConnection,
    operator: OperatorConfig,
    secrets: tuple[str, ...],
    previews: Previews,
    earlier: Earlier | None,
    *,
    shared: bool,
    tell: Callable[[str], None],
    told: Callable[[Progress], Awaitable[None]],
) -> HandledRun:
    """Do both halves at once; `shared` tells whether other jobs find the run in the database."""
    output = OutputFolder.at(inputs.output_dir) if inputs.output_dir is not None else None
    if shared and not asked.follows:
        text = inputs.command and f"/orchestrate {inputs.command.removeprefix('/orchestrate').strip()}"
        await DeliveryStore(plane.database).record(asked.delivery(text))
    return await handle(
        asked.trigger,
        asked.command,
        github=github,
        plane=InputPlane(plane, tell, inputs.criteria, output),
        effects=EffectStore(plane.database, asked.run_id),
        operator=operator,
        secrets=secrets,
        spec_path=inputs.spec,
        progress=told,
        earlier=earlier,
        resumable=shared,
        previews=previews,
    )


async def _earlier(plane: ControlPlane, asked: Asked) -> Earlier | None:
    """Return the run that a command is about, as the job that began it left it in the shared database.

    To a new run of an issue that is one which is not finished.
    """
    if not isinstance(asked.command, Command):
        return None
    trigger, store, run_id = asked.trigger, DeliveryStore(plane.database), None
    if asked.on_ours:
        run_id = await store.run_of_pull_request(trigger.repository, trigger.issue or 0)
    elif asked.follows:
        run_id = await store.run_about(
            trigger.repository,
            trigger.issue or 0,
            pull_request=trigger.is_pull_request,
            unfinished=asked.command.name == "cancel",
        )
    elif asked.command.name in ("run", "plan") and trigger.issue is not None:
        run_id = await store.standing_run_of(trigger.repository, trigger.issue, besides=asked.run_id)
    return await _known(plane, run_id) if run_id else None


async def _known(plane: ControlPlane, run_id: str) -> Earlier | None:
    """Return what the database knows of a run and what asked for it; of a round also its pull request's run."""
    store = DeliveryStore(plane.database)
    kept = await store.origin(run_id)
    found = origin(kept) if kept else None
    if found is None:
        return None
    root = await store.root_of(run_id)
    return Earlier(run_id, *found, EffectStore(plane.database, run_id), await _known(plane, root) if root else None)


def _operator(env: Mapping[str, str], inputs: Inputs) -> OperatorConfig:
    """Return the operator's word; the input `budget` is one of the operator's caps."""
    operator = load_operator_config(operator_config_path(env))
    caps = [cap for cap in (operator.max_usd, inputs.budget_usd) if cap is not None]
    return replace(operator, max_usd=min(caps)) if caps else operator


def _payload(env: Mapping[str, str]) -> dict[str, Any]:
    path = env.get("GITHUB_EVENT_PATH", "")
    try:
        payload = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"GITHUB_EVENT_PATH names {path!r}, which holds no event.", hint="It is set by the runner."
        ) from error
    if not isinstance(payload, dict):
        raise UsageError(f"GITHUB_EVENT_PATH names {path!r}, which holds no event.", hint="It is set by the runner.")
    return payload


def _publish(runner: Runner, ending: Ending, redactor: Redactor) -> None:
    path = write_report(runner.reports or runner.state, ending, redactor)
    write_outputs(runner.output, output_values(ending, path))
    write_summary(runner.summary, ending, redactor)
    print(*remarks(ending, redactor), sep="\n", flush=True)


def _failed(error: OrchestratorError) -> Ending:
    findings = error.findings if isinstance(error, SpecError) else ()
    return Ending("failed", str(error), code=error.code, spec_findings=findings, exit_status=error.exit_status)


def _stop_on_sigterm() -> None:
    """Let SIGTERM, which the runner sends when a job is cancelled, stop the run as an interrupt does."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


def _internal_failure(runner: Runner, redactor: Redactor, fails_on: str) -> ExceptHook:
    """Return what ends the step after an error of our own: it says so everywhere, and still obeys `fail-on`."""

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        # The traceback may quote a model's words.
        with fenced(sys.stdout):
            print(redactor("".join(traceback.format_exception(kind, error, trace))), flush=True)
        ending = Ending("failed", f"An internal error, {kind.__name__}; the log has its traceback.")
        _publish(runner, ending, redactor)
        os._exit(exit_status(ending, fails_on))

    return hook
