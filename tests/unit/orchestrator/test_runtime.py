"""What a process opens once: the operator's word reaches the parts that it is about."""

from __future__ import annotations

from pathlib import Path

from orchestrator.runtime import Runtime
from orchestrator.sandbox import Rung


async def test_the_operators_sandbox_and_package_indexes_are_those_of_every_run(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("sandbox: limits\nindex_hosts: [packages.example]\n", encoding="utf-8")
    async with Runtime.open({"ORCHESTRATOR_HOME": str(tmp_path)}, providers={}) as runtime:
        sandbox = await runtime.sandbox()
        assert (sandbox.rung, sandbox.hosts) == (Rung.LIMITS, ("packages.example",))
        assert await runtime.sandbox() is sandbox
