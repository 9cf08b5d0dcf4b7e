"""What a run's checks keep from one check to the next."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.checks import Checker
from orchestrator.sandbox import Rung, open_sandbox
from orchestrator.sections import ValidationSpec
from orchestrator.state import ValidationStatus
from orchestrator.workspace import Workspace


@pytest.mark.slow
async def test_dependencies_that_could_not_be_installed_are_tried_again_at_the_next_check(tmp_path: Path) -> None:
    # given: a project whose command needs a package, and a sandbox in which none is installed
    (tmp_path / "requirements.txt").write_text("idna\n")
    spec = ValidationSpec(validators=("length",), commands=("python3 -c 'import idna'",))
    async with Checker.open(await open_sandbox(Rung.LIMITS), spec) as checker:
        before = await checker.check(Workspace(tmp_path), None)
        # when
        checker.sandbox = await open_sandbox()
        after = await checker.check(Workspace(tmp_path), None)
    # then
    assert before[-1].status is ValidationStatus.NOT_RUN
    assert after[-1].status is ValidationStatus.PASSED
