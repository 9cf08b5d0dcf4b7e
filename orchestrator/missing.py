"""What is not installed: the packages that the orchestrator declares and this Python lacks, and the command for them.

Only read once an import has failed, so that a complete installation pays nothing for it.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

# Each declared package (pyproject.toml) by the module it is imported as; a test compares the two.
MODULES = {
    "aiosqlite": "aiosqlite",
    "alembic": "alembic",
    "anthropic": "anthropic",
    "cryptography": "cryptography",
    "fastapi": "fastapi",
    "genai-prices": "genai_prices",
    "gitpython": "git",
    "google-genai": "google.genai",
    "graphql-core": "graphql",
    "httpx2": "httpx2",
    "jinja2": "jinja2",
    "jsonschema": "jsonschema",
    "markdown-it-py": "markdown_it",
    "markupsafe": "markupsafe",
    "openai": "openai",
    "opentelemetry-exporter-otlp-proto-http": "opentelemetry.exporter.otlp.proto.http",
    "opentelemetry-sdk": "opentelemetry.sdk",
    "packaging": "packaging",
    "platformdirs": "platformdirs",
    "procrastinate": "procrastinate",
    "prometheus-client": "prometheus_client",
    "psycopg": "psycopg",
    "pydantic": "pydantic",
    "pygithub": "github",
    "pyjwt": "jwt",
    "python-dotenv": "dotenv",
    "pyyaml": "yaml",
    "requests": "requests",
    "rich": "rich",
    "ruff": "ruff",
    "sqlalchemy": "sqlalchemy",
    "starlette": "starlette",
    "uvicorn": "uvicorn",
    "wcmatch": "wcmatch",
}


def missing_packages() -> list[str]:
    """Return the declared packages whose module this Python does not find, in alphabetical order."""
    return [package for package, module in MODULES.items() if not _found(module)]


def sentence(packages: list[str]) -> str:
    """Return what to tell a user who lacks these packages, with the command that installs them."""
    checkout = Path(__file__).resolve().parents[1]
    what = f"-e {checkout}" if (checkout / "pyproject.toml").is_file() else " ".join(packages)
    install = f"{sys.executable} -m pip install {what}"
    return f"These packages are not installed: {', '.join(packages)}. Install them with: {install}"


def _found(module: str) -> bool:
    """Return whether the module is there; nothing but the packages above it is imported for that."""
    above = module.rpartition(".")[0]
    return (not above or _found(above)) and find_spec(module) is not None
