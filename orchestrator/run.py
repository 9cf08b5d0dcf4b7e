"""One execution: what its stages share, and the one way in which they ask a model."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import BaseModel

from orchestrator.artifacts import PROTECTED_PATHS, WriteRules
from orchestrator.context import ContextRules, repository_section
from orchestrator.events import Event, EventType, ProjectEventBus
from orchestrator.gateway import Answer, Gateway, Question
from orchestrator.prompts import fence, render
from orchestrator.routing import Need, Router
from orchestrator.specs import JobSpec
from orchestrator.state import ArchitectureDecision, Purpose, RouteChoice, Task
from orchestrator.workspace import Workspace

Reply = TypeVar("Reply", bound=BaseModel)

# Output limits in tokens, reasoning left out; sources: the schemas' sizes, a file of 400 lines is about 4,000 tokens.
OUTPUT_TOKENS = {
    Purpose.ARCHITECTURE: 1_500,
    Purpose.DECOMPOSE: 6_000,
    Purpose.GENERATE: 8_000,
    Purpose.REVISE: 8_000,
    Purpose.REVIEW: 2_000,
    Purpose.EVALUATE: 1_000,
    Purpose.DRAFT: 2_000,
}
CONTEXT_TOKENS = 24_000
BYTES_PER_TOKEN = 3


@dataclass(frozen=True, slots=True)
class Asking:
    """What distinguishes one call: its task, its attempt, and what the router should know."""

    task_id: str = ""
    label: str = "1"
    critical: bool = False
    avoid_provider: str = ""
    avoid_models: frozenset[str] = frozenset()
    prefer: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Run:
    """One run's shared parts.

    `foreign` are the user's own files in the output folder; `claims` says which task wrote a path, so that no two that
    run at once write one that neither named.
    """

    id: str
    job: JobSpec
    app_type: str
    nonce: str
    router: Router
    gateway: Gateway
    workspace: Workspace
    bus: ProjectEventBus
    protected: tuple[str, ...] = PROTECTED_PATHS
    foreign: frozenset[str] = frozenset()
    claims: dict[str, str] = field(default_factory=dict)
    clock: Callable[[], float] = time.time

    def tell(self, event: EventType, **data: object) -> None:
        """Publish an event of this run."""
        self.bus.publish(Event(event, self.id, data, self.clock()))

    def rules(self, others: frozenset[str] = frozenset()) -> WriteRules:
        """Return what a task may write, besides the files of other tasks."""
        return WriteRules(protected=self.protected, others=others, foreign=self.foreign)

    async def ask(
        self, purpose: Purpose, values: Mapping[str, str], kind: type[Reply], asking: Asking
    ) -> tuple[Answer[Reply], RouteChoice]:
        """Render the purpose's prompt, choose the models, and return the first usable reply with the choice."""
        prompt = render(purpose, {"app_type": self.app_type, "job": self.job_section(), **values})
        estimate = len((prompt.system + prompt.prompt).encode()) // BYTES_PER_TOKEN
        route = self.router.route(
            Need(
                purpose=purpose,
                input_tokens=estimate,
                output_tokens=OUTPUT_TOKENS[purpose],
                critical=asking.critical,
                avoid_provider=asking.avoid_provider,
                avoid_models=asking.avoid_models,
                prefer=asking.prefer,
            )
        )
        question = Question(
            task_id=asking.task_id,
            purpose=purpose,
            prompt=prompt,
            output_tokens=OUTPUT_TOKENS[purpose],
            label=asking.label,
            last_resort=asking.avoid_provider,
        )
        return await self.gateway.ask(question, route, kind), route.choice

    def job_section(self) -> str:
        """Return the job as every prompt quotes it, fenced."""
        parts = [f"Title: {self.job.title}", f"Description:\n{self.job.description}"]
        if self.job.criteria:
            parts.append(f"Success criteria:\n{self.job.criteria}")
        if self.job.background:
            parts.append(f"Background on the repository:\n{self.job.background}")
        return "Job\n" + fence("\n\n".join(parts), self.nonce, "job")

    def repository(self, request: str) -> str:
        """Return the section about the existing repository, with the files closest to the request."""
        rules = ContextRules(self.job.context.include, self.job.context.exclude)
        return repository_section(self.workspace, request, rules, self.nonce, CONTEXT_TOKENS)

    def architecture_section(self, decision: ArchitectureDecision) -> str:
        """Return the decision as prompts quote it, fenced: a model wrote it, and it constrains whatever is written."""
        return fence(
            f"Structural pattern: {decision.structural_pattern}\nTopology: {decision.topology}\n"
            f"API paradigm: {decision.api_paradigm}\nData paradigm: {decision.data_paradigm}\n"
            f"Rationale: {decision.rationale}",
            self.nonce,
            "architecture",
        )

    def task_section(self, task: Task) -> str:
        """Return a task's title and description word for word, fenced: another model wrote them."""
        return fence(f"Title: {task.title}\nType: {task.type}\n\n{task.description}", self.nonce, "task")

    def files_section(self, files: Mapping[str, bytes | None]) -> str:
        """Return files with their contents, fenced; a file that is no text is named only."""
        parts = []
        for path, content in sorted(files.items()):
            if content is None:
                parts.append(f"File {path} is deleted")
                continue
            try:
                parts.append(f"File {path}\n{fence(content.decode('utf-8'), self.nonce, 'file')}")
            except UnicodeDecodeError:
                parts.append(f"File {path} is not text ({len(content)} bytes)")
        return "\n\n".join(parts) or "(none)"
