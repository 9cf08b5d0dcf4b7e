"""`python -m bot.localhub --root DIR --port N`: a local GitHub with a sample repository, until interrupted."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from bot.localhub.server import LocalHub

SAMPLE = "octo/demo"
FILES = {
    "README.md": "# Demo\n\nA sample repository of the local GitHub.\n",
    "src/demo/__init__.py": '"""A sample package."""\n',
}


async def _serve(root: Path, port: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with LocalHub(root, port) as hub:
        user = hub.create_user("octocat")
        if hub.state.repository(SAMPLE) is None:
            await hub.create_repository(SAMPLE, FILES, description="A sample repository")
        hub.set_permission(SAMPLE, user.login, "admin")
        hub.create_issue(SAMPLE, "Add a rate limiter", "A token bucket, with tests.")
        print(f"Pages   {hub.url}/")
        print(f"API     GITHUB_API_URL={hub.api_url} GITHUB_SERVER_URL={hub.url}")
        print(f"Token   GITHUB_TOKEN={hub.token_for(user.login)}   (of {user.login}, admin of {SAMPLE})")
        print("Only commits are kept after the end. Interrupt to stop.", flush=True)
        await stop.wait()


def main(arguments: list[str] | None = None) -> int:
    """Run the local GitHub until SIGINT or SIGTERM; 2 for a port that is taken or a folder that cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m bot.localhub", description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="folder of the bare repositories")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1 (default: a free one)")
    options = parser.parse_args(arguments)
    try:
        asyncio.run(_serve(options.root, options.port))
    except OSError as error:
        print(f"localhub: cannot start: {error}; choose another --port or --root", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
