"""A repository's customs: its pull request template, its trailers, its records, and who is asked to look."""

from __future__ import annotations

import pytest

from bot.localhub.faults import RecordedRequest
from bot.localhub.git import Git
from orchestrator.version import VERSION
from tests.e2e.endorsements import endorsements
from tests.e2e.stage import MAINTAINER, House
from tests.loopback import Script

pytestmark = pytest.mark.asyncio(loop_scope="module")

SPEC = "validation:\n  validators: [python_syntax]\ncommit:\n  sign_off: true\n  assisted_by: true\n"
TEMPLATE = "<!-- Thanks! -->\n## Checklist\n\n- [x] I have read the guide\n\n## What\n\n<!-- Tell us. -->\n\nFixes #1\n"
MADR = "---\nstatus: accepted\n---\n\n# Use files\n\n## Context and Problem Statement\n\nWhere to keep things?\n"


async def test_a_run_follows_the_repositorys_customs_and_asks_the_requester_once_to_review(house: House) -> None:
    scene = await house.scene(SPEC, Script(tasks=2))
    await scene.hub.commit(
        scene.repository,
        {
            "app.py": "x = 1\n",
            ".github/Pull_Request_Template.md": TEMPLATE,
            "docs/decisions/0041-use-files.md": MADR,
        },
    )

    asked = await scene.command()
    await asked.reacted("rocket")

    pull = asked.pull
    body = pull["body"]
    assert body.startswith("## Checklist\n\n- [ ] I have read the guide\n\n## What\n\n<!-- orchestrator:summary -->\n")
    assert f"\nCloses #{asked.issue}\n" in body
    assert f"Requested by @{MAINTAINER}, whose approval alone is no second look" in body
    assert ("Thanks!" in body, "Fixes #1\n" in body) == (False, False)  # what hides or would close is not kept
    assert [person["login"] for person in pull["requested_reviewers"]] == [MAINTAINER]
    assert len(scene.requests("POST", r"/pulls/\d+/requested_reviewers")) == 1

    repository = scene.hub.repository(scene.repository)
    message = await Git(repository.path)("log", "-1", "--format=%B", "--end-of-options", pull["head"]["sha"])
    last = message.decode().strip().split("\n\n")[-1].strip().splitlines()
    person = scene.hub.create_user(MAINTAINER)
    models = sorted({it["model"] for it in (await house.bot.report(asked.run_id))["tasks"]})
    assert sorted(line for line in last if line.startswith("Assisted-by:")) == [
        f"Assisted-by: multi-llm-orchestrator/{VERSION}:{model}" for model in models
    ]
    assert f"Signed-off-by: {MAINTAINER} <{person.id}+{MAINTAINER}@users.noreply.127.0.0.1>" in last
    assert f"Orchestrator-Run: {asked.run_id}" in last

    files = await scene.hub.files(scene.repository, pull["head"]["ref"])
    (record,) = [path for path in files if path.startswith("docs/decisions/0042-architecture-of-")]
    assert files[record].startswith(b"---\nstatus: accepted\ndate: 20")
    assert "docs/adr/0001-architecture.md" not in files


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/repos/octo/demo/pulls/1/merge", b"{}"),
        ("POST", "/repos/octo/demo/merges", b"{}"),
        ("POST", "/repos/octo/demo/pulls/1/reviews", b'{"event": "APPROVE"}'),
        ("POST", "/graphql", b"mutation { enablePullRequestAutoMerge(input: {}) { clientMutationId } }"),
        ("POST", "/graphql", b"mutation { addPullRequestReview(input: {event: APPROVE}) { clientMutationId } }"),
    ],
)
async def test_sec_28_every_way_to_endorse_a_change_would_be_seen(method: str, path: str, body: bytes) -> None:
    ours, theirs = {"authorization": "token ghs_x"}, {"authorization": "token ghp_x"}
    assert endorsements([RecordedRequest(method, path, "", ours, body)]) == [f"{method} {path}"]
    assert endorsements([RecordedRequest(method, path, "", theirs, body)]) == []
