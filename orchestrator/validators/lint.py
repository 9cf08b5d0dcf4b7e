"""Ruff, with the project's own configuration."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ruff import find_ruff_bin  # type: ignore[import-untyped]  # the package has no annotations

from orchestrator.sandbox import MIB, Finished, Limits, Sandbox
from orchestrator.state import Finding, ValidationResult, ValidationStatus
from orchestrator.validators.plan import FINDINGS, RUFF, tail

_LIMITS = Limits(seconds=120, output_bytes=16 * MIB)


async def run_ruff(root: Path, sandbox: Sandbox, paths: Sequence[str]) -> ValidationResult:
    """Lint the given files, or with no paths the whole project; nothing is fixed and nothing is cached."""
    binary = Path(find_ruff_bin())
    places = sandbox.places(root, [binary])
    argv = [places.read_only[0], "check", "--output-format=json", "--no-cache", "--no-fix", "--quiet"]
    argv += ["--force-exclude"]  # a file that the project excludes stays excluded when it is named
    targets = [f"./{path}" for path in paths] or ["."]
    finished = await sandbox.run(
        [*argv, "--", *targets], workspace=root, read_only=[binary], limits=_LIMITS, static=True
    )
    return read_ruff(finished, places.workspace)


def read_ruff(finished: Finished, workspace: str) -> ValidationResult:
    """Read ruff's JSON; every rule that the project or ruff itself switches on is an error."""
    entries = _entries(finished.output)
    if finished.timed_out or finished.status not in (0, 1) or entries is None:
        reason = f"ruff did not end within {_LIMITS.seconds:.0f} seconds." if finished.timed_out else finished.output
        finding = Finding("pyproject.toml", 1, f"ruff cannot check this project: {tail(reason)}")
        return ValidationResult(RUFF, ValidationStatus.FAILED, (finding,), "ruff itself failed")
    findings = tuple(
        Finding(
            posixpath.relpath(entry["filename"], workspace),
            max(1, int(entry["location"]["row"])),
            f"{entry['code']}: {entry['message']}" if entry.get("code") else str(entry["message"]),
            rule=str(entry.get("code") or ""),
        )
        for entry in entries
    )
    if not findings:
        return ValidationResult(RUFF, ValidationStatus.PASSED, (), "no findings")
    return ValidationResult(RUFF, ValidationStatus.FAILED, findings[:FINDINGS], f"{len(findings)} findings")


def _entries(output: str) -> list[dict[str, Any]] | None:
    """Find the JSON list among lines that ruff may have written to standard error."""
    start = 0 if output.startswith("[") else output.find("\n[") + 1
    try:
        entries, _ = json.JSONDecoder().raw_decode(output, start)
    except ValueError:
        return None
    return entries if isinstance(entries, list) else None
