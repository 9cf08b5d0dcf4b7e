"""The web starters, built through the command line, then installed, started and opened as their user would."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.chromium import chromium
from tests.e2e.test_offline import build, check_completed

pytestmark = [pytest.mark.slow, pytest.mark.node, pytest.mark.xdist_group("web")]

NPM = ("npm_install", "npm_lint", "npm_build", "npm_test")
SECONDS = 600
QUIET = {"CI": "true", "NO_COLOR": "1", "NEXT_TELEMETRY_DISABLED": "1"}


def npm(folder: Path, *arguments: str) -> str:
    ended = subprocess.run(
        ["npm", *arguments], cwd=folder, env={**os.environ, **QUIET}, capture_output=True, text=True, timeout=SECONDS
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


@contextlib.contextmanager
def served(folder: Path, *command: str) -> Iterator[str]:
    """Start a server of the project on loopback, wait until it listens, and end it with all it started."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    started = subprocess.Popen(
        ["node", *command, str(port)],
        cwd=folder,
        env={**os.environ, **QUIET},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), 5):
                break
            assert started.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server does not listen"
            with contextlib.suppress(subprocess.TimeoutExpired):
                started.wait(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(started.pid, 9)
        started.wait()


@pytest.fixture(scope="module")
def storefront(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The guide's shop, built offline, then installed and built again as its user does."""
    folder = tmp_path_factory.mktemp("storefront")
    report = build(
        folder,
        "Build a Next.js e-commerce storefront with product listing, cart, checkout",
        "--criteria",
        "npm build succeeds, pages load, no console errors",
    )
    check_completed(report, "nextjs", "json_syntax", *NPM)
    assert "storefront" in report["evaluation"]["reason"]
    project = folder / "results"
    npm(project, "install", "--no-audit", "--no-fund")
    npm(project, "run", "build")
    return project


def test_the_storefront_passes_its_jest_tests_outside_of_the_sandbox_too(storefront: Path) -> None:
    assert re.search(r"Tests: +42 passed, 42 total", npm(storefront, "test"))


@pytest.mark.chromium
def test_every_page_of_the_storefront_loads_without_a_word_on_the_console(storefront: Path, tmp_path: Path) -> None:
    expected = {
        "/": "Good things for a quiet home.",
        "/products/oak-clock": "Solid oak with a silent movement",
        "/cart": "Your cart is empty.",
        "/checkout": "Your cart is empty.",
    }
    start = ("node_modules/next/dist/bin/next", "start", "-H", "127.0.0.1", "-p")
    with served(storefront, *start) as address, chromium(tmp_path / "profile") as browser:
        for path, text in expected.items():
            browser.open(address + path, text)

    assert browser.complaints == []


def test_a_plain_next_site_is_built_and_passes_its_own_checks(tmp_path: Path) -> None:
    report = build(tmp_path, "A Next.js portfolio")

    check_completed(report, "nextjs", *NPM)
    assert {"tailwind.config.ts", "next.config.ts", "tsconfig.json", "app/about/page.tsx"} <= set(report["files"])


@pytest.mark.chromium
def test_a_react_application_is_built_passes_its_own_checks_and_loads(tmp_path: Path) -> None:
    report = build(tmp_path, "A React todo list")

    check_completed(report, "react-vite", *NPM)
    project = tmp_path / "results"
    npm(project, "install", "--no-audit", "--no-fund")
    npm(project, "run", "build")
    preview = ("node_modules/vite/bin/vite.js", "preview", "--host", "127.0.0.1", "--strictPort", "--port")
    with served(project, *preview) as address, chromium(tmp_path / "profile") as browser:
        browser.open(f"{address}/", "Nothing here.")

    assert browser.complaints == []


@pytest.mark.chromium
def test_a_static_site_loads_from_any_server(tmp_path: Path) -> None:
    report = build(tmp_path, "A landing page for a cafe")

    check_completed(report, "html", "ruff", "pytest")
    with chromium(tmp_path / "profile") as browser:
        for name in ("index.html", "contact.html"):
            # The switch between light and dark is there once the script has run.
            browser.open((tmp_path / "results" / name).as_uri(), "Dark")

    assert browser.complaints == []


@pytest.mark.chromium
def test_a_page_that_complains_is_heard(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text('shown<img src="missing.png"><script>console.error("oh"); undefined.oh</script>')

    with chromium(tmp_path / "profile") as browser:
        browser.open(page.as_uri(), "shown")

    assert len(browser.complaints) == 3
