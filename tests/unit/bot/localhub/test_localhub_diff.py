"""Diffs on pages: the rows of a patch, and what was said about a line right below it."""

from __future__ import annotations

import difflib
import re

import httpx2
from hypothesis import given
from hypothesis import strategies as st

from bot.localhub.diff import Row, rows
from bot.localhub.markdown import to_html
from tests.unit.bot.localhub.conftest import Scene

LINES = st.lists(st.text(alphabet="ab+-@\\ \x0c\u2028", max_size=3), max_size=12)


def test_the_rows_of_a_patch_count_in_both_files() -> None:
    patch = "@@ -1,3 +1,3 @@ class A:\n x\n-y\n+-y\n z\n\\ No newline at end of file"

    assert rows(patch) == (
        Row("hunk", None, None, "@@ -1,3 +1,3 @@ class A:"),
        Row("same", 1, 1, "x"),
        Row("del", 2, None, "y"),
        Row("add", None, 2, "-y"),
        Row("same", 3, 3, "z"),
        Row("note", None, None, "No newline at end of file"),
    )
    assert rows(None) == ()


@given(LINES, LINES)
def test_the_rows_hold_the_lines_of_both_files_at_their_numbers(old: list[str], new: list[str]) -> None:
    patch = "\n".join(list(difflib.unified_diff(old, new, lineterm="", n=99))[2:])

    shown = rows(patch)

    if old != new:
        assert [(it.old, it.text) for it in shown if it.old is not None] == list(enumerate(old, 1))
        assert [(it.new, it.text) for it in shown if it.new is not None] == list(enumerate(new, 1))


def test_a_suggestion_shows_the_lines_that_it_would_replace() -> None:
    html = to_html("Shorter:\n\n```suggestion\ny = 1\n```\n", ("y = 1 + 0", "z < 2"))

    assert html == (
        '<p>Shorter:</p>\n<pre class="diff suggestion"><span class="del">y = 1 + 0\n</span>'
        '<span class="del">z &lt; 2\n</span><span class="add">y = 1\n</span></pre>\n'
    )


async def test_changed_files_show_comments_replies_suggestions_and_annotations_at_their_lines(scene: Scene) -> None:
    hub = scene.hub
    await hub.commit("octo/demo", {"src/demo.py": "x = 1\ny = 20\nz = 3\n", "new.txt": "a\n"}, branch="topic")
    headers = {"Authorization": f"token {hub.workflow_token('octo/demo')}"}
    async with httpx2.AsyncClient(base_url=hub.url, headers=headers) as http:
        opened = {"title": "Work", "head": "topic", "base": "main"}
        sha = (await http.post("/repos/octo/demo/pulls", json=opened)).json()["head"]["sha"]
        said = {"path": "src/demo.py", "line": 2, "body": "Why?\n\n```suggestion\ny = 4\n```", "commit_id": sha}
        first = (await http.post("/repos/octo/demo/pulls/1/comments", json=said)).json()["id"]
        await http.post(f"/repos/octo/demo/pulls/1/comments/{first}/replies", json={"body": "Because <script>."})
        notes = [
            {"path": "src/demo.py", "start_line": 3, "end_line": 3, "annotation_level": "failure", "message": "Bad z"},
            {"path": "new.txt", "start_line": 9, "end_line": 9, "annotation_level": "notice", "message": "Gone"},
        ]
        run = {
            "name": "orchestrator/validation",
            "head_sha": sha,
            "conclusion": "failure",
            "output": {"title": "Two", "summary": "", "annotations": notes},
        }
        await http.post("/repos/octo/demo/check-runs", json=run)
        page = (await http.get("/octo/demo/pull/1/files")).text
        checks = await http.get("/octo/demo/pull/1/checks")
        missing = [(await http.get(f"/octo/demo/{path}")).status_code for path in ("pull/7/files", "pull/1/thing")]

    parts = [
        'id="file-1"', ">new.txt<", "About lines that are not shown:", "Gone", 'id="file-2"', ">src/demo.py<",
        '<tr class="del"><td class="at" data-line="2"></td><td class="at" data-line=""></td><td class="text">y = 2<',
        '<tr class="add"><td class="at" data-line=""></td><td class="at" data-line="2"></td><td class="text">y = 20<',
        f'id="discussion_r{first}"', '<span class="del">y = 20\n</span><span class="add">y = 4\n</span>',
        "Because &lt;script&gt;.", '<td class="text">z = 3<', "Bad z",
    ]  # fmt: skip
    assert re.search(".*".join(re.escape(part) for part in parts), page, re.DOTALL), page
    assert "2 changed files" in page
    assert (checks.status_code, checks.headers["location"]) == (302, "/octo/demo/pull/1#checks")
    assert missing == [404, 404]
