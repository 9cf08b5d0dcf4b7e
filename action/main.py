"""The story of one job: inputs and event in, a command handled, outputs, summary and annotations out."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from action.event import asked_by
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
from action.step import INTERRUPTED, Step
from orchestrator.codes import Code
from orchestrator.control_plane import ControlPlane
from orchestrator.errors import OrchestratorError, SpecError, UsageError
from orchestrator.github.api.auth import GitHubConnection
from orchestrator.github.rendering.sanitize import Redactor
from orchestrator.github.triggers.trigger import Ignored
from orchestrator.hidden import visible
from orchestrator.operator_config import OperatorConfig, load_operator_config, operator_config_path
from orchestrator.store import ContentStore

ExceptHook = Callable[[type[BaseException], BaseException, TracebackType | None], None]


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
            ending = asyncio.run(_ending(env, runner, secrets, redactor))
        except (KeyboardInterrupt, asyncio.CancelledError):
            ending = Ending("interrupted", INTERRUPTED, code=Code.INTERRUPTED, exit_status=130)
        except OrchestratorError as error:
            ending = _failed(error)

    # 3. What came of it, for the next steps, for people and for the diff.
    _publish(runner, ending, redactor)
    return exit_status(ending, fails_on)


async def _ending(env: Mapping[str, str], runner: Runner, secrets: tuple[str, ...], redactor: Redactor) -> Ending:
    """Handle what the event and the inputs ask for; raises `OrchestratorError` for what cannot be said on GitHub."""
    _stop_on_sigterm()

    def tell(text: str) -> None:
        print(redactor(visible(text)), flush=True)

    inputs = Inputs.from_environment(env, runner.workspace)
    opened = process_environment(env, inputs, runner)
    operator = _operator(opened, inputs)
    shared = bool(env.get("ORCHESTRATOR_DATABASE_URL"))
    asked = asked_by(_payload(env), env, inputs, bots=operator.bots, shared=shared)
    if isinstance(asked, Ignored):
        tell(f"ignored: {asked.reason}")
        return Ending("ignored", asked.reason, code=Code.IGNORED)
    github = GitHubConnection.from_environment(opened)
    step = Step(asked, inputs, runner, github, operator, secrets, redactor, tell, shared=shared)
    if inputs.half == "publish":
        if keys := sorted(name for name, value in env.items() if name.endswith("_API_KEY") and value):
            tell(f"This half needs no keys; take them out of its job: {', '.join(keys)}.")
        return await step.publish()
    async with ControlPlane.open(opened) as plane:
        github.count_content(operator.content_writes_per_hour, lambda bucket: ContentStore(plane.database, bucket))
        if "offline" in plane.providers:
            tell("Using the built-in offline model: starter projects, no vendor's model.")
        return await (step.generate(plane) if inputs.half == "generate" else step.run(plane))


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
