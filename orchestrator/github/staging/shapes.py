"""How GitHub would answer a write that is not made: the shapes of its API and the names of git's objects; pure."""

from __future__ import annotations

import base64
import difflib
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

FIRST_ID = 4_000_000_000_000_000
"""Far above GitHub's ids, so that none of ours can name something real, and below 2**53, which JSON holds exactly."""

_NUMBERED = re.compile(r"/(?:issues|pulls)/(?P<number>\d+)(?:/.*)?\Z")


@dataclass(frozen=True, slots=True)
class Shapes:
    """Answers about one repository: `login` writes, `api_url` and `server_url` are where their addresses lead."""

    repository: str
    login: str
    api_url: str
    server_url: str

    def url(self, where: str) -> str:
        """Return the API's address of what stands below the repository."""
        return f"{self.api_url}/repos/{self.repository}{where}"

    def common(self, number: int) -> dict[str, Any]:
        """Return what everything with an id has."""
        return {"id": number, "node_id": f"staged-{number}", "user": self.user(), "created_at": now()}

    def user(self) -> dict[str, Any]:
        """Return the account that writes."""
        kind = "Bot" if self.login.endswith("[bot]") else "User"
        return {"login": self.login, "id": FIRST_ID, "type": kind}

    def owner(self) -> dict[str, Any]:
        """Return the account that the repository belongs to."""
        return {"login": self.repository.partition("/")[0]}

    def commit(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return a commit; without a time in its name, so that the same commit is the same object."""
        sha = sha_of("commit", given)
        who = {"name": self.login, "email": f"{self.login}@users.noreply.github.com", "date": now()}
        return {
            "sha": sha,
            "node_id": f"staged-{sha}",
            "url": self.url(f"/git/commits/{sha}"),
            "html_url": f"{self.server_url}/{self.repository}/commit/{sha}",
            "message": given.get("message", ""),
            "tree": {"sha": given.get("tree"), "url": self.url(f"/git/trees/{given.get('tree')}")},
            "parents": [{"sha": it, "url": self.url(f"/git/commits/{it}")} for it in given.get("parents", [])],
            "author": who,
            "committer": who,
            "verification": {"verified": True, "reason": "valid", "signature": None, "payload": None},
        }

    def ref(self, ref: str, sha: str) -> dict[str, Any]:
        """Return a reference by its full name."""
        target = {"type": "commit", "sha": sha, "url": self.url(f"/git/commits/{sha}")}
        return {"ref": ref, "node_id": f"staged-{ref}", "url": self.url(f"/git/{ref}"), "object": target}

    def pull(self, given: Mapping[str, Any], number: int, head_sha: str) -> dict[str, Any]:
        """Return an open pull request."""
        head, base = str(given.get("head", "")).rpartition(":")[2], str(given.get("base", ""))
        repository = {"full_name": self.repository, "url": f"{self.api_url}/repos/{self.repository}"}
        return {
            **given,
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
            "url": self.url(f"/pulls/{number}"),
            "issue_url": self.url(f"/issues/{number}"),
            "comments_url": self.url(f"/issues/{number}/comments"),
            "html_url": f"{self.server_url}/{self.repository}/pull/{number}",
            "head": {"ref": head, "sha": head_sha, "repo": repository, "user": self.owner()},
            "base": {"ref": base, "sha": "", "repo": repository, "user": self.owner()},
        }

    def check_run(self, given: Mapping[str, Any], number: int) -> dict[str, Any]:
        """Return a check run."""
        output = given.get("output") or {}
        return {
            "name": given.get("name", ""),
            "head_sha": given.get("head_sha", ""),
            "external_id": given.get("external_id", ""),
            "status": given.get("status", "completed" if given.get("conclusion") else "queued"),
            "conclusion": given.get("conclusion"),
            "started_at": now(),
            "completed_at": now() if given.get("conclusion") else None,
            "url": self.url(f"/check-runs/{number}"),
            "html_url": f"{self.server_url}/{self.repository}/runs/{number}",
            "details_url": given.get("details_url"),
            "app": {"id": FIRST_ID, "slug": self.login.removesuffix("[bot]"), "name": self.login},
            "pull_requests": [],
            "output": {
                **{name: output.get(name) for name in ("title", "summary", "text")},
                "annotations_count": len(output.get("annotations") or []),
                "annotations_url": self.url(f"/check-runs/{number}/annotations"),
            },
        }

    def other(self, where: str, given: Mapping[str, Any], number: int) -> dict[str, Any]:
        """Return anything else: a comment, a review, a reaction, a status."""
        made = {**given, "url": self.url(object_path(where, number)), "html_url": self._page(where, number)}
        if where.endswith("/reviews"):
            made["state"] = {"APPROVE": "APPROVED"}.get(str(given.get("event")), "COMMENTED")
        return made | {"updated_at": now()}

    def _page(self, where: str, number: int) -> str:
        found = _NUMBERED.match(where)
        at = f"/issues/{found['number']}#issuecomment-{number}" if found else ""
        return f"{self.server_url}/{self.repository}{at}"


def object_path(where: str, number: int) -> str:
    """Return where what was made by a POST is found again."""
    if where == "/check-runs":
        return f"/check-runs/{number}"
    if where.endswith(("/comments", "/replies")):
        return f"/{where.split('/')[1]}/comments/{number}"
    return f"{where}/{number}"


def now() -> str:
    """Return this moment as GitHub stamps it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def sha_of(kind: str, body: Any) -> str:
    """Return a name that depends on the content alone; of a blob, git's own."""
    if kind == "blob":
        content = str(body.get("content", ""))
        return blob_sha(base64.b64decode(content) if body.get("encoding") == "base64" else content.encode())
    return hashlib.sha1(f"{kind}{json.dumps(body, sort_keys=True)}".encode(), usedforsecurity=False).hexdigest()


def blob_sha(content: bytes) -> str:
    """Return git's name of a file's content."""
    # How git names a blob: https://git-scm.com/book/en/v2/Git-Internals-Git-Objects
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def diff(path: str, before: bytes | None, after: bytes | None) -> str:
    """Return the unified diff of one file; None stands for a file that is not there."""
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
