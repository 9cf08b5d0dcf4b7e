"""A run's deterministic checks: a throw-away copy, its declared dependencies, and the validators in the sandbox."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path

from orchestrator.sandbox import Sandbox
from orchestrator.specs import ValidationSpec
from orchestrator.state import ValidationResult
from orchestrator.validators import Environment, ValidationPlan, install, needs_environment, requirement_key, validate
from orchestrator.workspace import Workspace


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
        home = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="orchestrator-deps-"))
        try:
            yield cls(sandbox, spec, home)
        finally:
            await asyncio.to_thread(shutil.rmtree, home, ignore_errors=True)

    async def check(self, workspace: Workspace, paths: Collection[str] | None) -> tuple[ValidationResult, ...]:
        """Check the named files, or the whole project when `paths` is None."""
        async with workspace.copy() as root:
            needed = needs_environment(root, self._plan, paths)
            environment = await self._environment(root) if needed else None
            return await validate(root, self.sandbox, self._plan, environment=environment, paths=paths)

    async def _environment(self, root: Path) -> Environment:
        key = requirement_key(root)
        async with self._installing:
            if key not in self._environments:
                self._environments[key] = await install(root, self.sandbox, self._home / key)
            return self._environments[key]
