"""REST: accounts, repositories, collaborators, branches, commits, comparisons and file contents."""

from __future__ import annotations

from urllib.parse import quote

from starlette.responses import JSONResponse, Response

from bot.localhub import render, render_git
from bot.localhub.call import ApiError, Call, Routes, answer, encoded, not_found
from bot.localhub.git import Git, TreeEntry
from bot.localhub.state import JSON, LEGACY_PERMISSION, Repository, User

routes = Routes()


async def commit_sha(git: Git, name: str) -> str:
    """Return the SHA of a commit by branch, tag or SHA; 422 when there is none."""
    sha = await git.resolve(name)
    if sha is None:
        raise ApiError(422, f"No commit found for SHA: {name}")
    return sha


@routes("GET", "/user")
async def get_user(call: Call) -> Response:
    """Answer who the caller is; installations have no user."""
    user = call.user()
    if call.installation():
        raise ApiError(403, "Resource not accessible by integration")
    return answer(render.full_user(call.base, user, _count(call, user)))


@routes("GET", "/users/{login}")
async def get_account(call: Call) -> Response:
    """Answer with a public account."""
    user = call.world.state.user(call.params["login"])
    if user is None:
        raise not_found()
    return answer(render.full_user(call.base, user, _count(call, user)))


def _count(call: Call, user: User) -> int:
    return sum(repo.owner is user and not repo.private for repo in call.world.state.repositories.values())


@routes("GET", "/user/repos")
async def list_own_repositories(call: Call) -> Response:
    """List the repositories on which the caller has a role."""
    user = call.user()
    mine = [r for r in call.world.state.repositories.values() if r.owner is user or user.login.lower() in r.permissions]
    return call.page(mine, lambda repo: render.repository(call.base, repo, repo.role_of(user)))


@routes("GET", "/users/{login}/repos")
async def list_account_repositories(call: Call) -> Response:
    """List the repositories of an account that the caller may see."""
    login = call.params["login"].lower()
    if call.world.state.user(login) is None:
        raise not_found()
    seen = [r for r in call.world.state.repositories.values() if r.owner.login.lower() == login and call.actor.sees(r)]
    return call.page(seen, lambda repo: render.minimal_repository(call.base, repo))


@routes("GET", "/repos/{owner}/{repo}")
async def get_repository(call: Call) -> Response:
    """Answer with one repository."""
    repo = call.repo()
    return answer(
        render.full_repository(call.base, repo, None if call.installation() else repo.role_of(call.actor.user))
    )


@routes("GET", "/repositories/{id:int}")
async def get_repository_by_id(call: Call) -> Response:
    """Answer with one repository by its number."""
    wanted = call.number("id")
    for repo in call.world.state.repositories.values():
        if repo.id == wanted and call.actor.sees(repo):
            return answer(render.full_repository(call.base, repo))
    raise not_found()


# collaborators and labels


@routes("GET", "/repos/{owner}/{repo}/collaborators")
async def list_collaborators(call: Call) -> Response:
    """List who has a role on the repository."""
    repo = call.repo("write")
    people = [u for u in call.world.state.users.values() if u.login.lower() in repo.permissions or u is repo.owner]

    def shape(user: User) -> JSON:
        role = repo.role_of(user)
        return {**render.user(call.base, user), "permissions": render.role_flags(role), "role_name": role}

    return call.page([user for user in people if user.type == "User"], shape)


@routes("GET", "/repos/{owner}/{repo}/collaborators/{login}")
async def is_collaborator(call: Call) -> Response:
    """Answer 204 when the account has a role on the repository."""
    repo = call.repo("write")
    user = call.world.state.user(call.params["login"])
    if user is None or (user is not repo.owner and user.login.lower() not in repo.permissions):
        raise not_found()
    return answer(status=204)


@routes("GET", "/repos/{owner}/{repo}/collaborators/{login}/permission")
async def get_permission(call: Call) -> Response:
    """Answer what an account may do: the legacy `permission` and the exact `role_name`."""
    repo = call.repo("read" if call.installation() else "write")
    user = call.world.state.user(call.params["login"])
    if user is None:
        raise ApiError(404, f"{call.params['login']} is not a user")
    role = repo.role_of(user)
    shape = {
        **render.user(call.base, user),
        "permissions": render.role_flags(role),
        "role_name": role,
    }
    return answer({"permission": LEGACY_PERMISSION.get(role, role), "role_name": role, "user": shape})


@routes("GET", "/repos/{owner}/{repo}/labels")
async def list_labels(call: Call) -> Response:
    """List the labels of the repository."""
    repo = call.repo(permission="issues")
    return call.page(list(repo.labels.values()), lambda label: render.label(call.base, repo, label))


@routes("POST", "/repos/{owner}/{repo}/labels")
async def create_label(call: Call) -> Response:
    """Make a label."""
    repo = call.repo("triage", "issues")
    name = call.needed("name", str)
    if name.lower() in repo.labels:
        raise ApiError(422, "Validation Failed", [{"resource": "Label", "code": "already_exists", "field": "name"}])
    label = call.world.label(repo, name, call.field("color", str) or "ededed", call.field("description", str))
    return answer(render.label(call.base, repo, label), 201)


@routes("GET", "/repos/{owner}/{repo}/labels/{name:path}")
async def get_label(call: Call) -> Response:
    """Answer with one label."""
    repo = call.repo(permission="issues")
    label = repo.labels.get(call.params["name"].lower())
    if label is None:
        raise not_found()
    return answer(render.label(call.base, repo, label))


# branches and commits


async def _branch(call: Call, repo: Repository, name: str, sha: str, *, full: bool) -> JSON:
    url = f"{render_git.repo_url(call.base, repo)}/branches/{quote(name)}"
    shape: JSON = {
        "name": name,
        "commit": {"sha": sha, "url": f"{render_git.repo_url(call.base, repo)}/commits/{sha}"},
        "protected": False,
        "protection": {
            "enabled": False,
            "required_status_checks": {"enforcement_level": "off", "contexts": [], "checks": []},
        },
        "protection_url": f"{url}/protection",
    }
    if full:
        commit = await call.git(repo).commit(sha)
        shape["commit"] = render_git.commit(call.base, call.world.state, repo, commit)
        shape["_links"] = {"self": url, "html": f"{call.base}/{repo.full_name}/tree/{quote(name)}"}
    return shape


@routes("GET", "/repos/{owner}/{repo}/branches")
async def list_branches(call: Call) -> Response:
    """List the branches."""
    repo = call.repo(permission="contents")
    refs = await call.git(repo).refs("refs/heads/")
    found = [await _branch(call, repo, name.removeprefix("refs/heads/"), sha, full=False) for name, sha in refs.items()]
    return call.page(found)


@routes("GET", "/repos/{owner}/{repo}/branches/{branch:path}")
async def get_branch(call: Call) -> Response:
    """Answer with one branch and its head commit."""
    repo = call.repo(permission="contents")
    sha = await call.git(repo).ref(f"refs/heads/{call.params['branch']}")
    if sha is None:
        raise ApiError(404, "Branch not found")
    return answer(await _branch(call, repo, call.params["branch"], sha, full=True))


@routes("GET", "/repos/{owner}/{repo}/commits")
async def list_commits(call: Call) -> Response:
    """List the commits of a branch, newest first, of one path if asked."""
    repo = call.repo(permission="contents")
    git = call.git(repo)
    sha = await git.resolve(call.query("sha") or repo.default_branch)
    if sha is None:
        if not await git.refs("refs/heads/"):
            raise ApiError(409, "Git Repository is empty.")
        raise not_found()
    commits = await git.log(sha, path=call.query("path"))
    return call.page(commits, lambda commit: render_git.commit(call.base, call.world.state, repo, commit))


async def get_commit(call: Call) -> Response:
    """Answer with one commit, its files and counts; registered last, for its path swallows others."""
    repo = call.repo(permission="contents")
    git = call.git(repo)
    commit = await git.commit(await commit_sha(git, call.params["ref"]))
    old = commit.parents[0] if commit.parents else None
    if call.accepts("diff"):
        return Response(await git.diff(old or await git.write_tree(None, []), commit.sha), media_type="text/plain")
    changes = await git.changes(old, commit.sha)
    added, deleted = sum(c.additions for c in changes), sum(c.deletions for c in changes)
    shape = render_git.commit(call.base, call.world.state, repo, commit)
    shape["stats"] = {"total": added + deleted, "additions": added, "deletions": deleted}
    shape["files"] = [render_git.file_change(call.base, repo, commit.sha, change) for change in changes]
    return answer(shape)


@routes("GET", "/repos/{owner}/{repo}/compare/{basehead:path}")
async def compare(call: Call) -> Response:
    """Compare two commits from their merge base, as a pull request would."""
    repo = call.repo(permission="contents")
    git = call.git(repo)
    left, dots, right = call.params["basehead"].partition("...")
    base = await git.resolve(left.partition(":")[2] or left)
    head = await git.resolve(right.partition(":")[2] or right)
    if not dots or base is None or head is None:
        raise not_found()
    fork = await git.merge_base(base, head)
    if fork is None:
        raise ApiError(404, f"No common ancestor between {left} and {right}.")
    if call.accepts("diff"):
        return Response(await git.diff(fork, head), media_type="application/vnd.github.diff; charset=utf-8")
    ahead, behind = await git.log(f"{base}..{head}"), await git.log(f"{head}..{base}")
    words = {(False, False): "identical", (True, False): "ahead", (False, True): "behind", (True, True): "diverged"}
    page = f"{call.base}/{repo.full_name}/compare/{left}...{right}"

    ends = [render_git.commit(call.base, call.world.state, repo, await git.commit(sha)) for sha in (base, fork)]
    return answer(
        {
            "url": f"{render_git.repo_url(call.base, repo)}/compare/{left}...{right}",
            "html_url": page,
            "permalink_url": f"{call.base}/{repo.full_name}/compare/{base[:7]}...{head[:7]}",
            "diff_url": f"{page}.diff",
            "patch_url": f"{page}.patch",
            "base_commit": ends[0],
            "merge_base_commit": ends[1],
            "status": words[(bool(ahead), bool(behind))],
            "ahead_by": len(ahead),
            "behind_by": len(behind),
            "total_commits": len(ahead),
            "commits": [render_git.commit(call.base, call.world.state, repo, c) for c in reversed(ahead)],
            "files": [render_git.file_change(call.base, repo, head, c) for c in await git.changes(fork, head)],
        }
    )


# contents


@routes("GET", "/repos/{owner}/{repo}/readme")
async def get_readme(call: Call) -> Response:
    """Answer with the README of the default branch or of `ref`."""
    return await _contents(call, "README.md")


@routes("GET", "/repos/{owner}/{repo}/contents/{path:path}")
async def get_contents(call: Call) -> Response:
    """Answer with a file in base64, or with the list of a folder."""
    return await _contents(call, call.params["path"].strip("/"))


@routes("GET", "/repos/{owner}/{repo}/contents")
async def get_root_contents(call: Call) -> Response:
    """Answer with the list of the top folder."""
    return await _contents(call, "")


async def _contents(call: Call, path: str) -> Response:
    repo = call.repo(permission="contents")
    git = call.git(repo)
    name = call.query("ref") or repo.default_branch
    sha = await git.resolve(name)
    if sha is None:
        raise ApiError(404, f"No commit found for the ref {name}" if call.query("ref") else "This repository is empty.")
    found = await git.tree(sha, path=path) if path else []
    if path and not found:
        raise not_found()
    if not path or found[0].type == "tree":
        prefix = f"{path}/" if path else ""
        entries = await git.tree(found[0].sha if path else sha)
        return JSONResponse([_content(call, repo, name, entry, prefix + entry.path) for entry in entries])
    if found[0].type == "commit":
        return answer(_content(call, repo, name, found[0], path) | {"submodule_git_url": None})
    data = await git.blob(found[0].sha)
    if call.accepts("raw"):
        return Response(data, media_type="application/vnd.github.raw; charset=utf-8")
    shape = _content(call, repo, name, found[0], path)
    if found[0].mode == "120000":
        return answer(shape | {"target": data.decode("utf-8", "replace")})
    return answer(shape | {"content": encoded(data), "encoding": "base64"})


def _content(call: Call, repo: Repository, ref: str, entry: TreeEntry, path: str) -> JSON:
    kinds = {"tree": "dir", "blob": "symlink" if entry.mode == "120000" else "file", "commit": "submodule"}
    where = quote(path)
    url = f"{render_git.repo_url(call.base, repo)}/contents/{where}?ref={quote(ref)}"
    git_url = f"{render_git.repo_url(call.base, repo)}/git/{entry.type}s/{entry.sha}"
    page = f"{call.base}/{repo.full_name}/{'tree' if entry.type == 'tree' else 'blob'}/{quote(ref)}/{where}"
    raw = f"{call.base}/{repo.full_name}/raw/{quote(ref)}/{where}"
    return {
        "type": kinds[entry.type],
        "name": path.rpartition("/")[2],
        "path": path,
        "sha": entry.sha,
        "size": entry.size or 0,
        "url": url,
        "html_url": page,
        "git_url": git_url,
        "download_url": raw if entry.type == "blob" else None,
        "_links": {"self": url, "git": git_url, "html": page},
    }
