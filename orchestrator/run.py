"""One execution: what its stages share, and the one way in which they ask a model."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import BaseModel

from orchestrator.artifacts import Protection, WriteRules
from orchestrator.context import ContextRules, Repository, file_section
from orchestrator.events import Event, EventType, ProjectEventBus
from orchestrator.gateway import Answer, Gateway, Question
from orchestrator.limits import OUTPUT_TOKENS
from orchestrator.prompts import fence, render
from orchestrator.routing import Need, Router
from orchestrator.specs import JobSpec
from orchestrator.state import ArchitectureDecision, Purpose, RouteChoice, Task
from orchestrator.workspace import Workspace

Reply = TypeVar("Reply", bound=BaseModel)

OPEN_POINTS = "The job is feedback on a change under review, which the repository holds already. What is open on it"
CONTEXT_TOKENS = 24_000
BYTES_PER_TOKEN = 3


@dataclass(frozen=True, slots=True)
class Asking:
    """What distinguishes one call: its task, its attempt, and what the router should know.

    `output_tokens` is the task's own limit, None for the purpose's. `impartial` asks no model to avoid at all where
    another one is allowed, `independent` not even where the others' contexts are too small. `prompt` names another
    template than the purpose's usual one.
    """

    task_id: str = ""
    label: str = "1"
    critical: bool = False
    avoid_provider: str = ""
    avoid_models: frozenset[str] = frozenset()
    task_type: str = ""
    prefer: tuple[str, ...] = ()
    output_tokens: int | None = None
    impartial: bool = False
    independent: bool = False
    prompt: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """One run's shared parts.

    `foreign` are the user's own files in the output folder; `claims` says which task wrote a path, so that no two that
    run at once write one that neither named. `violations` collects, each once, what soft and monitor policies said
    against models that answered. `round` counts explicit resumes: calls that serve the whole run are asked anew in
    each, as failed tasks are.
    """

    id: str
    job: JobSpec
    app_type: str
    nonce: str
    router: Router
    gateway: Gateway
    workspace: Workspace
    bus: ProjectEventBus
    protection: Protection = field(default_factory=Protection)
    foreign: frozenset[str] = frozenset()
    claims: dict[str, str] = field(default_factory=dict)
    violations: dict[str, None] = field(default_factory=dict)
    round: int = 0
    clock: Callable[[], float] = time.time
    _repository: Repository = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Lay out what prompts show of the base."""
        rules = ContextRules(self.job.context.include, self.job.context.exclude)
        object.__setattr__(self, "_repository", Repository(self.workspace.only(()), rules))

    def tell(self, event: EventType, **data: object) -> None:
        """Publish an event of this run."""
        self.bus.publish(Event(event, self.id, data, self.clock()))

    def rules(self, others: frozenset[str] = frozenset()) -> WriteRules:
        """Return what a task may write, besides the files of other tasks."""
        return WriteRules(self.protection, others=others, foreign=self.foreign)

    async def ask(
        self, purpose: Purpose, values: Mapping[str, str], kind: type[Reply], asking: Asking
    ) -> tuple[Answer[Reply], RouteChoice]:
        """Render the purpose's prompt, choose the models, and return the first usable reply with the choice."""
        prompt = render(purpose, {"app_type": self.app_type, "job": self.job_section(), **values}, asking.prompt)
        estimate = len((prompt.system + prompt.prompt).encode()) // BYTES_PER_TOKEN
        limit = asking.output_tokens or OUTPUT_TOKENS[purpose]
        route = self.router.route(
            Need(
                purpose=purpose,
                input_tokens=estimate,
                output_tokens=limit,
                critical=asking.critical,
                avoid_provider=asking.avoid_provider,
                avoid_models=asking.avoid_models,
                task_type=asking.task_type,
                prefer=asking.prefer,
                impartial=asking.impartial,
                independent=asking.independent,
            )
        )
        question = Question(
            task_id=asking.task_id,
            purpose=purpose,
            prompt=prompt,
            output_tokens=limit,
            label=asking.label if asking.task_id else f"{self.round}.{asking.label}",
            task_type=asking.task_type,
        )
        answer = await self.gateway.ask(question, route, kind)
        choice = route.answered(answer.model, answer.passed_over)
        self.violations.update(dict.fromkeys(f"{purpose}: {said}" for said in choice.violations))
        return answer, choice

    def job_section(self) -> str:
        """Return the job as every prompt quotes it, fenced."""
        parts = [f"Title: {self.job.title}", f"Description:\n{self.job.description}"]
        if self.job.criteria:
            parts.append(f"Success criteria:\n{self.job.criteria}")
        if self.job.background:
            parts.append(f"Background on the repository:\n{self.job.background}")
        quoted = "Job\n" + fence("\n\n".join(parts), self.nonce, "job")
        if self.job.feedback is None:
            return quoted
        return f"{quoted}\n\n{OPEN_POINTS}\n{fence(self.job.feedback.remarks or '(none)', self.nonce, 'remarks')}"

    async def repository(
        self, request: str, *, changed: Collection[str] = (), without: Collection[str] = ()
    ) -> tuple[str, str]:
        """Return the sections about the existing repository: its tree, and the files closest to the request.

        Files are shown as the base has them, but those of `changed` as the tasks have left them. The second section
        leaves out the files of `without`, which the prompt shows in a newer version.
        """
        seen = self.workspace.only(changed)
        return await self._repository.sections(seen, request, self.nonce, CONTEXT_TOKENS, without=without)

    async def whole_repository(self) -> str:
        """Return both sections for the whole job, as its architect and its planner see it, and the change to revise."""
        feedback = self.job.feedback
        request = f"{self.job.title}\n{self.job.description}" + (f"\n{feedback.remarks}" if feedback else "")
        diff = f"The change under review\n{fence(feedback.diff, self.nonce, 'diff')}" if feedback else ""
        return "\n\n".join(filter(None, (*await self.repository(request), diff)))

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
        """Return files with their contents, paths and contents fenced; a file that is no text is named only."""
        parts = []
        for path, content in sorted(files.items()):
            if content is None:
                parts.append(fence(f"File {path} is deleted", self.nonce, "path"))
                continue
            try:
                parts.append(file_section(path, content.decode("utf-8"), self.nonce))
            except UnicodeDecodeError:
                parts.append(fence(f"File {path} is not text ({len(content)} bytes)", self.nonce, "path"))
        return "\n\n".join(parts) or "(none)"
