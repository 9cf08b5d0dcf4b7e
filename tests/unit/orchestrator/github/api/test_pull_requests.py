from __future__ import annotations

from orchestrator.github.api.pull_requests import open_pull_request
from orchestrator.github.rendering.template import filled
from tests.unit.orchestrator.github.api.test_repository import _commit
from tests.unit.orchestrator.github.conftest import REPO, Scene


async def test_a_pull_request_is_opened_once_and_its_text_kept_up_to_date(scene: Scene) -> None:
    await _commit(scene)
    arguments = {"head": "orchestrator/1-x", "base": "main", "title": "Build it"}
    first = await open_pull_request(scene.client, **arguments, body="one", draft=True)
    second = await open_pull_request(scene.client, **arguments, body="two", draft=True)
    assert first.number == second.number
    assert [(it["body"], it["draft"]) for it in scene.hub.pull_requests(REPO)] == [("two", True)]


async def test_what_people_wrote_into_our_pull_request_stays_when_its_text_is_brought_up_to_date(scene: Scene) -> None:
    await _commit(scene)
    arguments = {"head": "orchestrator/1-x", "base": "main", "title": "Build it"}
    template = "## What\n\n## Checklist\n\n- [ ] read"
    first = await open_pull_request(scene.client, **arguments, body=filled(template, "one"), draft=True)
    ticked = filled(template, "one").replace("[ ]", "[x]") + "\n\nI tried it."
    await scene.client.write("edit", lambda it: it.get_pull(first.number or 0).edit(body=ticked))
    await open_pull_request(scene.client, **arguments, body=filled(template, "two"), draft=True)
    assert [it["body"] for it in scene.hub.pull_requests(REPO)] == [ticked.replace("\none\n", "\ntwo\n")]


async def test_a_lost_answer_to_the_opening_of_a_pull_request_makes_no_second_one(scene: Scene) -> None:
    await _commit(scene)
    scene.hub.faults.add(method="POST", path_regex="/pulls$", kind="drop_after")
    opened = await open_pull_request(
        scene.client, head="orchestrator/1-x", base="main", title="Build it", body="", draft=False
    )
    assert [it["number"] for it in scene.hub.pull_requests(REPO)] == [opened.number]


async def test_where_drafts_are_not_to_be_had_it_is_opened_as_ready(scene: Scene) -> None:
    await _commit(scene)
    said = {"message": "Draft pull requests are not supported in this repository."}
    scene.hub.faults.add(method="POST", path_regex="/pulls$", kind="status", status=422, body=said)
    opened = await open_pull_request(
        scene.client, head="orchestrator/1-x", base="main", title="Build it", body="", draft=True
    )
    assert opened.draft is False


async def test_where_none_may_be_opened_the_answer_is_a_link_and_the_setting(scene: Scene) -> None:
    await _commit(scene)
    said = {"message": "GitHub Actions is not permitted to create or approve pull requests."}
    scene.hub.faults.add(method="POST", path_regex="/pulls$", kind="status", status=403, body=said)
    opened = await open_pull_request(
        scene.client, head="orchestrator/1-x", base="main", title="Build it", body="", draft=True
    )
    assert opened.number is None
    assert opened.url == f"{scene.hub.url}/octo/demo/compare/main...orchestrator/1-x?expand=1"
    assert "Allow GitHub Actions to create and approve pull requests" in opened.note
