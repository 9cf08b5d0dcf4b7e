"""GitHub's JSON shapes of refs, blobs, trees, commits and changed files."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from urllib.parse import quote

from bot.localhub import git, render
from bot.localhub.render import API, node, stamp
from bot.localhub.state import JSON, Repository, State, User


def repo_url(base: str, repo: Repository) -> str:
    """Return the API address of a repository."""
    return f"{base}{API}/repos/{repo.full_name}"


def ref(base: str, repo: Repository, name: str, sha: str, kind: str) -> JSON:
    """Return a `git-ref`; `name` is the full one."""
    url = repo_url(base, repo)
    return {
        "ref": name,
        "node_id": node("Ref", f"{repo.id}:{name}"),
        "url": f"{url}/git/{name}",
        "object": {"sha": sha, "type": kind, "url": f"{url}/git/{kind}s/{sha}"},
    }


def blob(base: str, repo: Repository, sha: str, encoded: str, size: int) -> JSON:
    """Return a `blob`, its content in base64."""
    return {
        "sha": sha,
        "node_id": node("Blob", sha),
        "size": size,
        "url": f"{repo_url(base, repo)}/git/blobs/{sha}",
        "content": encoded,
        "encoding": "base64",
    }


def tree(base: str, repo: Repository, sha: str, entries: Sequence[git.TreeEntry]) -> JSON:
    """Return a `git-tree`."""
    url = f"{repo_url(base, repo)}/git"
    return {
        "sha": sha,
        "url": f"{url}/trees/{sha}",
        "tree": [
            {
                "path": entry.path,
                "mode": entry.mode,
                "type": entry.type,
                "sha": entry.sha,
                "url": f"{url}/{entry.type}s/{entry.sha}",
                **({"size": entry.size} if entry.size is not None else {}),
            }
            for entry in entries
        ],
        "truncated": False,
    }


def _signature(who: git.Signature) -> JSON:
    return {"name": who.name, "email": who.email, "date": stamp(who.date.astimezone(UTC))}


def verification(repo: Repository, sha: str) -> JSON:
    """Return the `verification` of a commit: GitHub signs what Apps commit through the API without author fields."""
    signed = sha in repo.signed_commits
    return {
        "verified": signed,
        "reason": "valid" if signed else "unsigned",
        "signature": "-----BEGIN PGP SIGNATURE-----\n-----END PGP SIGNATURE-----" if signed else None,
        "payload": f"tree of {sha}" if signed else None,
        "verified_at": stamp(repo.pushed_at) if signed else None,
    }


def git_commit(base: str, repo: Repository, it: git.Commit) -> JSON:
    """Return a `git-commit`."""
    url = repo_url(base, repo)
    return {
        "sha": it.sha,
        "node_id": node("Commit", it.sha),
        "url": f"{url}/git/commits/{it.sha}",
        "html_url": f"{base}/{repo.full_name}/commit/{it.sha}",
        "author": _signature(it.author),
        "committer": _signature(it.committer),
        "message": it.message,
        "tree": {"sha": it.tree, "url": f"{url}/git/trees/{it.tree}"},
        "parents": [
            {
                "sha": parent,
                "url": f"{url}/git/commits/{parent}",
                "html_url": f"{base}/{repo.full_name}/commit/{parent}",
            }
            for parent in it.parents
        ],
        "verification": verification(repo, it.sha),
    }


def _account(base: str, state: State, who: git.Signature) -> JSON | None:
    found = next((account for account in state.users.values() if account.email == who.email), None)
    return render.user(base, found) if found else None


def commit(base: str, state: State, repo: Repository, it: git.Commit) -> JSON:
    """Return a `commit` without files and stats."""
    url = repo_url(base, repo)
    inner = git_commit(base, repo, it)
    return {
        "url": f"{url}/commits/{it.sha}",
        "sha": it.sha,
        "node_id": inner["node_id"],
        "html_url": inner["html_url"],
        "comments_url": f"{url}/commits/{it.sha}/comments",
        "commit": {
            "url": inner["url"],
            "author": inner["author"],
            "committer": inner["committer"],
            "message": it.message,
            "comment_count": 0,
            "tree": inner["tree"],
            "verification": inner["verification"],
        },
        "author": _account(base, state, it.author),
        "committer": _account(base, state, it.committer),
        "parents": [parent | {"url": f"{url}/commits/{parent['sha']}"} for parent in inner["parents"]],
    }


def file_change(base: str, repo: Repository, head: str, it: git.FileChange) -> JSON:
    """Return a `diff-entry`."""
    path = quote(it.path)
    shape: JSON = {
        "sha": it.sha,
        "filename": it.path,
        "status": it.status,
        "additions": it.additions,
        "deletions": it.deletions,
        "changes": it.additions + it.deletions,
        "blob_url": f"{base}/{repo.full_name}/blob/{head}/{path}",
        "raw_url": f"{base}/{repo.full_name}/raw/{head}/{path}",
        "contents_url": f"{repo_url(base, repo)}/contents/{path}?ref={head}",
    }
    if it.patch is not None:
        shape["patch"] = it.patch
    if it.previous_path:
        shape["previous_filename"] = it.previous_path
    return shape


def author_of(account: User) -> tuple[str, str]:
    """Return name and address under which GitHub commits for an account."""
    return account.login, account.email
