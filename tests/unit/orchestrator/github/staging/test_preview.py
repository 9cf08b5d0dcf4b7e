from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.github.staging.preview import Preview, Shown, line, markdown, shown, texts

AT = "/repos/octo/demo"
SHA = "c" * 40


def _post(where: str, body: Any, answer: Any = None, diff: str = "") -> Preview:
    return Preview("POST", f"{AT}{where}", body, answer or {"id": 7}, diff)


def _patch(where: str, body: Any) -> Preview:
    return Preview("PATCH", f"{AT}{where}", body, {})


def test_a_comment_that_was_edited_is_shown_once_as_it_stands_at_last() -> None:
    previews = [
        _post("/issues/3/comments", {"body": "Working"}),
        _patch("/issues/comments/7", {"body": "Still working"}),
        _patch("/issues/comments/7", {"body": "Done"}),
    ]
    assert shown(previews) == (Shown("comment", "on #3", (("edited", "2 times"),), "Done"),)


def test_blobs_trees_and_commits_are_shown_as_the_branch_that_they_become() -> None:
    previews = [
        _post("/git/blobs", {"content": "eA=="}, {"sha": "b"}),
        _post("/git/trees", {"tree": []}, {"sha": "t"}, "--- /dev/null\n+++ b/x\n"),
        _post("/git/commits", {"message": "Build it", "tree": "t"}, {"sha": SHA}),
        _post("/git/refs", {"ref": "refs/heads/orchestrator/1-x", "sha": SHA}, {"ref": "refs/heads/orchestrator/1-x"}),
    ]
    assert shown(previews) == (
        Shown("branch", "orchestrator/1-x", (("commit", "c" * 12),), "Build it", "--- /dev/null\n+++ b/x\n"),
    )


def test_a_check_run_shows_its_result_and_every_annotation_of_every_request() -> None:
    note = {"path": "a.py", "start_line": 2, "message": "vague"}
    made = {"name": "orchestrator/review", "head_sha": SHA, "status": "in_progress", "output": {"title": "1/3"}}
    over = {"conclusion": "failure", "output": {"title": "2 findings", "summary": "See.", "annotations": [note]}}
    (check,) = shown([_post("/check-runs", made), _patch("/check-runs/7", over), _patch("/check-runs/7", over)])
    assert check == Shown(
        "check run",
        "orchestrator/review",
        (("commit", "c" * 12), ("result", "failure"), ("edited", "2 times")),
        "2 findings\n\nSee.\na.py:2 vague\na.py:2 vague",
    )


def test_everything_else_has_words_of_its_own() -> None:
    note = {"path": "a.py", "line": 3, "body": "why?"}
    previews = [
        _post("/issues/comments/9/reactions", {"content": "eyes"}),
        _post(
            "/pulls", {"title": "T", "head": "x", "base": "main", "draft": True, "body": "B"}, {"number": 4, "id": 1}
        ),
        _patch("/pulls/4", {"title": "T2", "state": "closed"}),
        _post("/issues/4/labels", ["bug"], [{"name": "bug"}]),
        _post("/pulls/4/reviews", {"event": "COMMENT", "body": "Look", "comments": [note]}),
        _post("/pulls/4/comments", note, {"id": 8}),
        _post(f"/statuses/{SHA}", {"context": "orchestrator/budget", "state": "success", "description": "ok"}),
        Preview("POST", "/graphql", {"query": "…"}, {"name": "resolveReviewThread"}),
        Preview("PUT", f"{AT}/issues/4/lock", None, {}),
    ]
    assert [(it.kind, it.title, it.text) for it in shown(previews)] == [
        ("reaction", "eyes", ""),
        ("pull request", "#4 T2", "B"),
        ("labels", "bug", ""),
        ("review", "on #4", "Look\na.py:3 why?"),
        ("review comment", "on #4", "why?"),
        ("commit status", "orchestrator/budget", "ok"),
        ("change", "resolveReviewThread", ""),
        ("change", "PUT /issues/4/lock", "null"),
    ]


def test_what_was_deleted_is_not_shown() -> None:
    gone = Preview("DELETE", f"{AT}/issues/comments/7", None, {})
    assert shown([_post("/issues/3/comments", {"body": "x"}), gone]) == ()


def test_a_call_is_one_line_with_long_texts_cut_and_says_the_rest_below() -> None:
    it = _post("/issues/3/comments", {"body": "first\n" + "x" * 200})
    assert line(it) == f'POST {AT}/issues/3/comments {{"body": "first\\n{"x" * 113}…"}}'
    assert texts(it) == "first\n" + "x" * 200


def test_no_previews_are_no_markdown() -> None:
    assert markdown([]) == ""


@given(st.text(alphabet="`~#<>[]()!@\n ab", max_size=60))
def test_sec_30_no_text_breaks_out_of_its_fence_in_a_summary(text: str) -> None:
    written = markdown([_post("/issues/3/comments", {"body": text})])
    _, _, fenced = written.partition("### Comment: on #3\n\n")
    if not text.strip():
        assert fenced == ""
        return
    fence, _, rest = fenced.partition("markdown\n")
    assert set(fence) == {"`"}
    assert rest == f"{text.rstrip()}\n{fence}"
    assert fence not in text


@given(st.recursive(st.none() | st.integers() | st.text(), lambda it: st.lists(it) | st.dictionaries(st.text(), it)))
def test_a_preview_survives_the_store(body: Any) -> None:
    it = Preview("POST", f"{AT}/x", body, {"id": 1}, "d")
    assert Preview.from_json(it.to_json()) == it
    assert isinstance(json.loads(it.to_json()), dict)
    shown([it])
    assert "\n" not in line(it)
