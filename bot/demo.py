"""`make demo`: a local GitHub, the real bot beside it, one signed `/orchestrate`, and the pull request it becomes.

python -m bot.demo          keeps the pages up until you stop it
python -m bot.demo --once   exits: 0 when the pull request, its report and its four check runs are there
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bot.localhub.server import LocalHub

REPOSITORY = "octo/quotes"
PERSON = "octocat"
ISSUE_TITLE = "Build a FastAPI authentication service with JWT tokens"
ISSUE_BODY = (
    "We need a small service where people register, log in and get a JWT bearer token.\n\n"
    "Done when all endpoints are tested and the OpenAPI docs are complete.\n"
)
README = "# Quotes\n\nA repository for the demonstration. Nothing is built here yet.\n"
CHECKS = ("orchestrator/architecture", "orchestrator/budget", "orchestrator/review", "orchestrator/validation")
KEYS = (
    "OPENAI_API_KEY",
    "ANTHROPIC_API_KEY",
    "GOOGLE_API_KEY",
    "GEMINI_API_KEY",
    "DEEPSEEK_API_KEY",
    "MOONSHOT_API_KEY",
    "KIMI_API_KEY",
    "MINIMAX_API_KEY",
    "ZHIPU_API_KEY",
    "LOCAL_LLM_BASE_URL",
)
OTHER_BOTS = (
    "GITHUB_TOKEN",
    "GITHUB_WEBHOOK_SECRET_PREVIOUS",
    "ORCHESTRATOR_CONFIG",
    "ORCHESTRATOR_DASHBOARD_TOKEN",
    "ORCHESTRATOR_DATABASE_URL",
    "PUBLIC_URL",
)
"""What the user's shell may say of another bot, and this one must not hear."""
BUDGET_USD = 2.0
START_SECONDS = 60.0
LIMIT_SECONDS = 900.0
POLL_SECONDS = 0.3
STATUS_MARK = "orchestrator:status"
REPORT_MARK = "orchestrator:report"
LOG_LINES = 20


class DemoFailed(Exception):
    """The demonstration cannot go on; the text says why."""


def main() -> int:
    """Run the demonstration and return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m bot.demo", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--once", action="store_true", help="exit when the run has ended instead of keeping the pages up"
    )
    arguments = parser.parse_args()
    try:
        return asyncio.run(demonstrate(stay=not arguments.once and sys.stdin.isatty()))
    except KeyboardInterrupt:
        return 0


async def demonstrate(*, stay: bool) -> int:
    """Set the scene, give the command, follow the run, and say what came of it."""
    folder = Path(tempfile.mkdtemp(prefix="orchestrator-demo-"))
    status = 1
    try:
        async with LocalHub(folder / "hub", page_user=PERSON) as hub:
            issue = await set_scene(hub)
            async with beside(hub, folder, _environment(os.environ)) as address:
                print(f"Local GitHub   {hub.url}/{REPOSITORY}/issues/{issue}")
                print(f"Bot            {address}", flush=True)
                hub.comment(REPOSITORY, issue, f"/orchestrate --budget {BUDGET_USD:g}", user=PERSON)
                await _follow(hub, issue, folder)
                status = _judge(hub)
                if stay:
                    print("The pages stay up. Stop with Ctrl-C.", flush=True)
                    await asyncio.Event().wait()
    except* DemoFailed as failed:
        for one in failed.exceptions:
            print(one, flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return status


async def set_scene(hub: LocalHub) -> int:
    """Make the person, the repository and the issue, and return the issue's number."""
    hub.create_user(PERSON)
    await hub.create_repository(REPOSITORY, files={"README.md": README})
    hub.set_permission(REPOSITORY, PERSON, "write")
    return hub.create_issue(REPOSITORY, ISSUE_TITLE, ISSUE_BODY, user=PERSON)


@asynccontextmanager
async def beside(hub: LocalHub, folder: Path, env: Mapping[str, str]) -> AsyncIterator[str]:
    """Run the real bot in a process of its own, as an App of the local GitHub; yields its address.

    `env` says which models it has, and nothing of a bot that the user may run besides; its state and log stand in
    `folder`. Raises `DemoFailed`, in a group, when it ends before the block does.
    """
    secret = secrets.token_hex(16)
    app_id, key = hub.create_app("Orchestrator", None, secret)
    hub.install_app(app_id, REPOSITORY)
    own = {
        "GITHUB_API_URL": hub.api_url,
        "GITHUB_SERVER_URL": hub.url,
        "GITHUB_APP_ID": str(app_id),
        "GITHUB_APP_PRIVATE_KEY": key,
        "GITHUB_WEBHOOK_SECRET": secret,
        "ORCHESTRATOR_HOME": str(folder / "state"),
        **dict.fromkeys(OTHER_BOTS, ""),
        "HOST": "127.0.0.1",
        "PORT": "0",
    }
    with (folder / "bot.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bot", env={**env, **own}, stdout=asyncio.subprocess.PIPE, stderr=log
        )
        try:
            address = await _address(process, folder / "bot.log")
            hub.set_webhook(app_id, f"{address}/webhook", secret)
            async with asyncio.TaskGroup() as group:
                watch = group.create_task(_ended_early(process, folder / "bot.log"))
                yield address
                watch.cancel()
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGINT)
                await process.wait()


def _environment(env: Mapping[str, str]) -> dict[str, str]:
    """Return the bot's environment: the provider whose key is there, else the built-in offline model."""
    found = [name for name in KEYS if env.get(name)]
    if found:
        print(f"Models         from {', '.join(found)}; this run may spend up to ${BUDGET_USD:.2f}")
        return dict(env)
    print("Models         no provider key is set, so the built-in offline model is used: starter projects at no cost")
    return {**env, "ORCHESTRATOR_OFFLINE": "1"}


async def _address(process: asyncio.subprocess.Process, log: Path) -> str:
    if process.stdout is None:
        raise AssertionError("the bot was started with a pipe")
    try:
        async with asyncio.timeout(START_SECONDS):
            async for line in process.stdout:
                if found := re.search(rb"http://\S+?(?=[,\s])", line):
                    return found.group().decode()
    except TimeoutError as error:
        raise DemoFailed(f"The bot did not listen within {START_SECONDS:g} seconds. {_tail(log)}") from error
    raise DemoFailed(f"The bot did not start. {_tail(log)}")


async def _ended_early(process: asyncio.subprocess.Process, log: Path) -> None:
    status = await process.wait()
    raise DemoFailed(f"The bot ended with status {status}. {_tail(log)}")


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-LOG_LINES:]
    return "\n".join(["The end of its log:", *lines])


async def _follow(hub: LocalHub, issue: int, folder: Path) -> None:
    """Print each new first line of the status comment until the command's reaction says that the run has ended."""
    shown, ended = "", False
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            while not ended:
                ended = _ended(hub, issue)
                answer = _answer_line(hub, issue)
                if answer and answer != shown:
                    print(f"               {answer}", flush=True)
                    shown = answer
                await asyncio.sleep(0 if ended else POLL_SECONDS)
    except TimeoutError as error:
        log = await asyncio.to_thread(_tail, folder / "bot.log")
        raise DemoFailed(f"The run did not end within {LIMIT_SECONDS:g} seconds. {log}") from error


def _answer_line(hub: LocalHub, issue: int) -> str:
    for comment in hub.comments(REPOSITORY, issue):
        body = str(comment["body"])
        if STATUS_MARK in body:
            lines = [line for line in body.splitlines() if line.strip() and not line.startswith("<!--")]
            return lines[0].strip("* ") if lines else ""
    return ""


def _ended(hub: LocalHub, issue: int) -> bool:
    commands = [comment for comment in hub.comments(REPOSITORY, issue) if comment["user"]["login"] == PERSON]
    reactions: Mapping[str, Any] = commands[0]["reactions"]
    return bool(reactions["rocket"] or reactions["confused"])


def _judge(hub: LocalHub) -> int:
    """Print what is there, and return 0 only when all of it is."""
    pulls = hub.pull_requests(REPOSITORY)
    if len(pulls) != 1:
        print(f"There should be one pull request, and there are {len(pulls)}.")
        return 1
    pull = pulls[0]
    reports = [one for one in hub.comments(REPOSITORY, pull["number"]) if REPORT_MARK in str(one["body"])]
    runs = {run["name"]: run["conclusion"] for run in hub.check_runs(REPOSITORY, pull["head"]["sha"])}
    for name in CHECKS:
        print(f"               {name}: {runs.get(name, 'missing')}")
    print(f"Report comment {'there' if len(reports) == 1 else f'{len(reports)} found'}")
    print(f"Pull request   {pull['html_url']}", flush=True)
    return 0 if len(reports) == 1 and all(name in runs for name in CHECKS) else 1


if __name__ == "__main__":
    sys.exit(main())
