"""Ruff, with the project's own configuration where the sandbox isolates."""

from __future__ import annotations

import asyncio
import json
import posixpath
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ruff import find_ruff_bin  # type: ignore[import-untyped]  # the package has no annotations

from orchestrator.sandbox import MIB, Finished, Limits, Sandbox
from orchestrator.state import Finding, Suggestion, ValidationResult, ValidationStatus
from orchestrator.validators.plan import FINDINGS, RUFF, tail
from orchestrator.workspace import Workspace

_LIMITS = Limits(seconds=120, output_bytes=16 * MIB)


async def run_ruff(root: Path, sandbox: Sandbox, paths: Sequence[str]) -> ValidationResult:
    """Lint the given files, or with no paths the whole project; nothing is fixed and nothing is cached.

    Where nothing isolates, ruff reads no configuration: `extend` may name any file of this machine, and what ruff
    says of a configuration that it cannot read quotes it. What it says besides its findings is then not quoted either.
    """
    binary = Path(find_ruff_bin())
    places = sandbox.places(root, [binary])
    argv = [places.read_only[0], "check", "--output-format=json", "--no-cache", "--no-fix", "--quiet"]
    argv += ["--force-exclude"]  # a file that the project excludes stays excluded when it is named
    if not sandbox.isolated:
        argv += ["--isolated"]
    targets = [f"./{path}" for path in paths] or ["."]
    finished = await sandbox.run(
        [*argv, "--", *targets], workspace=root, read_only=[binary], limits=_LIMITS, static=True
    )
    return await asyncio.to_thread(read_ruff, finished, places.workspace, root, quoted=sandbox.isolated)


def read_ruff(finished: Finished, workspace: str, root: Path | None = None, *, quoted: bool = True) -> ValidationResult:
    """Read ruff's JSON; every rule that the project or ruff itself switches on is an error.

    Where `root` holds the files that were linted, a safe fix of one place becomes a suggestion. `quoted` False keeps
    back what ruff says of its own failure.
    """
    entries = _entries(finished.output)
    if finished.timed_out or finished.status not in (0, 1) or entries is None:
        reason = finished.output if quoted else f"it ended with status {finished.status}."
        if finished.timed_out:
            reason = f"ruff did not end within {_LIMITS.seconds:.0f} seconds."
        finding = Finding("pyproject.toml", 1, f"ruff cannot check this project: {tail(reason)}")
        return ValidationResult(RUFF, ValidationStatus.FAILED, (finding,), "ruff itself failed")
    if not entries:
        return ValidationResult(RUFF, ValidationStatus.PASSED, (), "no findings")
    files = Workspace(root)
    findings = tuple(_finding(entry, posixpath.relpath(entry["filename"], workspace), files) for entry in entries)
    return ValidationResult(RUFF, ValidationStatus.FAILED, findings[:FINDINGS], f"{len(entries)} findings")


def _finding(entry: dict[str, Any], path: str, files: Workspace) -> Finding:
    said = f"{entry['code']}: {entry['message']}" if entry.get("code") else str(entry["message"])
    fix = entry.get("fix") or {}
    suggestion = None
    if fix.get("applicability") == "safe" and len(fix["edits"]) == 1:
        suggestion = suggested(fix["edits"][0], (files.read(path) or b"").decode("utf-8", "replace"))
    line = max(1, int(entry["location"]["row"]))
    return Finding(path, line, said, rule=str(entry.get("code") or ""), suggestion=suggestion)


def suggested(edit: dict[str, Any], text: str) -> Suggestion | None:
    """Return an edit of ruff's as text for whole lines, or None when it does not fit the file.

    Its rows and columns count from 1, columns in characters, and its end is the first place that stays.
    """
    lines = text.split("\n")
    first, last = int(edit["location"]["row"]), int(edit["end_location"]["row"])
    if not 0 < first <= last <= len(lines):
        return None
    before = lines[first - 1][: int(edit["location"]["column"]) - 1]
    after = lines[last - 1][int(edit["end_location"]["column"]) - 1 :]
    content = str(edit["content"])
    ends_whole = last > first and int(edit["end_location"]["column"]) == 1
    if ends_whole and not before and (not content or content.endswith("\n")):
        # Whole lines go or are replaced, and the one after them stays as it is.
        last, after = last - 1, ""
        content = content.removesuffix("\n")
    return Suggestion(first, last, f"{before}{content}{after}".replace("\r", ""))


def _entries(output: str) -> list[dict[str, Any]] | None:
    """Find the JSON list among lines that ruff may have written to standard error."""
    start = 0 if output.startswith("[") else output.find("\n[") + 1
    try:
        entries, _ = json.JSONDecoder().raw_decode(output, start)
    except (ValueError, RecursionError):
        return None
    return entries if isinstance(entries, list) else None
