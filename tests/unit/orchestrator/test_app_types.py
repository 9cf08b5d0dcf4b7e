"""Which kind of app a job asks for."""

from __future__ import annotations

import pytest

from orchestrator.app_types import detect_app_type


@pytest.mark.parametrize(
    ("text", "paths", "expected"),
    [
        ("A FastAPI service with JWT", (), "fastapi"),
        ("a REST API for lakes", (), "fastapi"),
        ("A Next.js shop in React", (), "nextjs"),
        ("a React dashboard", (), "react-vite"),
        ("A command-line tool", (), "cli"),
        ("a landing page", (), "html"),
        ("Implement token bucket rate limiter", (), "library"),
        ("Poems about lakes", (), "generic"),
        ("Mend the button", ("next.config.mjs",), "nextjs"),
        ("Mend the button", ("vite.config.ts",), "react-vite"),
        ("Mend the sum", ("pyproject.toml",), "library"),
    ],
)
def test_the_kind_of_app_follows_from_files_and_words(text: str, paths: tuple[str, ...], expected: str) -> None:
    assert detect_app_type(text, paths) == expected
