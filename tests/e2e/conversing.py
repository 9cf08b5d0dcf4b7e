"""The longest conversation on one issue, in two halves that can be had alone, and the models that it is had with."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.e2e.end_state import ended
from tests.e2e.revising import FEEDBACK, PART, api, job_of, on_line, plans
from tests.e2e.stage import MAINTAINER, STRANGER, Asked, Scene, until
from tests.loopback import Answer, Script, library
from tests.loopback import Asked as Question

FORKED = "stats.py"
FLAWED = "def mean(values):\n    return sum(values) / 0\n"
FLAW = {"path": FORKED, "line": 2, "severity": "error", "message": "It divides by zero."}
_FIRST_LINE = re.compile(r"^Description:\n(.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Conversation:
    """What was said in a half of it, in order, and the commits that stood at the pull request's head in turn."""

    said: list[Asked]
    number: int
    heads: list[str]


def conversable(*, installs: bool = True) -> Script:
    """Return models that build a library of two parts, write feedback into the first one, and find a fork's flaw.

    What they say depends on what they are asked alone, so that the same conversation ends the same.
    """

    def decomposes(question: Question) -> Answer:
        if FEEDBACK in question.prompt:
            return plans(question)
        return Answer(library.plan(2, 1, tested=False, installs=installs))

    def writes(question: Question) -> Answer:
        if FEEDBACK not in question.prompt:
            return Answer(library.changes(question.prompt, question.turn))
        asked = _FIRST_LINE.search(job_of(question.prompt)) if "<job " in question.prompt else None
        text = library.content(PART) + f"\n\nASKED = {asked[1] if asked else question.prompt!r}\n"
        return Answer({"files": [{"path": PART, "content": text}], "notes": "Answered the feedback."})

    def reviews(question: Question) -> Answer:
        if FORKED in question.prompt:
            return Answer({"score": 0.3, "verdict": "request_changes", "findings": [FLAW]})
        return Answer({"score": 0.9, "verdict": "approve", "findings": []})

    return Script(answers={"decompose": decomposes, "generate": writes, "review": reviews})


async def _says(scene: Scene, number: int, text: str, ends: str = "rocket") -> Asked:
    asked = await scene.answered(number, scene.comment(number, text))
    await asked.reacted(ends)
    return asked


async def plan_approve_cancel_and_resume(scene: Scene) -> Conversation:
    """A plan is approved, cancelled while its second task is asked for, and resumed.

    The models are held meanwhile, so that nothing else may be asked of them.
    """
    models, before = scene.stage.models, len(scene.stage.models.journal)
    plan = await scene.command("/orchestrate plan")
    await plan.reacted("rocket")
    models.hold_after(2)
    approve = await scene.answered(plan.issue, scene.comment(plan.issue, "/orchestrate approve"))
    await until(lambda: len(models.journal) == before + 5, "the second task's question")
    cancel = await _says(scene, plan.issue, "/orchestrate cancel")
    models.release()
    await approve.reacted("confused")
    partial = plan.pull["head"]["sha"]
    resume = await _says(scene, plan.issue, "/orchestrate resume")
    await ended(scene)
    return Conversation([plan, approve, cancel, resume], plan.pull["number"], [partial, plan.pull["head"]["sha"]])


async def revise_twice_and_review(scene: Scene) -> None:
    """A run, two rounds on its pull request, and a review of a fork's."""
    asked = await scene.command()
    await asked.reacted("rocket")
    await revised_twice(asked)
    await reviewed(scene)


async def revised_twice(asked: Asked) -> Conversation:
    """Two rounds on a pull request: the first answers a point at a line too."""
    scene, number = asked.scene, asked.pull["number"]
    await on_line(asked, MAINTAINER, "Say what it adds.")
    said, heads = [], []
    for text in ("Name the constant.", "Name it better."):
        said.append(await _says(scene, number, f"/orchestrate revise {text}"))
        heads.append(asked.pull["head"]["sha"])
    await ended(scene)
    return Conversation(said, number, heads)


async def reviewed(scene: Scene) -> Conversation:
    """A review of a stranger's pull request from a fork."""
    fork = (await scene.hub.fork(scene.repository, STRANGER)).full_name
    head = await scene.hub.commit(fork, {FORKED: FLAWED}, branch="mean", user=STRANGER)
    opened = await api(
        scene, STRANGER, "POST", "/pulls", {"title": "Add a mean", "head": f"{STRANGER}:mean", "base": "main"}
    )
    review = await _says(scene, opened["number"], "/orchestrate review")
    await ended(scene)
    return Conversation([review], opened["number"], [head])
