"""What the audit keeps of a command: who asked, each step with what GitHub answered, how it ended (SECURITY 37)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from orchestrator.github.rendering.sanitize import Redactor
from orchestrator.github.runs.desk import HandledRun, Progress
from orchestrator.github.triggers.trigger import Trigger


class Audit(Protocol):
    """Where entries of one run are added and never changed: the store, or a file."""

    async def add(self, delivery: str, actor: str, kind: str, facts: Mapping[str, Any]) -> None:
        """Add an entry; `facts` hold neither secrets nor text of people or models."""
        ...


@dataclass(frozen=True, slots=True)
class AuditTrail:
    """The entries of one command, in its actor's name, added to each of `audits` without secrets."""

    audits: Sequence[Audit]
    delivery: str
    actor: str
    redactor: Redactor

    async def note(self, kind: str, facts: Mapping[str, object]) -> None:
        """Add an entry."""
        clean = {name: self._clean(value) for name, value in facts.items()}
        for audit in self.audits:
            await audit.add(self.delivery, self.actor, kind, clean)

    async def asked(self, trigger: Trigger, command: str) -> None:
        """Keep what was asked, where, and what by."""
        facts = {
            "command": command,
            "number": trigger.issue,
            "source": trigger.source,
            "event": trigger.event,
            "repository": trigger.repository,
        }
        await self.note("delivery", facts)

    async def step(self, progress: Progress) -> None:
        """Keep a step that is done, such as the answer of the permission API or the hash of the spec."""
        await self.note(progress.step, {"run": progress.run_id, "detail": progress.detail})

    async def handled(self, handled: HandledRun) -> None:
        """Keep how it ended: numbers, names and hashes."""
        state = handled.state
        facts = {
            "run": handled.run_id,
            "status": handled.status,
            "code": handled.code,
            "base": handled.base_sha,
            "head": handled.head_sha,
            "branch": handled.branch,
            "pull_request": handled.pull_request,
            "models": sorted({f"{call.provider}/{call.model}" for call in state.calls}) if state else [],
            "cost_usd": state.budget.spent_usd if state else 0.0,
            "files": list(state.files) if state else [],
        }
        await self.note("handled", facts)

    def _clean(self, value: object) -> object:
        if isinstance(value, str):
            return self.redactor(value)
        return [self.redactor(it) for it in value if isinstance(it, str)] if isinstance(value, list) else value
