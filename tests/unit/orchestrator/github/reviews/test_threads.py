from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest
from github import Auth, Github

from bot.localhub.state import ReviewComment
from orchestrator.github.api.client import AmbiguousWrite, NotFound, Refused
from orchestrator.github.reviews.threads import mark_ready, reply_to_thread, resolve_thread, review_threads
from tests.unit.orchestrator.github.conftest import REPO, Scene

CONTENT = "".join(f"line {number}\n" for number in range(1, 131))


async def _pull(scene: Scene, *, draft: bool = False) -> int:
    """A pull request by the App that adds a file of 130 lines."""
    await scene.hub.commit(REPO, {"src/new.py": CONTENT}, branch="change")
    opened = await scene.client.write(
        "open", lambda repository: repository.create_pull(base="main", head="change", title="Change", draft=draft)
    )
    return opened.number


async def _review(
    scene: Scene, number: int, comments: Sequence[Mapping[str, object]], user: str = "maria"
) -> list[int]:
    """A review with comments on lines, and the ids of all comments there are."""

    def work() -> list[int]:
        with Github(
            base_url=scene.hub.api_url, auth=Auth.Token(scene.hub.token_for(user)), seconds_between_writes=0
        ) as it:
            pull = it.get_repo(REPO).get_pull(number)
            pull.create_review(event="COMMENT", comments=[{"side": "RIGHT", **entry} for entry in comments])  # type: ignore[typeddict-item]
            return [comment.id for comment in pull.get_review_comments()]

    return await asyncio.to_thread(work)


async def test_threads_come_with_their_lines_authors_and_answers(scene: Scene) -> None:
    number = await _pull(scene)
    (first,) = await _review(scene, number, [{"path": "src/new.py", "line": 3, "body": "Why?"}])
    answer = await reply_to_thread(scene.client, number, first, "Because.")
    (thread,) = await review_threads(scene.client, number)
    assert (thread.path, thread.line, thread.resolved, thread.outdated) == ("src/new.py", 3, False, False)
    assert [(it.id, it.author, it.body) for it in thread.comments] == [
        (first, "maria", "Why?"),
        (answer, "orchestrator[bot]", "Because."),
    ]


async def test_every_page_of_threads_and_of_their_comments_is_read(scene: Scene) -> None:
    # Given 120 threads, the first with 155 comments
    number = await _pull(scene)
    found = await _review(
        scene, number, [{"path": "src/new.py", "line": line, "body": f"on {line}"} for line in range(1, 121)]
    )
    repo = scene.hub.repository(REPO)
    pull = repo.issues[number].pull
    assert pull is not None
    maria, actor = scene.hub.create_user("maria"), scene.hub.world.actor(pull.comments[0].user)
    for position in range(154):
        answer = ReviewComment(
            scene.hub.state.next_id(), maria, f"answer {position}", path="src/new.py", in_reply_to=found[0]
        )
        scene.hub.world.add_review_comment(repo, actor, repo.issues[number], answer)
    # When they are read
    threads = await review_threads(scene.client, number)
    # Then nothing is left out
    assert [thread.line for thread in threads] == list(range(1, 121))
    assert [comment.body for comment in threads[0].comments] == ["on 1", *(f"answer {it}" for it in range(154))]


async def test_a_thread_is_resolved_once_and_stays_resolved(scene: Scene) -> None:
    number = await _pull(scene)
    await _review(scene, number, [{"path": "src/new.py", "line": 3, "body": "Why?"}])
    (thread,) = await review_threads(scene.client, number)
    scene.hub.faults.add(method="POST", path_regex="graphql$", kind="drop_after")
    await resolve_thread(scene.client, thread.id)
    await resolve_thread(scene.client, thread.id)
    assert [it.resolved for it in await review_threads(scene.client, number)] == [True]


async def test_a_thread_whose_line_changed_is_outdated_and_others_move_along(scene: Scene) -> None:
    number = await _pull(scene)
    await _review(scene, number, [{"path": "src/new.py", "line": line, "body": "?"} for line in (3, 9, 40)])
    changed = CONTENT.replace("line 9\n", "line nine\n").replace("line 20\n", "line 20\nmore\nand more\n")
    await scene.hub.commit(REPO, {"src/new.py": changed}, branch="change")
    threads = await review_threads(scene.client, number)
    assert [(it.line, it.outdated) for it in threads] == [(3, False), (None, True), (42, False)]


async def test_what_graphql_refuses_has_the_status_that_rest_would_refuse_it_with(scene: Scene) -> None:
    number = await _pull(scene)
    await _review(scene, number, [{"path": "src/new.py", "line": 3, "body": "Why?"}])
    (thread,) = await review_threads(scene.client, number)
    with pytest.raises(NotFound, match="404 Could not resolve to a PullRequest with the number of 99"):
        await review_threads(scene.client, 99)
    with pytest.raises(NotFound, match="Could not resolve to a node with the global id"):
        await resolve_thread(scene.client, "nobody")
    for token in scene.hub.state.tokens.values():
        token.permissions["contents"] = "read"
    with pytest.raises(Refused, match="403 Resource not accessible by integration"):
        await resolve_thread(scene.client, thread.id)


async def test_a_rate_limit_of_graphql_is_waited_for(scene: Scene) -> None:
    number = await _pull(scene)
    limited = {"errors": [{"type": "RATE_LIMITED", "message": "API rate limit exceeded for installation."}]}
    scene.hub.faults.add(
        method="POST", path_regex="graphql$", kind="status", status=200, headers={"retry-after": "7"}, body=limited
    )
    assert await review_threads(scene.client, number) == ()
    assert scene.waits == [7.0]


async def test_an_answer_whose_answer_was_lost_is_not_sent_again(scene: Scene) -> None:
    number = await _pull(scene)
    (first,) = await _review(scene, number, [{"path": "src/new.py", "line": 3, "body": "Why?"}])
    fault = scene.hub.faults.add(method="POST", path_regex="/(comments|replies)", kind="drop_after", times=9)
    with pytest.raises(AmbiguousWrite):
        await reply_to_thread(scene.client, number, first, "Because.")
    (thread,) = await review_threads(scene.client, number)
    assert (fault.hits, len(thread.comments)) == (1, 2)


async def test_a_draft_is_made_ready_once(scene: Scene) -> None:
    number = await _pull(scene, draft=True)
    await mark_ready(scene.client, number)
    await mark_ready(scene.client, number)
    assert [it["draft"] for it in scene.hub.pull_requests(REPO)] == [False]
    assert sum(it.path.endswith("/graphql") for it in scene.hub.requests) == 1
