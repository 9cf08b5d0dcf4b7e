"""The offline model: a provider without network and price that answers every purpose from the starter projects.

It understands nothing beyond the words that choose a starter project and its features, and its answers say so. It
keeps no state: the same prompt always gets the same answer, and a task's files follow from the job's text alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator import scaffolds
from orchestrator.errors import ProviderRejected
from orchestrator.providers.base import Completion, CompletionRequest, Finish, Usage
from orchestrator.providers.diff_checks import review_by_checks
from orchestrator.providers.intent import read_intent
from orchestrator.providers.transport import schema_text
from orchestrator.scaffolds import Starter
from orchestrator.state import ApiParadigm, DataParadigm, Purpose, StructuralPattern, Task, Topology
from orchestrator.wire import (
    ArchitectureReply,
    ChangesReply,
    DraftReply,
    EvaluationReply,
    FileContent,
    PlannedTask,
    PlanReply,
    ReviewReply,
)

BYTES_PER_TOKEN = 4
REVIEW_SCORE = 0.9
RECOGNISED_SCORE = 0.9
STARTING_POINT_SCORE = 0.5
"""What a starter project is worth whose request named nothing that it has: a place to begin, no more."""

_UNPROCESSABLE = 422

_APP_TYPE = re.compile(r"^App type: *(?P<name>\S+) *$", re.MULTILINE)
_JOB = re.compile(r"^<job (?P<word>\S+)>\n(?P<text>.*?)\n?^</job (?P=word)>$", re.MULTILINE | re.DOTALL)
_DIFF_FILE = re.compile(r"File (?P<path>\S.*) \((?P<status>\w+)\)")
_FEEDBACK = "The job is feedback on a change under review"
_FENCE = re.compile(r"</?[\w-]+ \S+>")


class OfflineProvider:
    """Answers from the starter projects; raises `ProviderRejected` (422) for what they do not serve."""

    async def complete(self, request: CompletionRequest) -> Completion:
        """Answer at once; tokens are a quarter of the bytes, and the answer is cut at the request's output limit."""
        text = _answer(request).model_dump_json(by_alias=True)
        sent = len((request.system + request.prompt + schema_text(request)).encode()) // BYTES_PER_TOKEN
        answer = text.encode()
        if len(answer) > request.max_output_tokens * BYTES_PER_TOKEN:
            cut = answer[: request.max_output_tokens * BYTES_PER_TOKEN].decode(errors="ignore")
            return Completion(cut, Usage(sent, request.max_output_tokens), Finish.LENGTH)
        return Completion(text, Usage(sent, len(answer) // BYTES_PER_TOKEN))

    async def aclose(self) -> None:
        """Do nothing: no connection was opened."""


@dataclass(frozen=True, slots=True)
class _Job:
    """What a prompt says about the job: its app type, and the text that chooses the starter project's features."""

    app_type: str
    text: str


_Reply = ArchitectureReply | PlanReply | ChangesReply | ReviewReply | EvaluationReply | DraftReply


def _answer(request: CompletionRequest) -> _Reply:
    if request.purpose is Purpose.DRAFT:
        return _draft(request)
    if request.purpose is Purpose.REVIEW and (change := _change(request)) is not None:
        return review_by_checks(change)
    job = _job(request)
    match request.purpose:
        case Purpose.ARCHITECTURE:
            return _architecture(job)
        case Purpose.DECOMPOSE:
            return _plan(request, job)
        case Purpose.GENERATE | Purpose.REVISE:
            return _changes(request, job)
        case Purpose.REVIEW:
            return ReviewReply(score=REVIEW_SCORE, verdict="approve")
        case Purpose.EVALUATE if any(line.startswith("Task: ") for line in _outside_fences(request.prompt)):
            return EvaluationReply(
                score=REVIEW_SCORE, reason="The offline model approves its own starter project's text."
            )
        case Purpose.EVALUATE:
            return _evaluation(job)


def _draft(request: CompletionRequest) -> DraftReply:
    wanted = _JOB.search(request.prompt)
    present = _fenced(request.prompt, "draft", wanted["word"]) if wanted else None
    if not wanted or present is None:
        raise _rejected(request, "the offline model found no job or no draft in the prompt; it looks for their fences")
    feedback = _fenced(request.prompt, "feedback", wanted["word"])
    named = _APP_TYPE.search(request.prompt)
    return read_intent(
        wanted["text"].partition("Description:\n")[2] if feedback is None else feedback,
        app_type=named["name"] if named else "generic",
        regions=json.loads(present)["policy"].get("allowed_regions"),
        refining=feedback is not None,
    )


def _change(request: CompletionRequest) -> str | None:
    """Return the diff that a prompt asks to review, or None when it is about a task's files."""
    wanted = _JOB.search(request.prompt)
    return _fenced(request.prompt, "diff", wanted["word"]) if wanted else None


def _fenced(prompt: str, what: str, word: str) -> str | None:
    """Return the text of the fence with the prompt's own word, which nobody else's text can hold."""
    _, opened, rest = prompt.partition(f"\n<{what} {word}>\n")
    return rest.partition(f"\n</{what} {word}>")[0] if opened else None


def _job(request: CompletionRequest) -> _Job:
    named = _APP_TYPE.search(request.prompt)
    app_type = named["name"] if named else "none"
    if app_type not in scaffolds.app_types():
        raise _rejected(
            request,
            f"the offline model has no starter project for the app type {app_type}; it serves"
            f" {', '.join(scaffolds.app_types())}",
            hint="Choose one of these with --app-type, or set a provider's key and leave --offline out.",
        )
    fenced = _JOB.search(request.prompt)
    if not fenced:
        raise _rejected(request, "the offline model found no job in the prompt; it looks for a fence named job")
    return _Job(app_type, fenced["text"])


def _architecture(job: _Job) -> ArchitectureReply:
    shape = scaffolds.architecture(job.app_type)
    starter = scaffolds.choose(job.app_type, job.text)
    return ArchitectureReply(
        structural_pattern=StructuralPattern(shape.structural_pattern),
        topology=Topology(shape.topology),
        api_paradigm=ApiParadigm(shape.api_paradigm),
        data_paradigm=DataParadigm(shape.data_paradigm),
        rationale=f"This is the shape of the offline model's built-in starter project: {shape.rationale}."
        f" It is {starter.summary}. No model weighed it against others.",
    )


def _is_feedback(prompt: str) -> bool:
    return any(line.startswith(_FEEDBACK) for line in _outside_fences(prompt))


def _grown(request: CompletionRequest, job: _Job) -> tuple[Starter, Starter] | None:
    return scaffolds.grown(job.app_type, job.text, set(_listed(request.prompt, "Files in the repository")))


def _plan_of_feedback(request: CompletionRequest, job: _Job) -> PlanReply:
    """Plan the features that feedback asks for and the starter project under review lacks; no tasks where it can't.

    What people have changed is left alone: a file is replaced only where the diff shows it as the starter project's.
    """
    found = _grown(request, job)
    if found is None:
        return PlanReply(tasks=[])
    before, after = found
    there = set(_listed(request.prompt, "Files in the repository"))
    written = _added(request.prompt)
    left = []
    for task in scaffolds.plan_of(after):
        changed = []
        for path in task.files:
            old, new = scaffolds.content_of(before, path), scaffolds.content_of(after, path)
            if old == new:
                continue
            if path in there and path in scaffolds.kept(job.app_type) and path not in written:
                continue
            if path in there and written.get(path) != (old or "").splitlines():
                return PlanReply(tasks=[])
            changed.append(path)
        left.append((task, changed))
    ids = {task.id for task, files in left if files}
    return PlanReply(tasks=[_planned(task, files, ids) for task, files in left if files])


def _added(prompt: str) -> dict[str, list[str]]:
    """Return the lines of the files that the change under review adds, as its diff shows them."""
    wanted = _JOB.search(prompt)
    diff = _fenced(prompt, "diff", wanted["word"]) if wanted else None
    added: dict[str, list[str]] = {}
    path = ""
    for line in (diff or "").splitlines():
        if header := _DIFF_FILE.fullmatch(line):
            path = header["path"] if header["status"] == "added" else ""
        elif path and line.startswith("+"):
            added.setdefault(path, []).append(line[1:])
    return added


def _plan(request: CompletionRequest, job: _Job) -> PlanReply:
    if _is_feedback(request.prompt):
        return _plan_of_feedback(request, job)
    existing = set(_listed(request.prompt, "Files in the repository"))
    planned = scaffolds.plan(job.app_type, job.text)
    keep = existing & scaffolds.kept(job.app_type)
    taken = sorted({path for task in planned for path in task.files} & existing - keep)
    if taken:
        raise _rejected(
            request,
            f"the offline model adds new files and changes none, and the repository already has {', '.join(taken)}",
            hint="Set a provider's key and leave --offline out: changing existing code takes a real model.",
        )
    left = [(task, [path for path in task.files if path not in keep]) for task in planned]
    ids = {task.id for task, files in left if files}
    return PlanReply(tasks=[_planned(task, files, ids) for task, files in left if files])


def _planned(task: Task, files: list[str], ids: set[str]) -> PlannedTask:
    return PlannedTask(
        id=task.id,
        title=task.title,
        type=task.type,
        description=task.description,
        depends_on=[other for other in task.depends_on if other in ids],
        files=files,
        critical=task.critical,
    )


def _changes(request: CompletionRequest, job: _Job) -> ChangesReply:
    asked = _listed(request.prompt, "Files of this task")
    found = _grown(request, job) if _is_feedback(request.prompt) else None
    starter = found[1] if found else scaffolds.choose(job.app_type, job.text)
    rendered = {path: scaffolds.content_of(starter, path) for path in asked}
    files = [FileContent(path=path, content=content) for path, content in rendered.items() if content is not None]
    unknown = [path for path, content in rendered.items() if content is None]
    notes = ["From the offline model's built-in starter project."]
    if unknown:
        notes.append(f"The offline model cannot write {', '.join(unknown)}: its starter project has no such file.")
    if not asked:
        notes.append("The task names no files, and the offline model writes none of its own accord.")
    if request.purpose is Purpose.REVISE:
        notes.append("It has no other version of these files, so the findings are not answered.")
    return ChangesReply(files=files, notes=" ".join(notes))


def _evaluation(job: _Job) -> EvaluationReply:
    starter = scaffolds.choose(job.app_type, job.text)
    said = f"The offline model built its starter project: {starter.summary}."
    if starter.features:
        return EvaluationReply(
            score=RECOGNISED_SCORE,
            reason=f"{said} It recognised this in the request: {', '.join(starter.features)}. The score is a fixed one;"
            " only the project's own tests and checks have judged it.",
        )
    return EvaluationReply(
        score=STARTING_POINT_SCORE,
        reason=f"{said} It recognised nothing particular in the request, so this is a starting point, and what the"
        " request asks beyond it is not built. The score is a fixed one.",
    )


def _listed(prompt: str, heading: str) -> list[str]:
    """Return the paths of the `- path` lines under a heading that stands outside every fence, in their order."""
    lines = iter(prompt.splitlines())
    closing = ""
    for line in lines:
        if closing:
            closing = "" if line == closing else closing
        elif line == heading:
            break
        elif _FENCE.fullmatch(line):
            closing = line.replace("<", "</", 1)
    paths = []
    for line in lines:
        if line.startswith("- "):
            paths.append(line[2:].strip())
        elif line and not _FENCE.fullmatch(line):
            break
    return paths


def _outside_fences(prompt: str) -> Iterator[str]:
    closing = ""
    for line in prompt.splitlines():
        if closing:
            closing = "" if line == closing else closing
        elif _FENCE.fullmatch(line):
            closing = line.replace("<", "</", 1)
        else:
            yield line


def _rejected(request: CompletionRequest, message: str, *, hint: str = "") -> ProviderRejected:
    return ProviderRejected(message, provider="offline", model=request.model.id, status=_UNPROCESSABLE, hint=hint)
