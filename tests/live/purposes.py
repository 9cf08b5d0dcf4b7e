"""Every purpose asked once of one provider, through the real gateway, under a cap of a few cents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.catalog import Catalog, ModelProfile, load_catalog
from orchestrator.gateway import Question
from orchestrator.limits import OUTPUT_TOKENS
from orchestrator.persistence import Persistence
from orchestrator.prompts import fence, render
from orchestrator.providers.registry import Endpoint, open_provider
from orchestrator.state import Purpose
from orchestrator.wire import REPLIES
from tests.unit.orchestrator.gateways import bank, route

MAX_USD = 0.10
WORD = "5f0c7a1e9b3d4826a7c1f0e2d3b4a596"
# Enough for these small answers; reasoning comes on top where a model has it.
ANSWER_TOKENS = 1_500

JOB = "Job\n" + fence(
    "Title: Leap years\n\nDescription:\nThe function is_leap(year: int) -> bool in leap.py, by the Gregorian rules."
    "\n\nSuccess criteria:\nis_leap(2000) is True, is_leap(1900) is False, a year below 1 raises ValueError",
    WORD,
    "job",
)
SHAPE = fence(
    "Structural pattern: script\nTopology: library\nAPI paradigm: none\nData paradigm: none\nRationale: One function.",
    WORD,
    "architecture",
)
TASK = fence("Title: The function\nType: code_generation\n\nWrite is_leap(year: int) -> bool.", WORD, "task")
WRONG = "def is_leap(year: int) -> bool:\n    return year % 4 == 0\n"
CURRENT = f"{fence('File leap.py', WORD, 'path')}\n{fence(WRONG, WORD, 'file')}"
WRITING = {
    "architecture": SHAPE,
    "plan": fence("function: leap.py", WORD, "plan"),
    "repository": "Repository: new",
    "repository_files": "",
    "dependencies": "",
    "task_id": "function",
    "task": TASK,
    "task_files": fence("- leap.py", WORD, "paths"),
    "answer_tokens": f"{ANSWER_TOKENS:,}",
}
VALUES: dict[Purpose, dict[str, str]] = {
    Purpose.ARCHITECTURE: {"repository": "Repository: new", "feedback": ""},
    Purpose.DECOMPOSE: {"architecture": SHAPE, "repository": "Repository: new", "feedback": ""},
    Purpose.GENERATE: WRITING,
    Purpose.REVISE: WRITING
    | {
        "current": CURRENT,
        "findings": fence("error: leap.py:2: 1900 was no leap year, and 0 must raise ValueError", WORD, "findings"),
    },
    Purpose.REVIEW: {
        "architecture": SHAPE,
        "plan": WRITING["plan"],
        "repository": "Repository: new",
        "dependencies": "",
        "task_id": "function",
        "task": TASK,
        "current": CURRENT,
        "findings": fence("ruff: passed no findings", WORD, "checks"),
        "threshold": "0.85",
    },
    Purpose.EVALUATE: {
        "result": f"What was written\n{CURRENT}",
        "checks": fence("ruff: passed no findings", WORD, "checks"),
    },
    Purpose.DRAFT: {
        "known": "Providers: openai, anthropic, google. Regions: us, eu, global.",
        "draft": fence('{"job": {"title": "Leap years"}, "policy": {"name": "policy"}}', WORD, "draft"),
        "feedback": "Feedback\n" + fence("At most $2, and nothing that trains on it", WORD, "feedback"),
        "faults": "",
    },
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What one provider answered, a reply for each purpose, and what it cost in USD."""

    model: ModelProfile
    replies: Mapping[Purpose, object]
    cost_usd: float


def cheapest(catalog: Catalog, provider: str) -> ModelProfile:
    """Return the provider's model whose call of this size costs least."""
    return min(catalog.of(frozenset({provider})), key=lambda model: model.price.cost(2_000, ANSWER_TOKENS))


async def ask_every_purpose(endpoint: Endpoint, home: Path, *, local_model: str | None = None) -> Asked:
    """Ask each purpose once of the provider's cheapest model; raises what the gateway raises."""
    model = cheapest(load_catalog(local_model=local_model), endpoint.provider)
    provider = open_provider(endpoint)
    try:
        async with bank(home / "live.db", max_usd=MAX_USD) as books:
            gateway = books.gateway({endpoint.provider: provider}, max_usd=MAX_USD, persistence=Persistence())
            replies: dict[Purpose, object] = {}
            for purpose, values in VALUES.items():
                prompt = render(purpose, {"app_type": "library", "job": JOB, **values})
                limit = min(ANSWER_TOKENS, OUTPUT_TOKENS[purpose])
                question = Question("function", purpose, prompt, limit, "1")
                async with gateway.slots.held():
                    answer = await gateway.ask(question, route(model), REPLIES[purpose])
                replies[purpose] = answer.reply
            return Asked(model, replies, gateway.budget.spent_usd)
    finally:
        await provider.aclose()
