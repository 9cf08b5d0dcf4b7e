"""A run's deterministic checks: a throw-away copy, its declared dependencies, and the validators in the sandbox."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path

from orchestrator.dependencies import check_new_dependencies, new_dependencies
from orchestrator.events import EventType
from orchestrator.removal import remove_tree
from orchestrator.run import Run
from orchestrator.sandbox import Sandbox
from orchestrator.sections import ValidationSpec
from orchestrator.state import ValidationResult, ValidationStatus
from orchestrator.validators import (
    Environment,
    ValidationPlan,
    install,
    needs_environment,
    needs_packages,
    nothing_to_check,
    npm_install,
    npm_key,
    requirement_key,
    validate,
)
from orchestrator.workspace import Workspace

_Install = Callable[[Path, Sandbox, Path], Awaitable[Environment]]


class Checker:
    """Checks workspaces of one run; what the project declares is installed once for each set of requirements."""

    def __init__(self, sandbox: Sandbox, spec: ValidationSpec, home: Path) -> None:
        self.sandbox = sandbox
        self._plan = ValidationPlan(spec.validators, spec.commands)
        self._home = home
        self._environments: dict[str, Environment] = {}
        self._installing = asyncio.Lock()

    @classmethod
    @asynccontextmanager
    async def open(cls, sandbox: Sandbox, spec: ValidationSpec) -> AsyncIterator[Checker]:
        """Yield a checker whose installed dependencies are removed at the end."""
        home = Path(tempfile.mkdtemp(prefix="orchestrator-deps-"))  # no thread: whoever is cancelled must know its name
        try:
            yield cls(sandbox, spec, home)
        finally:
            await asyncio.to_thread(remove_tree, home)

    async def check(self, workspace: Workspace, paths: Collection[str] | None) -> tuple[ValidationResult, ...]:
        """Check the named files, or the whole project when `paths` is None."""
        if nothing_to_check(self._plan, paths):
            return ()
        async with workspace.copy() as root:
            key = await asyncio.to_thread(_key, needs_environment, requirement_key, root, self._plan, paths)
            environment = await self._installed(key, install, root) if key else None
            key = await asyncio.to_thread(_key, needs_packages, npm_key, root, self._plan, paths)
            packages = await self._installed(key, npm_install, root) if key else None
            results = await validate(
                root, self.sandbox, self._plan, environment=environment, packages=packages, paths=paths
            )
        # Whatever the spec asks for: a name that a model made up may be somebody's trap (SECURITY 23).
        new = await asyncio.to_thread(new_dependencies, workspace) if paths is None else ()
        return (*results, *await check_new_dependencies(new, self.sandbox.hosts))

    async def _installed(self, key: str, step: _Install, root: Path) -> Environment:
        """Install once for each key; where that could not run, an index being out of reach say, it is tried again."""
        async with self._installing:
            if key in self._environments:
                return self._environments[key]
            into = self._home / key
            await asyncio.to_thread(remove_tree, into)  # what an earlier try left there
            environment = await step(root, self.sandbox, into)
            if all(one.status is not ValidationStatus.NOT_RUN for one in environment.results):
                self._environments[key] = environment
            return environment


def _key(
    needs: Callable[[Path, ValidationPlan, Collection[str] | None], bool],
    key_of: Callable[[Path], str],
    root: Path,
    plan: ValidationPlan,
    paths: Collection[str] | None,
) -> str:
    """Return the key of what a check of the files needs installed, empty for nothing."""
    return key_of(root) if needs(root, plan, paths) else ""


async def checked(
    run: Run, checker: Checker, workspace: Workspace, paths: Collection[str] | None, task_id: str = ""
) -> tuple[ValidationResult, ...]:
    """Check as `Checker.check` does, and tell how it went; an empty `task_id` stands for the whole project."""
    began = time.monotonic()
    results = await checker.check(workspace, paths)
    failed = [one.validator for one in results if one.status is ValidationStatus.FAILED]
    run.tell(
        EventType.VALIDATION_COMPLETED,
        task_id=task_id,
        passed=all(one.passed for one in results),
        results={one.validator: one.status.value for one in results},
        duration_seconds=time.monotonic() - began,
    )
    if failed:
        run.tell(EventType.VALIDATION_FAILED, task_id=task_id, validators=failed)
    return results
