"""The checks that only read: Python, JSON, YAML, TOML, JSON Schema, and how long files are."""

from __future__ import annotations

import asyncio
import importlib.util
import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from orchestrator.limits import MAX_FILE_BYTES, MAX_FILE_LINES
from orchestrator.sandbox import MIB, Finished, Limits, Sandbox
from orchestrator.state import Finding, ValidationResult, ValidationStatus
from orchestrator.validators.plan import FINDINGS, FOREIGN_FOLDERS, tail

_INSIDE = Path(__file__).parent / "inside"
_LIMITS = Limits(seconds=120, memory_bytes=1024 * MIB, output_bytes=16 * MIB)


async def check_syntax(
    root: Path, sandbox: Sandbox, validators: Sequence[str], paths: Collection[str] | None
) -> dict[str, tuple[ValidationResult, int]]:
    """Parse the files of `root`, or the given ones; give each validator's result and how many files it looked at."""
    read_only = [_INSIDE, *_packages()]
    places = sandbox.places(root, read_only)
    order = {
        "validators": list(validators),
        "paths": None if paths is None else sorted(paths),
        "packages": list(places.read_only[1:]),
        "foreign": sorted(FOREIGN_FOLDERS),
        "max_bytes": MAX_FILE_BYTES,
        "max_lines": MAX_FILE_LINES,
    }
    program = f"{places.read_only[0]}/orchestrator_check.py"
    finished = await sandbox.run(
        [places.python, "-I", program, json.dumps(order)],
        workspace=root,
        read_only=read_only,
        limits=_LIMITS,
        static=True,
    )
    return await asyncio.to_thread(lambda: {validator: read_check(validator, finished) for validator in validators})


def read_check(validator: str, finished: Finished) -> tuple[ValidationResult, int]:
    """Read one validator's result out of the program's lines; a check that did not end counts as failed."""
    records = [record for line in finished.output.splitlines() if (record := _record(line))]
    mine = [record for record in records if record.get("validator") == validator]
    findings = [
        Finding(record["path"], int(record["line"]), tail(record["message"])) for record in mine if "message" in record
    ]
    counts = next((record["files"] for record in records if "files" in record), None)
    begun = [record for record in records if "begin" in record]
    if counts is None and begun and begun[-1]["validator"] == validator:
        message = "The parser does not survive this file: it is nested too deeply."
        if finished.timed_out:
            message = f"The parser does not end with this file within {_LIMITS.seconds:.0f} seconds."
        findings.append(Finding(begun[-1]["begin"], 1, message))
    elif counts is None:
        status = ValidationStatus.FAILED if findings else ValidationStatus.NOT_RUN
        return ValidationResult(validator, status, tuple(findings[:FINDINGS]), tail(_why(finished))), len(mine)
    looked_at = counts[validator] if counts else len([record for record in mine if "begin" in record])
    status = ValidationStatus.FAILED if findings else ValidationStatus.PASSED
    detail = f"{looked_at} files, {len(findings)} findings" if findings else f"{looked_at} files"
    return ValidationResult(validator, status, tuple(findings[:FINDINGS]), detail), looked_at


def _record(line: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return {}  # what a crashing interpreter prints between our lines
    return record if isinstance(record, dict) else {}


def _why(finished: Finished) -> str:
    if finished.timed_out:
        return f"The check did not end within {_LIMITS.seconds:.0f} seconds."
    return f"The check ended before its time with status {finished.status}: {finished.output}"


def _packages() -> list[Path]:
    """Where PyYAML and jsonschema with what it needs are, for a program that runs without our packages."""
    specs = (importlib.util.find_spec(name) for name in ("yaml", "jsonschema"))
    return sorted({Path(spec.origin).parent.parent for spec in specs if spec and spec.origin})
