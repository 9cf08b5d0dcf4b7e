"""REST: the Git Data API — refs, blobs, trees and commits — on the real repository."""

from __future__ import annotations

import base64
import binascii
import re
from datetime import UTC, datetime
from typing import Any

from starlette.responses import Response

from bot.localhub import render_git
from bot.localhub.call import ApiError, Call, Routes, answer, encoded, not_found
from bot.localhub.git import Git, GitError, Signature, valid_ref
from bot.localhub.state import JSON, Repository, now
from bot.localhub.world import ZERO

routes = Routes()

GIT = "/repos/{owner}/{repo}/git"
MODES = {"100644": "blob", "100755": "blob", "120000": "blob", "040000": "tree", "160000": "commit"}


def _repo(call: Call) -> tuple[Repository, Git]:
    writing = call.request.method != "GET"
    repo = call.repo("write" if writing else "read", "contents")
    return repo, call.git(repo)


# refs


async def _ref(call: Call, repo: Repository, git: Git, name: str, sha: str) -> JSON:
    return render_git.ref(call.base, repo, name, sha, await git.object_type(sha) or "commit")


@routes("GET", GIT + "/ref/{ref:path}")
async def get_ref(call: Call) -> Response:
    """Answer with the one ref of exactly this name."""
    repo, git = _repo(call)
    name = f"refs/{call.params['ref']}"
    sha = await git.ref(name)
    if sha is None:
        raise not_found()
    return answer(await _ref(call, repo, git, name, sha))


@routes("GET", GIT + "/matching-refs/{ref:path}")
async def matching_refs(call: Call) -> Response:
    """List the refs that begin with this name, all of them: this answer has no pages."""
    repo, git = _repo(call)
    prefix = f"refs/{call.params['ref']}"
    found = [item for item in (await git.refs()).items() if item[0].startswith(prefix)]
    return answer([await _ref(call, repo, git, name, sha) for name, sha in found])


@routes("POST", GIT + "/refs")
async def create_ref(call: Call) -> Response:
    """Make a branch or tag at a commit."""
    repo, git = _repo(call)
    name, sha = call.needed("ref", str), call.needed("sha", str)
    if not name.startswith("refs/") or name.count("/") < 2 or not valid_ref(name):
        raise ApiError(422, f"{name} is not a valid ref name.")
    kind = await git.object_type(sha)
    if kind is None or (name.startswith("refs/heads/") and kind != "commit"):
        raise ApiError(422, "Object does not exist")
    if await git.ref(name):
        raise ApiError(422, "Reference already exists")
    try:
        await git.update_ref(name, sha, ZERO)
    except GitError as error:
        # A branch `a` stands in the way of `a/b`.
        raise ApiError(422, "Reference update failed") from error
    await call.world.refs_moved(repo, call.actor, {name: (None, sha)})
    return answer(await _ref(call, repo, git, name, sha), 201)


@routes("PATCH", GIT + "/refs/{ref:path}")
async def update_ref(call: Call) -> Response:
    """Move a ref forward, or anywhere with `force`."""
    repo, git = _repo(call)
    name, sha = f"refs/{call.params['ref']}", call.needed("sha", str)
    old = await git.ref(name)
    if old is None:
        raise ApiError(422, "Reference does not exist")
    if await git.object_type(sha) is None:
        raise ApiError(422, "Object does not exist")
    if not call.field("force", bool, False) and not await git.is_ancestor(old, sha):
        raise ApiError(422, "Update is not a fast forward")
    await git.update_ref(name, sha, old)
    if sha != old:
        await call.world.refs_moved(repo, call.actor, {name: (old, sha)})
    return answer(await _ref(call, repo, git, name, sha))


@routes("DELETE", GIT + "/refs/{ref:path}")
async def delete_ref(call: Call) -> Response:
    """Delete a branch or tag."""
    repo, git = _repo(call)
    name = f"refs/{call.params['ref']}"
    old = await git.ref(name)
    if old is None:
        raise ApiError(422, "Reference does not exist")
    await git.delete_ref(name, old)
    await call.world.refs_moved(repo, call.actor, {name: (old, None)})
    return answer(status=204)


# blobs and trees


@routes("POST", GIT + "/blobs")
async def create_blob(call: Call) -> Response:
    """Store a file's content, given as text or in base64."""
    repo, git = _repo(call)
    content, encoding = call.needed("content", str), call.field("encoding", str, "utf-8")
    if encoding == "base64":
        try:
            data = base64.b64decode(content)
        except (binascii.Error, ValueError) as error:
            raise ApiError(422, "content is not valid Base64") from error
    elif encoding == "utf-8":
        data = content.encode("utf-8", "replace")
    else:
        raise ApiError(422, "encoding must be one of: utf-8, base64")
    sha = await git.write_blob(data)
    return answer({"sha": sha, "url": f"{render_git.repo_url(call.base, repo)}/git/blobs/{sha}"}, 201)


@routes("GET", GIT + "/blobs/{sha}")
async def get_blob(call: Call) -> Response:
    """Answer with a blob in base64, or raw when asked."""
    repo, git = _repo(call)
    sha = call.params["sha"]
    if await git.object_type(sha) != "blob":
        raise not_found()
    data = await git.blob(sha)
    if call.accepts("raw"):
        return Response(data, media_type="application/vnd.github.raw")
    return answer(render_git.blob(call.base, repo, sha, encoded(data), len(data)))


@routes("POST", GIT + "/trees")
async def create_tree(call: Call) -> Response:
    """Make a tree from `base_tree` and entries; an entry whose SHA is null deletes its path."""
    repo, git = _repo(call)
    wanted, base = call.needed("tree", list), call.field("base_tree", str)
    base_sha = await git.resolve(base, "tree") if base else None
    if base and base_sha is None:
        raise ApiError(422, "base_tree is not a valid tree oid")
    entries: list[tuple[str, str, str | None]] = []
    for entry in wanted:
        entries += await _entries(git, entry, base_sha)
    try:
        sha = await git.write_tree(base_sha, entries)
    except GitError as error:
        raise ApiError(422, "tree.path contains a malformed path component") from error
    return answer(render_git.tree(call.base, repo, sha, await git.tree(sha)), 201)


async def _entries(git: Git, entry: Any, base: str | None) -> list[tuple[str, str, str | None]]:
    if not isinstance(entry, dict) or not isinstance(entry.get("path"), str) or entry.get("mode") not in MODES:
        raise ApiError(422, "Must supply a valid tree.mode and tree.path")
    path, mode, sha = entry["path"], entry["mode"], entry.get("sha")
    if not path or "\0" in path or any(part in ("", ".", "..") or part.lower() == ".git" for part in path.split("/")):
        raise ApiError(422, "tree.path contains a malformed path component")
    if isinstance(entry.get("content"), str):
        return [(mode, path, await git.write_blob(entry["content"].encode("utf-8", "replace")))]
    if sha is None:
        if "sha" not in entry:
            raise ApiError(422, "Must supply either tree.sha or tree.content")
        if base is None or not await git.tree(base, path=path):
            raise ApiError(422, "GitRPC::BadObjectState")
        return [(mode, path, None)]
    if mode != "160000" and await git.object_type(str(sha)) != MODES[mode]:
        raise ApiError(422, f"tree.sha {sha} is not a valid {MODES[mode]}")
    if mode == "040000":
        inner = await git.tree(sha, recursive=True)
        return [(item.mode, f"{path}/{item.path}", item.sha) for item in inner if item.type != "tree"]
    return [(mode, path, sha)]


@routes("GET", GIT + "/trees/{sha:path}")
async def get_tree(call: Call) -> Response:
    """Answer with a tree, by its SHA, a commit or a branch; all of it with `recursive`."""
    repo, git = _repo(call)
    sha = await git.resolve(call.params["sha"], "tree")
    if sha is None:
        raise not_found()
    return answer(
        render_git.tree(call.base, repo, sha, await git.tree(sha, recursive="recursive" in call.request.query_params))
    )


# commits


@routes("POST", GIT + "/commits")
async def create_commit(call: Call) -> Response:
    """Make a commit; one by an App without author fields is signed by GitHub, and so verified."""
    repo, git = _repo(call)
    message, tree = call.needed("message", str), call.needed("tree", str)
    parents = call.field("parents", list) or []
    if await git.object_type(tree) != "tree":
        raise ApiError(422, "Tree SHA does not exist")
    for parent in parents:
        if not isinstance(parent, str) or await git.object_type(parent) != "commit":
            raise ApiError(422, "Parent SHA does not exist or is not a commit object")
    if "\0" in message:
        raise ApiError(422, "message must not contain NUL")
    user = call.user()
    own = Signature(user.login, user.email, now())
    given = [_person(call, "author"), _person(call, "committer")]
    signed = call.installation() is not None and given == [None, None]
    author = given[0] or own
    committer = given[1] or (Signature("GitHub", "noreply@github.com", own.date) if signed else author)
    sha = await git.write_commit(message, tree, parents, author, committer)
    if signed:
        repo.signed_commits.add(sha)
    return answer(render_git.git_commit(call.base, repo, await git.commit(sha)), 201)


def _person(call: Call, name: str) -> Signature | None:
    value: JSON | None = call.field(name, dict)
    if value is None:
        return None
    who, email, date = value.get("name"), value.get("email"), value.get("date")
    if not isinstance(who, str) or not isinstance(email, str) or re.search(r"[<>\n\0]", who + email):
        raise ApiError(422, f'Invalid request.\n\n"{name}" needs a name and an email.')
    try:
        moment = datetime.fromisoformat(date) if date else now()
    except (TypeError, ValueError) as error:
        raise ApiError(422, f"Invalid request.\n\n{date!r} is not a valid date-time.") from error
    return Signature(who, email, moment if moment.tzinfo else moment.replace(tzinfo=UTC))


@routes("GET", GIT + "/commits/{sha}")
async def get_git_commit(call: Call) -> Response:
    """Answer with a commit as git has it."""
    repo, git = _repo(call)
    if await git.object_type(call.params["sha"]) != "commit":
        raise not_found()
    return answer(render_git.git_commit(call.base, repo, await git.commit(call.params["sha"])))
