"""A pull request of ours and what people say of it: the scene and the models of the tests of `revise` and `ci`."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import httpx

from tests.e2e.stage import MAINTAINER, Asked, House, Scene
from tests.loopback import Answer, Fault, Script, library
from tests.loopback import Asked as Question

FEEDBACK = "The job is feedback on a change under review"
PART = "sample_library/part_1.py"
_REMARKS = re.compile(r"What is open on it\n<remarks (?P<word>\w+)>\n(?P<text>.*?)\n</remarks (?P=word)>", re.DOTALL)
_JOB = re.compile(r"^Job\n<job (?P<word>\w+)>\n(?P<text>.*?)\n</job (?P=word)>", re.DOTALL | re.MULTILINE)


def plans(question: Question, parts: int = 1) -> Answer:
    """Plan a library, and for feedback on it one task for each part; none when it says that all is well."""
    if FEEDBACK not in question.prompt:
        return Answer(library.plan(parts, 1))
    if "Leave it as it is" in job_of(question.prompt):
        return Answer({"tasks": []})
    mends = [f"mend-{number}" if number > 1 else "mend" for number in range(1, parts + 1)]
    tasks = [
        {
            "id": mend, "title": f"Mend part {number}", "type": "code_generation", "description": "Answer it.",
            "depends_on": mends[number - 2 : number - 1], "files": [f"sample_library/part_{number}.py"],
            "critical": False,
        }
        for number, mend in enumerate(mends, 1)
    ]  # fmt: skip
    return Answer({"tasks": tasks})


def writes(question: Question) -> Answer:
    """Write what is planned; feedback adds the number of the turn to a part, so that every round changes it."""
    if FEEDBACK not in question.prompt:
        return Answer(library.changes(question.prompt, question.turn))
    number = re.search(r"^Task: mend-(\d+)$", question.prompt, re.MULTILINE)
    path = f"sample_library/part_{number[1]}.py" if number else PART
    text = library.content(path) + f"\n\nROUND = {question.turn}\n"
    return Answer({"files": [{"path": path, "content": text}], "notes": "Answered the feedback."})


def revisable(parts: int = 1) -> Script:
    """Return models that build a library of so many parts and revise each of them."""
    return Script(tasks=parts, answers={"decompose": partial(plans, parts=parts), "generate": writes})


def half_done() -> Script:
    """Return models that build the first of two parts and refuse the second."""

    def refuses(question: Question) -> Answer | Fault:
        second = "Task: part-2" in question.prompt
        return Fault("refusal") if second else Answer(library.changes(question.prompt, question.turn))

    return Script(tasks=2, answers={"generate": refuses, "revise": refuses})


def job_of(prompt: str) -> str:
    """Return the job as a prompt quotes it."""
    found = _JOB.search(prompt)
    assert found, prompt
    return found["text"]


def remarks_of(prompt: str) -> str:
    """Return the open points that a prompt tells of."""
    found = _REMARKS.search(prompt)
    assert found, prompt
    return found["text"]


async def opened(house: House, spec: str | None = None) -> Asked:
    """Return a run that has opened its pull request."""
    scene = await (house.scene(script=revisable()) if spec is None else house.scene(spec, revisable()))
    asked = await scene.command()
    await asked.reacted("rocket")
    await asked.settled()
    return asked


async def said(asked: Asked, text: str, user: str = MAINTAINER) -> Asked:
    """Comment on the pull request of a run, and return the bot's answer."""
    number = asked.pull["number"]
    return await asked.scene.answered(number, asked.scene.comment(number, text, user))


async def api(scene: Scene, user: str, method: str, path: str, body: dict[str, Any]) -> Any:
    """Have a person call the local GitHub's API about the repository."""
    headers = {"Authorization": f"token {scene.hub.token_for(user)}"}
    async with httpx.AsyncClient(base_url=scene.hub.api_url, headers=headers, trust_env=False) as client:
        answer = await client.request(method, f"/repos/{scene.repository}{path}", json=body)
    assert answer.status_code < 300, answer.text
    return answer.json()


async def on_line(asked: Asked, user: str, text: str, line: int = 4) -> int:
    """Have a person comment on a line of the pull request's diff; returns the comment's id."""
    pull = asked.pull
    body = {"body": text, "commit_id": pull["head"]["sha"], "path": PART, "line": line, "side": "RIGHT"}
    made = await api(asked.scene, user, "POST", f"/pulls/{pull['number']}/comments", body)
    return int(made["id"])


async def messages(asked: Asked) -> list[str]:
    """Return the messages of the pull request's commits, the oldest first."""
    headers = {"Authorization": f"token {asked.scene.hub.token_for(MAINTAINER)}"}
    async with httpx.AsyncClient(base_url=asked.scene.hub.api_url, headers=headers, trust_env=False) as client:
        path = f"/repos/{asked.scene.repository}/pulls/{asked.pull['number']}/commits"
        listed = (await client.get(path)).json()
    assert all(
        it["commit"]["verification"]["verified"] for it in listed if "Orchestrator-Run" in it["commit"]["message"]
    )
    return [it["commit"]["message"] for it in listed]


async def line_comments(asked: Asked) -> list[dict[str, Any]]:
    """Return the comments on lines of the pull request."""
    listed: list[dict[str, Any]] = await api(
        asked.scene, MAINTAINER, "GET", f"/pulls/{asked.pull['number']}/comments", {}
    )
    return listed
