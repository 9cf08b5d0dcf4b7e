"""Plain pages, rendered here, without script: repositories, issues, pull requests and what the checks found."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from bot.localhub import diff, registration
from bot.localhub.git import FileChange, Git
from bot.localhub.markdown import to_html
from bot.localhub.rest_pulls import fork_point
from bot.localhub.state import REACTIONS, CheckRun, Issue, Pull, Repository, User
from bot.localhub.world import World

FOLDER = Path(__file__).parent / "templates"
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
EMOJI = dict(zip(REACTIONS, ("👍", "👎", "😄", "😕", "❤️", "🎉", "🚀", "👀"), strict=True))
MARKS = {"success": "✓", "failure": "✗", "cancelled": "⊘", "timed_out": "⏱", "action_required": "!"}

_TEMPLATES = Environment(loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined)
_TEMPLATES.filters["markdown"] = to_html
_TEMPLATES.globals |= {"emoji": EMOJI, "marks": MARKS}


def _page(name: str, **values: Any) -> Response:
    return HTMLResponse(_TEMPLATES.get_template(name).render(**values), headers=SECURITY_HEADERS)


def _missing() -> Response:
    template = _TEMPLATES.get_template("missing.html")
    return HTMLResponse(template.render(), 404, headers=SECURITY_HEADERS)


Show = Callable[[Request, Repository], Awaitable[Response]]


class Pages:
    """The pages of one hub; they show everything, private repositories too, for it is your own machine."""

    def __init__(self, world: World, account: Callable[[], User]) -> None:
        self._world = world
        self._account = account

    async def home(self, request: Request) -> Response:
        """Show the repositories."""
        return _page("home.html", repositories=sorted(self._world.state.repositories.values(), key=str_name))

    async def repository(self, request: Request, repo: Repository) -> Response:
        """Show the README, the files at the top and the branches."""
        git = Git(repo.path)
        sha = await git.resolve(repo.default_branch)
        entries = await git.tree(sha) if sha else []
        readme = next((entry for entry in entries if entry.path.lower() == "readme.md"), None)
        text = (await git.blob(readme.sha)).decode("utf-8", "replace") if readme else ""
        branches = {name.removeprefix("refs/heads/"): at for name, at in (await git.refs("refs/heads/")).items()}
        commit = await git.commit(sha) if sha else None
        return _page(
            "repository.html",
            repo=repo,
            entries=entries,
            readme=text,
            branches=branches,
            commit=commit,
            clone=f"{self._world.base}/{repo.full_name}.git",
            tab="code",
        )

    async def code(self, request: Request, repo: Repository) -> Response:
        """Show a folder or a file of a branch or commit."""
        git, ref = Git(repo.path), request.path_params["ref"]
        # A branch may hold slashes: the longest name that resolves wins.
        parts = ref.split("/")
        for size in range(len(parts), 0, -1):
            sha = await git.resolve("/".join(parts[:size]))
            if sha:
                return await self._entry(repo, git, "/".join(parts[:size]), sha, "/".join(parts[size:]))
        return _missing()

    async def _entry(self, repo: Repository, git: Git, name: str, sha: str, path: str) -> Response:
        found = await git.tree(sha, path=path) if path else []
        if path and not found:
            return _missing()
        if found and found[0].type == "blob":
            text = (await git.blob(found[0].sha)).decode("utf-8", "replace")
            return _page("file.html", repo=repo, ref=name, path=path, entries=None, lines=text.splitlines(), tab="code")
        entries = await git.tree(found[0].sha if found else sha)
        return _page("file.html", repo=repo, ref=name, path=path, entries=entries, lines=[], tab="code")

    async def issues(self, request: Request, repo: Repository) -> Response:
        """Show the issues, the newest first."""
        found = [issue for issue in repo.issues.values() if issue.pull is None]
        return _page("list.html", repo=repo, issues=found[::-1], tab="issues", account=self._account())

    async def pulls(self, request: Request, repo: Repository) -> Response:
        """Show the pull requests, the newest first."""
        found = [issue for issue in repo.issues.values() if issue.pull]
        return _page("list.html", repo=repo, issues=found[::-1], tab="pulls", account=self._account())

    async def issue(self, request: Request, repo: Repository) -> Response:
        """Show an issue with its comments; a pull request's number leads to its page."""
        issue = self._issue(request, repo)
        if issue is None:
            return _missing()
        if issue.pull:
            return RedirectResponse(f"/{repo.full_name}/pull/{issue.number}", 302)
        return _page("issue.html", repo=repo, issue=issue, tab="issues", account=self._account())

    async def pull(self, request: Request, repo: Repository) -> Response:
        """Show a pull request: its text, comments, commits and check runs."""
        issue = self._issue(request, repo)
        if issue is None or issue.pull is None:
            return _missing()
        pull = issue.pull
        commits = await Git(repo.path).log(f"{pull.base_sha}..{pull.head_sha}")
        statuses = {status.context: status for status in repo.statuses if status.sha == pull.head_sha}
        timeline = sorted([*issue.comments, *pull.comments], key=lambda comment: comment.id)
        return _page(
            "pull.html",
            repo=repo,
            issue=issue,
            pull=pull,
            commits=commits[::-1],
            runs=_checks_of(repo, pull),
            statuses=list(statuses.values()),
            timeline=timeline,
            tab="pulls",
            account=self._account(),
            signed=repo.signed_commits,
        )

    async def files(self, request: Request, repo: Repository) -> Response:
        """Show what a pull request changes, with review comments and annotations at their lines."""
        issue = self._issue(request, repo)
        if issue is None or issue.pull is None:
            return _missing()
        pull, git = issue.pull, Git(repo.path)
        changes = await git.changes(await fork_point(git, pull), pull.head_sha)
        shown = diff.shown(changes, pull.comments, _checks_of(repo, pull))
        return _page("files.html", repo=repo, issue=issue, pull=pull, files=shown, total=_total(changes), tab="pulls")

    async def part(self, request: Request, repo: Repository) -> Response:
        """Lead from GitHub's addresses of a pull request's parts to their place on its page."""
        path = request.path_params
        if path["part"] not in ("checks", "commits"):
            return _missing()
        return RedirectResponse(f"/{repo.full_name}/pull/{path['number']}#{path['part']}", 302)

    def _issue(self, request: Request, repo: Repository) -> Issue | None:
        return repo.issues.get(int(request.path_params["number"]))

    async def run(self, request: Request, repo: Repository) -> Response:
        """Show one check run."""
        run = repo.check_runs.get(int(request.path_params["id"]))
        return _page("run.html", repo=repo, run=run, tab="pulls") if run else _missing()

    async def press(self, request: Request, repo: Repository) -> Response:
        """Press a check run's button, or ask for the run or its whole suite again, from the form."""
        run = repo.check_runs.get(int(request.path_params["id"]))
        form, refused = await self._form(request)
        if run is None or refused:
            return refused or _missing()
        account, wanted = self._account(), request.path_params["wanted"]
        if wanted == "rerequest":
            self._world.rerequest(repo, account, run)
        elif wanted == "rerequest-all":
            await self._world.rerequest_suite(repo, account, repo.check_suites[run.suite_id])
        elif wanted != "actions" or not self._world.press(repo, account, run, form.get("identifier", "")):
            return PlainTextResponse("The check run shows no such button.", 422)
        return RedirectResponse(f"/{repo.full_name}/runs/{run.id}", 303)

    async def commit(self, request: Request, repo: Repository) -> Response:
        """Show one commit with its changes."""
        git = Git(repo.path)
        sha = await git.resolve(request.path_params["sha"])
        if sha is None:
            return _missing()
        commit = await git.commit(sha)
        changes = await git.changes(commit.parents[0] if commit.parents else None, sha)
        return _page(
            "commit.html",
            repo=repo,
            commit=commit,
            files=diff.shown(changes),
            total=_total(changes),
            signed=repo.signed_commits,
            tab="code",
        )

    async def post_issue(self, request: Request, repo: Repository) -> Response:
        """Open an issue from the form."""
        form, refused = await self._form(request)
        if refused or not form.get("title", "").strip():
            return refused or PlainTextResponse("An issue needs a title.", 422)
        actor = self._world.actor(self._account())
        issue = self._world.open_issue(repo, actor, form["title"].strip(), form.get("body", ""))
        return RedirectResponse(f"/{repo.full_name}/issues/{issue.number}", 303)

    async def post_comment(self, request: Request, repo: Repository) -> Response:
        """Comment from the form."""
        issue = self._issue(request, repo)
        form, refused = await self._form(request)
        if issue is None or refused:
            return refused or _missing()
        if not form.get("body", "").strip():
            return PlainTextResponse("A comment needs a text.", 422)
        comment = self._world.comment(repo, self._world.actor(self._account()), issue, form["body"])
        kind = "pull" if issue.pull else "issues"
        return RedirectResponse(f"/{repo.full_name}/{kind}/{issue.number}#issuecomment-{comment.id}", 303)

    async def _form(self, request: Request) -> tuple[dict[str, str], Response | None]:
        # Another site's page can post here too, but it cannot forge its Origin.
        if request.headers.get("origin") not in (None, f"http://{request.headers.get('host')}"):
            return {}, PlainTextResponse("This form is for the local GitHub's own pages.", 403)
        fields = parse_qs((await request.body()).decode("utf-8", "replace"), max_num_fields=10)
        return {name: values[0].replace("\r\n", "\n") for name, values in fields.items()}, None


def _checks_of(repo: Repository, pull: Pull) -> list[CheckRun]:
    return [run for run in repo.check_runs.values() if run.head_sha == pull.head_sha]


def _total(changes: Sequence[FileChange]) -> tuple[int, int]:
    return sum(it.additions for it in changes), sum(it.deletions for it in changes)


def str_name(repo: Repository) -> str:
    """Return the name by which repositories are sorted."""
    return repo.full_name.lower()


async def _style(request: Request) -> Response:
    return FileResponse(FOLDER / "style.css", media_type="text/css")


async def _avatar(request: Request) -> Response:
    drawing = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect width="16" height="16" fill="#d0d7de"/>'
        '<circle cx="8" cy="6" r="3" fill="#57606a"/><path d="M2 16a6 6 0 0 1 12 0z" fill="#57606a"/></svg>'
    )
    return Response(drawing, media_type="image/svg+xml")


def routes(world: World, account: Callable[[], User]) -> list[Route]:
    """Return the routes of the pages."""
    pages = Pages(world, account)

    def show(path: str, page: Show, method: str = "GET") -> Route:
        async def run(request: Request) -> Response:
            repo = world.state.repository(f"{request.path_params['owner']}/{request.path_params['repo']}")
            return await page(request, repo) if repo else _missing()

        return Route("/{owner}/{repo}" + path, run, methods=[method])

    async def patch(request: Request, repo: Repository) -> Response:
        issue = repo.issues.get(int(request.path_params["number"]))
        if issue is None or issue.pull is None:
            return _missing()
        git = Git(repo.path)
        return Response(await git.diff(await fork_point(git, issue.pull), issue.pull.head_sha), media_type="text/plain")

    return [
        Route("/", pages.home),
        Route("/static/style.css", _style),
        Route("/static/avatar.svg", _avatar),
        *registration.page_routes(world, account, _page),
        show("", pages.repository),
        show("/issues", pages.issues),
        show("/issues", pages.post_issue, "POST"),
        show("/issues/{number:int}", pages.issue),
        show("/issues/{number:int}/comments", pages.post_comment, "POST"),
        show("/pulls", pages.pulls),
        show("/pull/{number:int}", pages.pull),
        show("/pull/{number:int}.diff", patch),
        show("/pull/{number:int}/files", pages.files),
        show("/pull/{number:int}/{part}", pages.part),
        show("/runs/{id:int}", pages.run),
        show("/runs/{id:int}/{wanted}", pages.press, "POST"),
        show("/commit/{sha}", pages.commit),
        show("/tree/{ref:path}", pages.code),
        show("/blob/{ref:path}", pages.code),
    ]
