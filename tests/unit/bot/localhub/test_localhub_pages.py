"""The pages: what they show, what they hide, and their forms."""

from __future__ import annotations

import json
import re

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.localhub import LocalHub, auth
from bot.localhub.markdown import to_html
from tests.unit.bot.localhub.conftest import Scene


@pytest.mark.parametrize(
    ("source", "html"),
    [
        ("**b** `c`", "<p><strong>b</strong> <code>c</code></p>\n"),
        ("a <!-- mark --> b", "<p>a  b</p>\n"),
        ("<!-- orchestrator:status run=1 -->\n\n## Budget", "<h2>Budget</h2>\n"),
        ("<!-- unclosed <b>", ""),
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ('x <img src=x onerror="a()">', "<p>x &lt;img src=x onerror=&quot;a()&quot;&gt;</p>\n"),
        ("[x](javascript:alert)", "<p>[x](javascript:alert)</p>\n"),
        (
            "![alt](http://far.example/x.png)",
            '<p><a href="http://far.example/x.png" rel="nofollow noopener">alt</a></p>\n',
        ),
        (
            "<details>\n<summary>More</summary>\n\ntext\n\n</details>",
            "<details>\n<summary>More</summary>\n<p>text</p>\n</details>",
        ),
        (
            "```suggestion\n<b>\n```",
            '<pre class="diff suggestion"><span class="add">&lt;b&gt;\n</span></pre>\n',
        ),
        ("```py\nx\n```", '<pre><code class="language-py">x\n</code></pre>\n'),
        ("`<!-- code -->`", "<p><code>&lt;!-- code --&gt;</code></p>\n"),
    ],
)
def test_markdown_becomes_inert_html(source: str, html: str) -> None:
    assert to_html(source) == html


@given(st.text(alphabet=st.sampled_from("<>/!-\"'= \nabscriptonimgsvhref&;:()[]`*"), max_size=80))
def test_no_text_makes_a_script_an_image_or_a_handler(source: str) -> None:
    tags = re.findall(r"<([a-z0-9]+)([^>]*)>", str(to_html(source)))

    assert {name for name, _ in tags} <= {
        "p",
        "br",
        "em",
        "strong",
        "b",
        "i",
        "a",
        "code",
        "pre",
        "ul",
        "ol",
        "li",
        "blockquote",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "hr",
        "s",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "sub",
        "sup",
        "kbd",
        "details",
        "summary",
    }
    assert all(re.fullmatch(r"( (href|rel|start|class|style|title)=\"[^\"]*\"| ?/)*", rest) for _, rest in tags)


async def test_every_page_of_a_repository_is_shown(scene: Scene) -> None:
    hub = scene.hub
    number = hub.create_issue("octo/demo", "Build <b>it</b>", "<!-- hidden -->Please", user="alice", labels=["bug"])
    hub.comment("octo/demo", number, "/orchestrate", user="alice")
    await hub.commit("octo/demo", {"src/demo.py": "x = 2\n"}, branch="topic/one")
    headers = {"Authorization": f"token {hub.workflow_token('octo/demo')}"}
    async with httpx2.AsyncClient(base_url=hub.url, headers=headers) as http:
        body = {"title": "Work", "head": "topic/one", "base": "main", "body": "Closes #1"}
        sha = (await http.post("/repos/octo/demo/pulls", json=body)).json()["head"]["sha"]
        where = {"path": "src/demo.py", "start_line": 1, "end_line": 1}
        note = {**where, "annotation_level": "failure", "message": "Bad x"}
        run = {
            "name": "orchestrator/validation",
            "head_sha": sha,
            "conclusion": "failure",
            "output": {"title": "1 finding", "summary": "**One**", "annotations": [note]},
        }
        run_id = (await http.post("/repos/octo/demo/check-runs", json=run)).json()["id"]
        texts = {
            path: (await http.get(path)).text
            for path in (
                "/",
                "/octo/demo",
                "/octo/demo/issues",
                "/octo/demo/issues/1",
                "/octo/demo/pulls",
                "/octo/demo/pull/2",
                f"/octo/demo/runs/{run_id}",
                f"/octo/demo/commit/{sha}",
                "/octo/demo/tree/topic/one/src",
                "/octo/demo/blob/topic/one/src/demo.py",
                "/octo/demo/pull/2/files",
                "/octo/demo/pull/2.diff",
                "/static/style.css",
                "/static/avatar.svg",
            )
        }
        missing = await http.get("/octo/demo/issues/77")

    assert missing.status_code == 404
    assert "octo/demo" in texts["/"]
    assert "topic/one" in texts["/octo/demo"]
    assert "Build &lt;b&gt;it&lt;/b&gt;" in texts["/octo/demo/issues"]
    assert "hidden" not in texts["/octo/demo/issues/1"]
    assert "/orchestrate" in texts["/octo/demo/issues/1"]
    assert "github-actions[bot]" in texts["/octo/demo/pull/2"]
    assert "Bad x" in texts["/octo/demo/pull/2"]
    assert "<strong>One</strong>" in texts[f"/octo/demo/runs/{run_id}"]
    assert '<td class="text">x = 2</td>' in texts[f"/octo/demo/commit/{sha}"]
    assert '<td class="text">x = 2</td>' in texts["/octo/demo/pull/2/files"]
    assert "demo.py" in texts["/octo/demo/tree/topic/one/src"]
    assert "x = 2" in texts["/octo/demo/blob/topic/one/src/demo.py"]
    assert texts["/octo/demo/pull/2.diff"].startswith("diff --git")
    assert texts["/static/style.css"].startswith(":root {")
    assert texts["/static/avatar.svg"].startswith("<svg ")
    assert all("style=" not in text and "<script" not in text for text in texts.values())


async def test_the_forms_act_as_the_pages_account_and_tell_the_hook(scene: Scene) -> None:
    async with httpx2.AsyncClient(base_url=scene.hub.url) as http:
        opened = await http.post("/octo/demo/issues", data={"title": "From the page", "body": "line\r\nline"})
        commented = await http.post("/octo/demo/issues/1/comments", data={"body": "/orchestrate"})
    await scene.hub.settled()

    assert (opened.status_code, opened.headers["location"]) == (303, "/octo/demo/issues/1")
    assert commented.headers["location"].startswith("/octo/demo/issues/1#issuecomment-")
    assert scene.hub.issues("octo/demo")[0]["body"] == "line\nline"
    comments = [(it["user"]["login"], it["body"]) for it in scene.hub.comments("octo/demo")]
    assert comments == [("octocat", "/orchestrate")]
    assert sorted(scene.receiver.events()) == [("issue_comment", "created"), ("issues", "opened")]


async def test_a_check_runs_buttons_and_re_runs_on_its_page_send_what_github_sends(scene: Scene) -> None:
    sha = (await scene.hub.branches("octo/demo"))["main"]
    button = {"label": "Retry failed", "description": "Go on", "identifier": "retry_failed"}
    async with httpx2.AsyncClient(base_url=scene.hub.url) as http:
        token = auth.mint(scene.hub.state, scene.hub.state.installations[scene.installation_id], None).value
        body = {"name": "orchestrator/review", "head_sha": sha, "status": "in_progress", "actions": [button]}
        made = await http.post("/repos/octo/demo/check-runs", json=body, headers={"Authorization": f"token {token}"})
        page = f"/octo/demo/runs/{made.json()['id']}"
        working = await http.get(page)
        early = await http.post(f"{page}/actions", data={"identifier": "retry_failed"})
        await http.patch(
            f"/repos/octo/demo/check-runs/{made.json()['id']}",
            json={"conclusion": "failure"},
            headers={"Authorization": f"token {token}"},
        )
        shown = await http.get(page)
        pressed = await http.post(f"{page}/actions", data={"identifier": "retry_failed"})
        unknown = await http.post(f"{page}/actions", data={"identifier": "drop_all"})
        again = await http.post(f"{page}/rerequest")
        everything = await http.post(f"{page}/rerequest-all")
        foreign = await http.post(f"{page}/rerequest", headers={"Origin": "http://evil.example"})
    await scene.hub.settled()

    assert ("Retry failed" in working.text, "Retry failed" in shown.text) == (False, True)
    statuses = [it.status_code for it in (early, pressed, unknown, again, everything, foreign)]
    assert statuses == [422, 303, 422, 303, 303, 403]
    events = sorted(it for it in scene.receiver.events() if it[1] in ("requested_action", "rerequested"))
    assert events == [
        ("check_run", "requested_action"),
        ("check_run", "rerequested"),
        ("check_suite", "rerequested"),
    ]
    (press,) = (json.loads(it.body) for it in scene.hub.deliveries if it.action == "requested_action")
    assert (press["requested_action"], press["sender"]["login"]) == ({"identifier": "retry_failed"}, "octocat")
    assert press["check_run"]["head_sha"] == sha


async def test_another_sites_page_cannot_use_the_forms(hub: LocalHub) -> None:
    hub.create_issue("octo/demo", "One", user="alice")
    async with httpx2.AsyncClient(base_url=hub.url) as http:
        path, data = "/octo/demo/issues/1/comments", {"body": "/orchestrate"}
        foreign = await http.post(path, data=data, headers={"Origin": "http://evil.example"})
        rebound = await http.post(path, data=data, headers={"Host": "evil.example", "Origin": "http://evil.example"})

    assert (foreign.status_code, rebound.status_code, hub.comments("octo/demo")) == (403, 400, [])
