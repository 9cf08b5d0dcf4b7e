"""The starter projects that the tests build, and how they lie on a disk."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from orchestrator import scaffolds
from orchestrator.state import Task

STARTERS = {
    "fastapi": ("fastapi", "Item API\n\nBuild a REST API without authentication."),
    "fastapi-jwt": ("fastapi", "Item API\n\nBuild a REST API with JWT authentication."),
    "fastapi-persistence": ("fastapi", "Item API\n\nBuild a REST API that keeps items in a database."),
    "fastapi-websocket": ("fastapi", "Item API\n\nBuild a REST API with a WebSocket."),
    "fastapi-all": ("fastapi", "Item API\n\nBuild a REST API with JWT, persistence and a WebSocket."),
    "nextjs": ("nextjs", "Portfolio\n\nBuild a Next.js site."),
    "nextjs-storefront": ("nextjs", "Build a Next.js e-commerce storefront with product listing, cart, checkout"),
    "react-vite": ("react-vite", "Item board\n\nBuild a React application."),
    "html": ("html", "Harbour cafe\n\nBuild a landing page."),
    "library": ("library", "Text tools\n\nA typed library."),
    "library-rate-limiter": ("library", "Rate limiter library\n\nImplement token bucket rate limiter."),
    "cli": ("cli", "Text tools\n\nA command line tool."),
    "generic": ("generic", "Text tools\n\nSomething useful."),
}
PYTHON = ("fastapi", "html", "library", "cli", "generic")


def write(folder: Path, app_type: str, text: str, tasks: Iterable[Task]) -> None:
    """Write the files of some tasks of a starter project."""
    for path in (path for task in tasks for path in task.files):
        content = scaffolds.render(app_type, text, path)
        assert content is not None
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content, encoding="utf-8")


def with_dependencies(tasks: tuple[Task, ...], task: Task) -> list[Task]:
    """Return a task and everything it depends on, in the plan's order."""
    needed = {task.id}
    for other in reversed(tasks):
        if other.id in needed:
            needed.update(other.depends_on)
    return [other for other in tasks if other.id in needed]
