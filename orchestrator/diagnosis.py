"""What a run needs of this machine, each part tried by itself: operator's word, database, sandbox and providers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.errors import OrchestratorError, ProviderUnavailable, SandboxError, StoreError, UsageError
from orchestrator.operator_config import OperatorConfig, database_url, load_operator_config, operator_config_path
from orchestrator.providers.probe import takes_key
from orchestrator.providers.registry import KEY_VARIABLES, Endpoint, endpoints_from_environment
from orchestrator.sandbox import Rung, open_sandbox
from orchestrator.store import SCHEMA_VERSION, Database


class Health(StrEnum):
    """How well a part is: it works, it works but not as it should, or nothing works without it."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found out about one part, and what to do about it; both are texts of one line, `todo` may be empty."""

    part: str
    health: Health
    found: str
    todo: str = ""

    def __str__(self) -> str:
        said = f"{self.health:<4}  {self.part}: {self.found}"
        return " ".join(f"{said} {self.todo}".split("\n")).rstrip()


def ok(part: str, found: str) -> Diagnosis:
    """Return that a part works."""
    return Diagnosis(part, Health.OK, found)


def warn(part: str, found: str, todo: str) -> Diagnosis:
    """Return that a part does not work as it should."""
    return Diagnosis(part, Health.WARN, found, todo)


def fail(part: str, error: OrchestratorError) -> Diagnosis:
    """Return that nothing works without a part, for the reason that an error gives."""
    return Diagnosis(part, Health.FAIL, error.message, error.hint)


def diagnose_operator(env: Mapping[str, str]) -> tuple[OperatorConfig, Diagnosis]:
    """Return the operator's configuration, and what is to be said of it; one that cannot be used is all defaults."""
    part = "operator's configuration"
    try:
        path = operator_config_path(env)
        config = load_operator_config(path)
    except UsageError as error:
        return OperatorConfig(), fail(part, error)
    if not config.enabled:
        return config, warn(part, f"{path} switches every run off.", "Set `enabled: true` to let runs begin.")
    return config, ok(part, "there is none, so all defaults hold." if path is None else f"{path} holds.")


async def diagnose_database(env: Mapping[str, str]) -> Diagnosis:
    """Return whether the database opens and can be written, and how far its schema is; nothing in it is changed."""
    part = "database"
    try:
        url = database_url(env)
        version = await Database.examine(url)
    except (UsageError, StoreError) as error:
        return fail(part, error)
    kind = "PostgreSQL" if url.startswith("postgresql") else f"SQLite in {url.removeprefix('sqlite:///')}"
    if not version:
        return ok(part, f"{kind} is empty; the first start makes the tables.")
    if version < SCHEMA_VERSION:
        return ok(part, f"{kind} can be written; the next start brings its schema from {version} to {SCHEMA_VERSION}.")
    if version > SCHEMA_VERSION:
        return warn(
            part,
            f"{kind} has the schema {version} of a newer version; this one knows {SCHEMA_VERSION}.",
            "Finish the upgrade of every process.",
        )
    return ok(part, f"{kind} can be written; its schema is {version}.")


async def diagnose_sandbox(config: OperatorConfig) -> Diagnosis:
    """Return the strongest rung whose self-test passes here, or what the operator's choice of one comes to."""
    part = "sandbox"
    forced = None if config.sandbox == "auto" else Rung(config.sandbox)
    try:
        sandbox = await open_sandbox(forced, allow_unisolated=config.allow_unisolated, index_hosts=config.index_hosts)
    except SandboxError as error:
        return fail(part, error)
    if sandbox.isolated:
        return ok(part, f"{sandbox.rung} passes its self-test.")
    held = (
        "runs all the same, as allow_unisolated says" if sandbox.runs_untrusted else "does not run, and is not tested"
    )
    return warn(
        part,
        f"no rung isolates here, so that generated code {held}.",
        "Install bubblewrap and allow user namespaces, or see docs/operations.md for containers.",
    )


async def diagnose_providers(env: Mapping[str, str]) -> tuple[Diagnosis, ...]:
    """Return for each provider whether it answers and takes its key, without a completion, and whether they suffice."""
    part = "providers"
    try:
        endpoints = endpoints_from_environment(env)
    except UsageError as error:
        return (fail(part, error),)
    if "offline" in endpoints:
        return (warn(part, "only the built-in offline model is used.", "Unset ORCHESTRATOR_OFFLINE for real models."),)
    if not endpoints:
        variables = ", ".join(names[0] for names in KEY_VARIABLES.values())
        missing = UsageError("There is no provider, so no run can begin.", hint=f"Set at least one of {variables}.")
        return (fail(part, missing),)
    tried = list(await asyncio.gather(*(_diagnose_provider(one) for one in endpoints.values())))
    if len(endpoints) == 1:
        tried.append(
            warn(part, "there is one only, and a review wants a second.", "Set the key of another provider too.")
        )
    return tuple(tried)


async def _diagnose_provider(endpoint: Endpoint) -> Diagnosis:
    part = f"provider {endpoint.provider}"
    try:
        if await takes_key(endpoint):
            return ok(part, "answers and takes the key." if endpoint.key else "answers.")
        return warn(part, "answers, but lists no models, so that its key could not be tried.", "Watch the first run.")
    except ProviderUnavailable as error:
        return warn(part, f"{error.message}.", "Check the network and its base URL, or try again later.")
    except OrchestratorError as error:
        return fail(part, error)
