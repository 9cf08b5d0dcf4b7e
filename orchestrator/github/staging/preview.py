"""Writes that were not made: each as it would have gone to GitHub, and all together as people read them; pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

LONGEST_LINE_TEXT = 120
_TEXTS = ("title", "body", "message", "description")
_OBJECTS = ("/git/blobs", "/git/trees")


@dataclass(frozen=True, slots=True)
class Preview:
    """One write that was not made: method and path below the API's address, what was sent, what GitHub would answer.

    `diff` is the unified diff of the files that a tree changes.
    """

    method: str
    path: str
    body: Any
    answer: Any
    diff: str = ""

    def to_json(self) -> str:
        """Return the preview as one JSON object, for the store."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Preview:
        """Read what `to_json` wrote."""
        return cls(**json.loads(text))


@dataclass(frozen=True, slots=True)
class Shown:
    """One thing that would stand on GitHub; `facts` are names and values, `text` is Markdown, `diff` is unified."""

    kind: str
    title: str
    facts: tuple[tuple[str, str], ...] = ()
    text: str = ""
    diff: str = ""


@dataclass(slots=True)
class _Thing:
    kind: str
    title: str
    facts: dict[str, str] = field(default_factory=dict)
    text: str = ""
    diff: str = ""
    notes: list[str] = field(default_factory=list)
    edits: int = 0

    def shown(self) -> Shown:
        edited = {"edited": f"{self.edits} {'time' if self.edits == 1 else 'times'}"} if self.edits else {}
        text = "\n".join([self.text, *self.notes]) if self.notes else self.text
        return Shown(self.kind, self.title, tuple((self.facts | edited).items()), text, self.diff)


def shown(previews: Iterable[Preview]) -> tuple[Shown, ...]:
    """Return what would stand on GitHub after these writes, in the order in which it would have come to be."""
    things: dict[str, _Thing] = {}
    diffs: dict[str, str] = {}
    commits: dict[str, Preview] = {}
    for position, it in enumerate(previews):
        where = _below_repository(it.path)
        if it.method == "POST" and where.startswith(_OBJECTS):
            diffs[str(it.answer.get("sha", ""))] = it.diff
        elif it.method == "POST" and where == "/git/commits":
            commits[str(it.answer.get("sha", ""))] = it
        elif where.startswith("/git/refs"):
            _branch(things, it, commits, diffs)
        elif it.method == "DELETE":
            things.pop(where, None)
        elif it.method in ("PATCH", "PUT") and where in things:
            _update(things[where], it.body)
            things[where].edits += 1
        else:
            things[_key(it, where, position)] = _made(it, where)
    return tuple(thing.shown() for thing in things.values())


def markdown(previews: Sequence[Preview]) -> str:
    """Return the previews as Markdown for a job's summary, every text of theirs fenced; empty without any."""
    if not previews:
        return ""
    parts = ["## Preview", "Staged: nothing of this was written on GitHub."]
    for it in shown(previews):
        facts = " · ".join(f"{name}: {_plain(value)}" for name, value in it.facts)
        parts.append(f"### {it.kind.capitalize()}: {_plain(it.title)}")
        parts += [part for part in (facts, _fenced(it.text, "markdown"), _fenced(it.diff, "diff")) if part]
    return "\n\n".join(parts)


def line(preview: Preview) -> str:
    """Return a write as one line: method, path, and its body as JSON with long texts cut."""
    return f"{preview.method} {preview.path} {json.dumps(_cut(preview.body), ensure_ascii=False)}"


def texts(preview: Preview) -> str:
    """Return what a write says to people, in full: its title, text and summary, or the diff of its files."""
    if preview.diff:
        return preview.diff
    body = preview.body if isinstance(preview.body, Mapping) else {}
    output = body.get("output")
    inner = output if isinstance(output, Mapping) else {}
    said = [body.get(name) for name in _TEXTS] + [inner.get("title"), inner.get("summary")]
    return "\n\n".join(str(text) for text in said if text)


def _below_repository(path: str) -> str:
    """Return what follows `/repos/OWNER/NAME`."""
    return "/" + "/".join(path.split("/")[4:]) if path.startswith("/repos/") else path


def _key(it: Preview, where: str, position: int) -> str:
    """Return the path under which what was made is changed later."""
    number = it.answer.get("number") or it.answer.get("id") if isinstance(it.answer, Mapping) else None
    if where == "/pulls":
        return f"/pulls/{number}"
    if where == "/check-runs":
        return f"/check-runs/{number}"
    if where.startswith("/issues/") and where.endswith("/comments"):
        return f"/issues/comments/{number}"
    if where.startswith("/pulls/") and where.endswith(("/comments", "/replies")):
        return f"/pulls/comments/{number}"
    return f"{where}#{position}"


def _made(it: Preview, where: str) -> _Thing:
    body = it.body if isinstance(it.body, Mapping) else {}
    parts = where.strip("/").split("/")
    about = f"#{parts[1]}" if len(parts) > 1 and parts[1].isdigit() else ""
    if where == "/pulls":
        thing = _Thing("pull request", f"#{it.answer.get('number', '')} {body.get('title', '')}")
        thing.facts = {"from": str(body.get("head", "")), "into": str(body.get("base", ""))}
    elif where == "/check-runs":
        thing = _Thing("check run", str(body.get("name", "")), {"commit": str(body.get("head_sha", ""))[:12]})
    elif parts[0] == "statuses":
        thing = _Thing("commit status", str(body.get("context", "")), {"state": str(body.get("state", ""))})
    elif parts[-1] == "requested_reviewers":
        thing = _Thing("review request", f"on {about}", {"of": ", ".join(map(str, body.get("reviewers") or ()))})
    elif parts[-1] == "reactions":
        thing = _Thing("reaction", str(body.get("content", "")), {"to": f"#{parts[1]}" if about else "a comment"})
    elif parts[-1] in ("comments", "replies"):
        kind = "comment" if parts[0] == "issues" else "review comment"
        thing = _Thing(kind, f"on {about}" if about else where)
        if body.get("path"):
            thing.facts = {"line": f"{body['path']}:{body.get('line', '')}"}
    elif parts[-1] == "reviews":
        thing = _Thing("review", f"on {about}", {"event": str(body.get("event", "pending")).lower()})
        thing.notes = [
            f"{note.get('path')}:{note.get('line', '')} {note.get('body')}" for note in _items(body, "comments")
        ]
    elif parts[-1] == "labels":
        names = it.body if isinstance(it.body, list) else body.get("labels", [])
        thing = _Thing("labels", ", ".join(map(str, names)), {"on": about})
    elif where == "/graphql":
        thing = _Thing("change", str(it.answer.get("name", "by GraphQL")))
    else:
        thing = _Thing("change", f"{it.method} {where}", text=json.dumps(_cut(it.body), ensure_ascii=False))
    _update(thing, body)
    return thing


def _update(thing: _Thing, body: Any) -> None:
    """Bring a thing up to date with what a later write says of it."""
    if not isinstance(body, Mapping):
        return
    if isinstance(body.get("body"), str):
        thing.text = body["body"]
    if thing.kind == "pull request":
        if isinstance(body.get("title"), str):
            thing.title = f"{thing.title.partition(' ')[0]} {body['title']}"
        if "draft" in body:
            thing.facts["draft"] = "yes" if body["draft"] else "no"
        if body.get("state"):
            thing.facts["state"] = str(body["state"])
    if thing.kind == "commit status":
        thing.text = str(body.get("description") or "")
    if thing.kind == "check run":
        thing.facts["result"] = str(body.get("conclusion") or body.get("status") or "queued").replace("_", " ")
        output = body.get("output")
        if isinstance(output, Mapping):
            thing.text = "\n\n".join(str(output[name]) for name in ("title", "summary") if output.get(name))
            thing.notes += [
                f"{note.get('path')}:{note.get('start_line', '')} {note.get('message')}"
                for note in _items(output, "annotations")
            ]


def _branch(things: dict[str, _Thing], it: Preview, commits: Mapping[str, Preview], diffs: Mapping[str, str]) -> None:
    sha = str(it.body.get("sha", ""))
    name = str(it.answer.get("ref", it.path)).removeprefix("refs/heads/")
    key = f"/git/refs/heads/{name}"
    commit = commits.get(sha)
    message = str(commit.body.get("message", "")) if commit else ""
    diff = diffs.get(str(commit.body.get("tree", "")), "") if commit else ""
    earlier = things.get(key)
    thing = _Thing("branch", name, {"commit": sha[:12]}, message, diff)
    if earlier is not None:
        thing.text, thing.edits = f"{earlier.text}\n{message}", earlier.edits + 1
    things[key] = thing


def _items(mapping: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    found = mapping.get(name)
    return [it for it in found if isinstance(it, Mapping)] if isinstance(found, list) else []


def _cut(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= LONGEST_LINE_TEXT else f"{value[: LONGEST_LINE_TEXT - 1]}…"
    if isinstance(value, Mapping):
        return {name: _cut(it) for name, it in value.items()}
    return [_cut(it) for it in value] if isinstance(value, list) else value


def _plain(text: str) -> str:
    return " ".join(text.replace("`", "'").replace("<", "&lt;").split())


def _fenced(text: str, language: str) -> str:
    if not text.strip():
        return ""
    longest = max((len(run) for run in "".join(c if c == "`" else " " for c in text).split()), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"
