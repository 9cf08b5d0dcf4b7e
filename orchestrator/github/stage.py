"""What GitHub would answer if writes were made that are not: a small world laid over what can be read.

Whatever was written is kept as a `Preview` and found again by every later read; what is not known here is read from
GitHub. The world is its previews: built from those that an earlier process left, it goes on where that one stopped.
"""

from __future__ import annotations

import base64
import difflib
import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from orchestrator.github.preview import Preview

FIRST_ID = 4_000_000_000_000_000
"""Far above GitHub's ids, so that none of ours can name something real, and below 2**53, which JSON holds exactly."""
MAX_DIFF_LETTERS = 200_000

Headers = dict[str, Any]
Answer = tuple[int, Headers, Any]
Look = Callable[[str, Mapping[str, Any]], Answer]
"""Reads from GitHub: path below the API's address and query in; status, headers with lower-case names, and JSON out."""

_SETS = ("/labels", "/assignees", "/requested_reviewers", "/graphql")
"""Where the same write again changes nothing."""
_BY_HASH = {"/git/blobs": "blob", "/git/trees": "tree", "/git/commits": "commit"}
_OF_COMMIT = re.compile(r"/commits/(?P<sha>[0-9a-f]{40})(?P<rest>/.*)?\Z")
_OF_NUMBER = re.compile(r"/(?:issues|pulls)/(?P<number>\d+)(?P<rest>/.*)?\Z")
_MUTATION = re.compile(r"\s*mutation\b[^{]*\{\s*(?:\w+\s*:\s*)?(?P<name>\w+)")


@dataclass(slots=True)
class Stage:
    """The world of one repository: `login` writes, `api_url` and `server_url` are where its addresses would lead."""

    repository: str
    login: str
    api_url: str
    server_url: str
    _objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    _members: dict[str, list[str]] = field(default_factory=dict)
    _patches: dict[str, dict[str, Any]] = field(default_factory=dict)
    _gone: set[str] = field(default_factory=set)
    _new: list[Preview] = field(default_factory=list)
    _set: dict[str, Preview] = field(default_factory=dict)
    _last_id: int = 0
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def recall(self, previews: Iterable[Preview]) -> None:
        """Lay what was written earlier into the world."""
        for it in previews:
            self._apply(it)

    def taken(self) -> list[Preview]:
        """Return what was written since this was last asked."""
        with self._lock:
            new, self._new = self._new, []
            return new

    def answer(self, method: str, path: str, query: Mapping[str, Any], body: Any, look: Look) -> Answer:
        """Answer one request; `path` is below the API's address, `/graphql` for GraphQL."""
        with self._lock:
            if path == "/graphql":
                return self._graphql(query, body, look)
            if method == "GET":
                return self._read(path, query, look)
            return self._write(method, path, body, look)

    # writing

    def _write(self, method: str, path: str, body: Any, look: Look) -> Answer:
        where = self._below(path)
        if (known := self._known(method, where, body)) is not None:
            return 200 if where.endswith("/reactions") else 201, {}, known
        diff = ""
        if method == "POST" and where == "/git/trees":
            entries, diff = self._tree(body, look)
            answer: Any = {"sha": _sha("tree", body), "url": self._url(f"/git/trees/{_sha('tree', body)}")}
            answer |= {"tree": entries, "truncated": False}
        else:
            answer = self._would_answer(method, where, body, look)
        self._keep(Preview(method, path, body, answer, diff))
        if method == "DELETE":
            return 204, {}, None
        return (201 if method == "POST" else 200), {}, self._current(where) if method == "PATCH" else answer

    def _known(self, method: str, where: str, body: Any) -> Any:
        """Return what the same write was answered before where it changes nothing, or None."""
        if method != "POST":
            return None
        if where in _BY_HASH:
            return self._objects.get(f"{where}/{_sha(_BY_HASH[where], body)}")
        if where.endswith("/reactions"):
            return next((it for it in self._listed(where) if it.get("content") == body.get("content")), None)
        found = self._set.get(_text(where, body))
        return found.answer if found else None

    def _keep(self, preview: Preview) -> None:
        self._apply(preview)
        self._new.append(preview)

    def _would_answer(self, method: str, where: str, body: Any, look: Look) -> Any:
        """Return what GitHub would answer to a write, before it is part of the world."""
        if method != "POST":
            return {}
        given = dict(body) if isinstance(body, Mapping) else {}
        number = self._next_id()
        common = {"id": number, "node_id": f"staged-{number}", "user": self._user(), "created_at": _now()}
        if where == "/git/commits":
            return self._commit(given)
        if where == "/git/blobs":
            sha = _sha("blob", body)
            return {"sha": sha, "url": self._url(f"/git/blobs/{sha}")}
        if where == "/git/refs":
            return self._ref(str(given["ref"]), str(given["sha"]))
        if where == "/pulls":
            return self._pull(given, common, look)
        if where == "/check-runs":
            return common | self._check_run(given, number)
        if where.endswith("/labels"):
            names = body if isinstance(body, list) else given.get("labels", [])
            return [{"id": self._next_id(), "name": name, "url": self._url(f"/labels/{name}")} for name in names]
        path = _object_path(where, number)
        links = {"url": self._url(path), "html_url": self._page(where, number), "updated_at": _now()}
        if where.endswith("/reviews"):
            links |= {"state": {"APPROVE": "APPROVED"}.get(str(given.get("event")), "COMMENTED")}
        return given | common | links

    def _commit(self, given: dict[str, Any]) -> dict[str, Any]:
        sha = _sha("commit", given)
        who = {"name": self.login, "email": f"{self.login}@users.noreply.github.com", "date": _now()}
        return {
            "sha": sha,
            "node_id": f"staged-{sha}",
            "url": self._url(f"/git/commits/{sha}"),
            "html_url": f"{self.server_url}/{self.repository}/commit/{sha}",
            "message": given.get("message", ""),
            "tree": {"sha": given.get("tree"), "url": self._url(f"/git/trees/{given.get('tree')}")},
            "parents": [{"sha": it, "url": self._url(f"/git/commits/{it}")} for it in given.get("parents", [])],
            "author": who,
            "committer": who,
            "verification": {"verified": True, "reason": "valid", "signature": None, "payload": None},
        }

    def _ref(self, ref: str, sha: str) -> dict[str, Any]:
        target = {"type": "commit", "sha": sha, "url": self._url(f"/git/commits/{sha}")}
        return {"ref": ref, "node_id": f"staged-{ref}", "url": self._url(f"/git/{ref}"), "object": target}

    def _pull(self, given: dict[str, Any], common: dict[str, Any], look: Look) -> dict[str, Any]:
        query = {"state": "all", "sort": "created", "direction": "desc", "per_page": 1}
        _, _, newest = look(f"/repos/{self.repository}/issues", query)
        numbers = [int(it["number"]) for it in newest] if isinstance(newest, list) else []
        numbers += [
            int(it["number"]) for path, it in self._objects.items() if path.startswith("/pulls/") and "number" in it
        ]
        number = max(numbers, default=0) + 1
        head, base = str(given.get("head", "")).rpartition(":")[2], str(given.get("base", ""))
        repository = {"full_name": self.repository, "url": f"{self.api_url}/repos/{self.repository}"}
        return (
            given
            | common
            | {
                "number": number,
                "state": "open",
                "locked": False,
                "merged": False,
                "merged_at": None,
                "closed_at": None,
                "draft": bool(given.get("draft")),
                "body": given.get("body"),
                "title": given.get("title", ""),
                "labels": [],
                "assignees": [],
                "requested_reviewers": [],
                "url": self._url(f"/pulls/{number}"),
                "issue_url": self._url(f"/issues/{number}"),
                "comments_url": self._url(f"/issues/{number}/comments"),
                "html_url": f"{self.server_url}/{self.repository}/pull/{number}",
                "head": {"ref": head, "sha": self._head(head) or "", "repo": repository, "user": self._owner()},
                "base": {"ref": base, "sha": "", "repo": repository, "user": self._owner()},
            }
        )

    def _check_run(self, given: dict[str, Any], number: int) -> dict[str, Any]:
        output = given.get("output") or {}
        return {
            "name": given.get("name", ""),
            "head_sha": given.get("head_sha", ""),
            "external_id": given.get("external_id", ""),
            "status": given.get("status", "completed" if given.get("conclusion") else "queued"),
            "conclusion": given.get("conclusion"),
            "started_at": _now(),
            "completed_at": _now() if given.get("conclusion") else None,
            "url": self._url(f"/check-runs/{number}"),
            "html_url": f"{self.server_url}/{self.repository}/runs/{number}",
            "details_url": given.get("details_url"),
            "app": {"id": FIRST_ID, "slug": self.login.removesuffix("[bot]"), "name": self.login},
            "pull_requests": [],
            "output": {
                **{name: output.get(name) for name in ("title", "summary", "text")},
                "annotations_count": len(output.get("annotations") or []),
                "annotations_url": self._url(f"/check-runs/{number}/annotations"),
            },
        }

    def _tree(self, body: Mapping[str, Any], look: Look) -> tuple[list[dict[str, Any]], str]:
        """Return the files of a tree that changes a base one, and what changed."""
        base = str(body.get("base_tree") or "")
        _, _, listed = (
            self._read(f"/repos/{self.repository}/git/trees/{base}", {"recursive": "1"}, look) if base else (0, {}, {})
        )
        found = listed.get("tree", []) if isinstance(listed, Mapping) else []
        there: dict[str, dict[str, Any]] = {it["path"]: it for it in found if it.get("type") != "tree"}
        parts: list[str] = []
        for entry in body.get("tree", []):
            path = str(entry["path"])
            before = self._blob(there.get(path), look)
            if "content" in entry:
                after: bytes | None = str(entry["content"]).encode()
                entry = {**entry, "sha": _blob_sha(after or b"")}
            else:
                after = self._blob(entry if entry.get("sha") else None, look)
            parts.append(_diff(path, before, after))
            there.pop(path, None)
            if entry.get("sha"):
                there[path] = {"path": path, "mode": entry["mode"], "type": entry["type"], "sha": entry["sha"]}
                there[path] |= {"size": len(after or b""), "url": self._url(f"/git/blobs/{entry['sha']}")}
        diff = "".join(parts)
        cut = "\n(the rest of the diff is left out)\n" if len(diff) > MAX_DIFF_LETTERS else ""
        return sorted(there.values(), key=lambda it: str(it["path"])), diff[:MAX_DIFF_LETTERS] + cut

    def _blob(self, entry: Mapping[str, Any] | None, look: Look) -> bytes | None:
        if entry is None or entry.get("type") == "commit":
            return None
        staged = self._objects.get(f"/git/blobs/{entry['sha']}")
        if staged is None:
            status, _, staged = look(f"/repos/{self.repository}/git/blobs/{entry['sha']}", {})
            if status >= 400 or not isinstance(staged, Mapping):
                return None
        content = str(staged.get("content", ""))
        return base64.b64decode(content) if staged.get("encoding") == "base64" else content.encode()

    # the world

    def _apply(self, it: Preview) -> None:
        """Lay one write into the world."""
        where = self._below(it.path)
        if where.endswith(_SETS):
            self._set[_text(where, it.body)] = it
        if it.method == "DELETE":
            self._gone.add(where)
        elif it.method == "POST" and where in _BY_HASH and isinstance(it.answer, Mapping):
            self._objects[f"{where}/{it.answer['sha']}"] = {**(it.body if where == "/git/blobs" else {}), **it.answer}
        elif it.method == "POST" and where == "/git/refs":
            self._objects[f"/git/{it.answer['ref']}"] = dict(it.answer)
        elif it.method == "PATCH" and where.startswith("/git/refs/"):
            ref = unquote(where.removeprefix("/git/"))
            self._objects[f"/git/{ref}"] = self._ref(ref, str(it.body["sha"]))
        elif it.method in ("PATCH", "PUT"):
            self._patch(where, it.body)
        elif isinstance(it.answer, Mapping) and "id" in it.answer:
            self._last_id = max(self._last_id, int(it.answer["id"]))
            self._add(where, dict(it.answer), it.body)

    def _add(self, where: str, made: dict[str, Any], body: Any) -> None:
        path = f"/pulls/{made['number']}" if where == "/pulls" else _object_path(where, int(made["id"]))
        self._objects[path] = made
        collection = where
        if where == "/check-runs":
            collection = f"/commits/{made['head_sha']}/check-runs"
        elif where.startswith("/statuses/"):
            collection = f"/commits/{where.removeprefix('/statuses/')}/statuses"
        self._members.setdefault(collection, []).append(path)
        if where == "/check-runs":
            self._patch(path, {"output": dict(body).get("output")})
        if where == "/pulls":
            self._objects[f"/issues/{made['number']}"] = made | {"pull_request": {"url": made["url"]}}
        if where.endswith("/reviews"):
            for note in dict(body).get("comments") or []:
                number = self._next_id()
                links = {"id": number, "user": made["user"], "pull_request_review_id": made["id"], "created_at": _now()}
                comments = where.removesuffix("/reviews") + "/comments"
                self._add(comments, {**note, **links, "url": self._url(f"/pulls/comments/{number}")}, note)

    def _patch(self, path: str, body: Any) -> None:
        changes = dict(body) if isinstance(body, Mapping) else {}
        target = self._objects.get(path)
        if target is None:
            target = self._patches.setdefault(path, {})
        output = changes.pop("output", None)
        changes.pop("actions", None)
        target.update(changes)
        if changes:
            target["updated_at"] = _now()
        if isinstance(output, Mapping):
            notes = [*target.get("staged_annotations", []), *(output.get("annotations") or [])]
            shown = {name: output.get(name) for name in ("title", "summary", "text")}
            target["staged_annotations"] = notes
            target["output"] = shown | {
                "annotations_count": len(notes),
                "annotations_url": self._url(f"{path}/annotations"),
            }

    # reading

    def _read(self, path: str, query: Mapping[str, Any], look: Look) -> Answer:
        where = self._below(path)
        if where.startswith(("/git/matching-refs/", "/git/refs/", "/git/ref/", "/branches/")):
            return self._refs(path, where, query, look)
        if where in self._gone:
            return _missing()
        if where in self._objects:
            return 200, {}, self._current(where)
        if where.endswith("/annotations") and where.removesuffix("/annotations") in self._objects:
            return 200, {}, self._objects[where.removesuffix("/annotations")].get("staged_annotations", [])
        if where == "/pulls":
            return self._pulls(path, query, look)
        if (found := _OF_COMMIT.match(where)) and f"/git/commits/{found['sha']}" in self._objects:
            return self._of_commit(found["sha"], found["rest"] or "", where, query)
        if (found := _OF_NUMBER.match(where)) and f"/pulls/{found['number']}" in self._objects:
            return 200, {}, self._listed(where)
        status, headers, real = look(path, query)
        if status >= 400:
            return status, headers, real
        return status, headers, self._laid_over(where, headers, query, real)

    def _laid_over(self, where: str, headers: Headers, query: Mapping[str, Any], real: Any) -> Any:
        """Return an answer of GitHub's with what was changed, taken away and added."""
        if isinstance(real, Mapping) and where in self._patches:
            return {**real, **self._patches[where]}
        last = 'rel="next"' not in str(headers.get("link") or "")
        added = self._listed(where) if last else []
        if isinstance(real, list):
            kept = [self._changed(it) for it in real]
            return [it for it in kept if it is not None] + added
        if isinstance(real, Mapping) and where.endswith("/check-runs"):
            wanted = [it for it in added if query.get("check_name") in (None, it["name"])]
            runs = [it for it in map(self._changed, real.get("check_runs", [])) if it is not None]
            return {
                **real,
                "total_count": int(real.get("total_count", 0)) + len(wanted),
                "check_runs": [*runs, *wanted],
            }
        return real

    def _changed(self, item: Any) -> Any:
        if not isinstance(item, Mapping) or not isinstance(item.get("url"), str):
            return item
        path = self._below(item["url"].removeprefix(self.api_url))
        if path in self._gone:
            return None
        return {**item, **self._patches[path]} if path in self._patches else item

    def _refs(self, path: str, where: str, query: Mapping[str, Any], look: Look) -> Answer:
        staged = {it["ref"]: it for name, it in self._objects.items() if name.startswith("/git/refs/")}
        if where.startswith("/git/matching-refs/"):
            start = f"refs/{unquote(where.removeprefix('/git/matching-refs/'))}"
            status, headers, real = look(path, query)
            if status >= 400 or not isinstance(real, list):
                return status, headers, real
            last = 'rel="next"' not in str(headers.get("link") or "")
            ours = [it for ref, it in staged.items() if ref.startswith(start)] if last else []
            return status, headers, [it for it in real if it["ref"] not in staged] + ours
        name = unquote(re.sub(r"^/(?:git/refs?|branches)/(?:heads/)?", "", where))
        found = staged.get(f"refs/heads/{name}")
        if found is None:
            return look(path, query)
        return 200, {}, {"name": name, "commit": found["object"]} if where.startswith("/branches/") else found

    def _pulls(self, path: str, query: Mapping[str, Any], look: Look) -> Answer:
        status, headers, real = look(path, query)
        if status >= 400 or not isinstance(real, list):
            return status, headers, real
        head, base = str(query.get("head") or "").rpartition(":")[2], query.get("base")
        wanted = [
            it
            for it in self._listed("/pulls")
            if query.get("state", "open") in ("all", it["state"])
            and head in ("", it["head"]["ref"])
            and base in (None, it["base"]["ref"])
        ]
        last = 'rel="next"' not in str(headers.get("link") or "")
        kept = [it for it in map(self._changed, real) if it is not None]
        return status, headers, kept + (wanted if last else [])

    def _of_commit(self, sha: str, rest: str, where: str, query: Mapping[str, Any]) -> Answer:
        if rest == "":
            commit = self._objects[f"/git/commits/{sha}"]
            return 200, {}, {**commit, "commit": commit, "files": [], "url": self._url(where)}
        listed = self._listed(where)
        if rest == "/check-runs":
            runs = [it for it in listed if query.get("check_name") in (None, it["name"])]
            return 200, {}, {"total_count": len(runs), "check_runs": runs}
        if rest == "/status":
            statuses = self._listed(f"/commits/{sha}/statuses")
            return 200, {}, {"state": "pending", "sha": sha, "total_count": len(statuses), "statuses": statuses}
        if rest == "/check-suites":
            return 200, {}, {"total_count": 0, "check_suites": []}
        # GitHub lists statuses the newest first.
        return 200, {}, listed[::-1] if rest == "/statuses" else listed

    def _listed(self, collection: str) -> list[dict[str, Any]]:
        return [self._current(path) for path in self._members.get(collection, []) if path not in self._gone]

    def _current(self, path: str) -> dict[str, Any]:
        it = self._objects.get(path) or self._patches.get(path, {})
        if path.startswith("/pulls/") and "head" in it:
            return it | {"head": it["head"] | {"sha": self._head(it["head"]["ref"]) or it["head"]["sha"]}}
        return it

    def _head(self, branch: str) -> str | None:
        found = self._objects.get(f"/git/refs/heads/{branch}")
        return str(found["object"]["sha"]) if found else None

    def _graphql(self, query: Mapping[str, Any], body: Any, look: Look) -> Answer:
        text = str(body.get("query", ""))
        variables = body.get("variables") or {}
        if mutation := _MUTATION.match(text):
            if _text("/graphql", body) not in self._set:
                self._keep(Preview("POST", "/graphql", body, {"name": mutation["name"]}))
            pull = next((it for it in self._objects.values() if it.get("node_id") in variables.values()), None)
            if pull is not None and mutation["name"] == "markPullRequestReadyForReview":
                pull["draft"] = False
            return 200, {}, {"data": {mutation["name"]: {"clientMutationId": None}}}
        if f"/pulls/{variables.get('number')}" in self._objects:
            page = {"nodes": [], "pageInfo": {"hasNextPage": False, "endCursor": None}}
            pull = self._objects[f"/pulls/{variables['number']}"]
            return 200, {}, {"data": {"repository": {"pullRequest": {"id": pull["node_id"], "reviewThreads": page}}}}
        return look("/graphql", body)

    # small things

    def _below(self, path: str) -> str:
        return path.removeprefix(f"/repos/{self.repository}")

    def _url(self, where: str) -> str:
        return f"{self.api_url}/repos/{self.repository}{where}"

    def _page(self, where: str, number: int) -> str:
        found = _OF_NUMBER.match(where)
        at = f"/issues/{found['number']}#issuecomment-{number}" if found else ""
        return f"{self.server_url}/{self.repository}{at}"

    def _user(self) -> dict[str, Any]:
        kind = "Bot" if self.login.endswith("[bot]") else "User"
        return {"login": self.login, "id": FIRST_ID, "type": kind}

    def _owner(self) -> dict[str, Any]:
        return {"login": self.repository.partition("/")[0]}

    def _next_id(self) -> int:
        # By the clock, so that two processes that stage the same run number alike in order.
        self._last_id = max(self._last_id + 1, FIRST_ID + time.time_ns() // 1000)
        return self._last_id


def _object_path(where: str, number: int) -> str:
    if where == "/check-runs":
        return f"/check-runs/{number}"
    if where.endswith(("/comments", "/replies")):
        return f"/{where.split('/')[1]}/comments/{number}"
    return f"{where}/{number}"


def _text(where: str, body: Any) -> str:
    return f"{where} {json.dumps(body, sort_keys=True)}"


def _missing() -> Answer:
    return 404, {}, {"message": "Not Found"}


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _sha(kind: str, body: Any) -> str:
    """Return a name that depends on the content alone; of a blob, git's own."""
    if kind == "blob":
        content = str(body.get("content", ""))
        return _blob_sha(base64.b64decode(content) if body.get("encoding") == "base64" else content.encode())
    return hashlib.sha1(f"{kind}{json.dumps(body, sort_keys=True)}".encode(), usedforsecurity=False).hexdigest()


def _blob_sha(content: bytes) -> str:
    # How git names a blob: https://git-scm.com/book/en/v2/Git-Internals-Git-Objects
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _diff(path: str, before: bytes | None, after: bytes | None) -> str:
    if before == after:
        return ""
    old, new = (None if it is None else _lines(it) for it in (before, after))
    names = (f"a/{path}" if before is not None else "/dev/null", f"b/{path}" if after is not None else "/dev/null")
    if (before is not None and old is None) or (after is not None and new is None):
        return f"--- {names[0]}\n+++ {names[1]}\n(a binary file)\n"
    lines = difflib.unified_diff(old or [], new or [], *names, lineterm="")
    return "".join(f"{line}\n" for line in lines) or f"--- {names[0]}\n+++ {names[1]}\n"


def _lines(content: bytes) -> list[str] | None:
    try:
        lines = content.decode().split("\n") if b"\0" not in content else None
    except UnicodeDecodeError:
        return None
    return lines[:-1] if lines and not lines[-1] else lines
