"""What GitHub would answer if writes were made that are not: a small world laid over what can be read.

Whatever was written is kept as a `Preview` and found again by every later read; what is not known here is read from
GitHub. The world is its previews: built from those that an earlier process left, it goes on where that one stopped.
"""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from orchestrator.github.staging.preview import Preview
from orchestrator.github.staging.shapes import FIRST_ID, Shapes, blob_sha, diff, now, object_path, sha_of

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
_BY_NUMBER = re.compile(r"^/repositories/\d+(?=/)")
_MUTATION = re.compile(r"\s*mutation\b[^{]*\{\s*(?:\w+\s*:\s*)?(?P<name>\w+)")


@dataclass(slots=True)
class Stage:
    """The world of one repository, laid over what GitHub says of it; `shapes` are what answers look like."""

    shapes: Shapes
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
        changed = ""
        if method == "POST" and where == "/git/trees":
            entries, changed = self._tree(body, look)
            answer: Any = {"sha": sha_of("tree", body), "url": self.shapes.url(f"/git/trees/{sha_of('tree', body)}")}
            answer |= {"tree": entries, "truncated": False}
        else:
            answer = self._would_answer(method, where, body, look)
        self._keep(Preview(method, path, body, answer, changed))
        if method == "DELETE":
            return 204, {}, None
        return (201 if method == "POST" else 200), {}, self._current(where) if method == "PATCH" else answer

    def _known(self, method: str, where: str, body: Any) -> Any:
        """Return what the same write was answered before where it changes nothing, or None."""
        if method != "POST":
            return None
        if where in _BY_HASH:
            return self._objects.get(f"{where}/{sha_of(_BY_HASH[where], body)}")
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
        given, number = dict(body) if isinstance(body, Mapping) else {}, self._next_id()
        if where == "/git/commits":
            return self.shapes.commit(given)
        if where == "/git/blobs":
            sha = sha_of("blob", body)
            return {"sha": sha, "url": self.shapes.url(f"/git/blobs/{sha}")}
        if where == "/git/refs":
            return self.shapes.ref(str(given["ref"]), str(given["sha"]))
        if where.endswith("/labels"):
            names = body if isinstance(body, list) else given.get("labels", [])
            return [{"id": self._next_id(), "name": name, "url": self.shapes.url(f"/labels/{name}")} for name in names]
        if where == "/pulls":
            head = self._head(str(given.get("head", "")).rpartition(":")[2]) or ""
            made = self.shapes.pull(given, self._next_number(look), head)
        elif where == "/check-runs":
            made = self.shapes.check_run(given, number)
        else:
            made = self.shapes.other(where, given, number)
        return made | self.shapes.common(number)

    def _next_number(self, look: Look) -> int:
        """Return the number that GitHub would give the next issue or pull request now."""
        query = {"state": "all", "sort": "created", "direction": "desc", "per_page": 1}
        _, _, newest = look(f"/repos/{self.shapes.repository}/issues", query)
        numbers = [int(it["number"]) for it in newest] if isinstance(newest, list) else []
        return max([*numbers, *(int(it["number"]) for it in self._listed("/pulls"))], default=0) + 1

    def _tree(self, body: Mapping[str, Any], look: Look) -> tuple[list[dict[str, Any]], str]:
        """Return the files of a tree that changes a base one, and what changed."""
        base = str(body.get("base_tree") or "")
        _, _, listed = (
            self._read(f"/repos/{self.shapes.repository}/git/trees/{base}", {"recursive": "1"}, look)
            if base
            else (0, {}, {})
        )
        found = listed.get("tree", []) if isinstance(listed, Mapping) else []
        there: dict[str, dict[str, Any]] = {it["path"]: it for it in found if it.get("type") != "tree"}
        parts: list[str] = []
        for entry in body.get("tree", []):
            path = str(entry["path"])
            before = self._blob(there.get(path), look)
            if "content" in entry:
                after: bytes | None = str(entry["content"]).encode()
                entry = {**entry, "sha": blob_sha(after or b"")}
            else:
                after = self._blob(entry if entry.get("sha") else None, look)
            parts.append(diff(path, before, after))
            there.pop(path, None)
            if entry.get("sha"):
                there[path] = {"path": path, "mode": entry["mode"], "type": entry["type"], "sha": entry["sha"]}
                there[path] |= {"size": len(after or b""), "url": self.shapes.url(f"/git/blobs/{entry['sha']}")}
        whole = "".join(parts)
        cut = "\n(the rest of the diff is left out)\n" if len(whole) > MAX_DIFF_LETTERS else ""
        return sorted(there.values(), key=lambda it: str(it["path"])), whole[:MAX_DIFF_LETTERS] + cut

    def _blob(self, entry: Mapping[str, Any] | None, look: Look) -> bytes | None:
        if entry is None or entry.get("type") == "commit":
            return None
        staged = self._objects.get(f"/git/blobs/{entry['sha']}")
        if staged is None:
            status, _, staged = look(f"/repos/{self.shapes.repository}/git/blobs/{entry['sha']}", {})
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
            self._objects[f"/git/{ref}"] = self.shapes.ref(ref, str(it.body["sha"]))
        elif it.method in ("PATCH", "PUT"):
            self._patch(where, it.body)
        elif isinstance(it.answer, Mapping) and "id" in it.answer:
            self._last_id = max(self._last_id, int(it.answer["id"]))
            self._add(where, dict(it.answer), it.body)

    def _add(self, where: str, made: dict[str, Any], body: Any) -> None:
        path = f"/pulls/{made['number']}" if where == "/pulls" else object_path(where, int(made["id"]))
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
                links = {"id": number, "user": made["user"], "pull_request_review_id": made["id"], "created_at": now()}
                comments = where.removesuffix("/reviews") + "/comments"
                self._add(comments, {**note, **links, "url": self.shapes.url(f"/pulls/comments/{number}")}, note)

    def _patch(self, path: str, body: Any) -> None:
        changes = dict(body) if isinstance(body, Mapping) else {}
        target = self._objects.get(path)
        if target is None:
            target = self._patches.setdefault(path, {})
        output = changes.pop("output", None)
        changes.pop("actions", None)
        target.update(changes)
        if changes:
            target["updated_at"] = now()
        if isinstance(output, Mapping):
            notes = [*target.get("staged_annotations", []), *(output.get("annotations") or [])]
            shown = {name: output.get(name) for name in ("title", "summary", "text")}
            target["staged_annotations"] = notes
            target["output"] = shown | {
                "annotations_count": len(notes),
                "annotations_url": self.shapes.url(f"{path}/annotations"),
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
        path = self._below(item["url"].removeprefix(self.shapes.api_url))
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
            return 200, {}, {**commit, "commit": commit, "files": [], "url": self.shapes.url(where)}
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
        """Return what follows the repository; GitHub's links to further pages name it by number."""
        start = f"/repos/{self.shapes.repository}"
        if path[: len(start)].lower() == start.lower():
            return path[len(start) :]
        return _BY_NUMBER.sub("", path)

    def _next_id(self) -> int:
        # By the clock, so that two processes that stage the same run number alike in order.
        self._last_id = max(self._last_id + 1, FIRST_ID + time.time_ns() // 1000)
        return self._last_id


def _text(where: str, body: Any) -> str:
    return f"{where} {json.dumps(body, sort_keys=True)}"


def _missing() -> Answer:
    return 404, {}, {"message": "Not Found"}
