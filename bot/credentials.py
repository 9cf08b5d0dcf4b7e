"""The App that `/setup` has registered, kept in the state folder for the next start; the environment wins over it."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from bot.settings import GITHUB_API_URL
from orchestrator.errors import UsageError
from orchestrator.github.api.registration import RegisteredApp
from orchestrator.operator_config import state_home

FILE_NAME = "github-app.json"
FILE_BYTES = 16 * 1024
"""More than the file takes: a private key has some 1.7 KB."""
_VARIABLES = {
    "GITHUB_APP_ID": "app_id",
    "GITHUB_APP_PRIVATE_KEY": "private_key",
    "GITHUB_WEBHOOK_SECRET": "webhook_secret",
    "GITHUB_WEBHOOK_SECRET_PREVIOUS": "webhook_secret_previous",
}
_CREDENTIALS = ("GITHUB_APP_ID", "GITHUB_APP_PRIVATE_KEY", "GITHUB_TOKEN")


def check(env: Mapping[str, str]) -> None:
    """Raise `UsageError` where an App's credentials could not be kept, while GitHub has not made it yet."""
    path = state_home(env) / FILE_NAME
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".github-app-") as file:
            file.write(b" " * FILE_BYTES)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise _unkept(path, error) from error


def keep(env: Mapping[str, str], api_url: str, app: RegisteredApp) -> Path:
    """Keep the App's credentials in a file of mode 0600 and return its path; raises `UsageError` when that fails."""
    path = state_home(env) / FILE_NAME
    kept = {field: getattr(app, field) for field in _VARIABLES.values()}
    about = {"api_url": api_url, "slug": app.slug, "owner": app.owner, "html_url": app.html_url}
    try:
        # mkstemp makes the file with mode 0600.
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".github-app-")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(about | kept, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except OSError as error:
        raise _unkept(path, error) from error
    return path


def _unkept(path: Path, error: OSError) -> UsageError:
    return UsageError(
        f"The App's credentials could not be kept in {path}: {error.strerror}.",
        hint="Free space there, or set ORCHESTRATOR_HOME to a folder that you may write to.",
    )


def environment(env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment with what was kept where it says nothing itself.

    Credentials in the environment put all that was kept aside. Raises `UsageError` for a file that cannot be used, or
    an App of another GitHub than the environment names.
    """
    given = {name: value for name, value in env.items() if value.strip()}
    if any(name in given for name in _CREDENTIALS):
        return dict(env)
    path = state_home(env) / FILE_NAME
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        found = {name: str(kept[field]) for name, field in _VARIABLES.items()}
        home = str(kept["api_url"])
    except FileNotFoundError:
        return dict(env)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path} holds no credentials of an App that could be read ({type(error).__name__}).",
            hint="Restore it, or remove it and set the bot up again.",
        ) from error
    api_url = given.get("GITHUB_API_URL", GITHUB_API_URL).strip().rstrip("/")
    if home != api_url:
        raise UsageError(
            f"{path} holds an App of {home}, and GITHUB_API_URL is {api_url}.",
            hint="Set GITHUB_API_URL and GITHUB_SERVER_URL as they were, or remove the file and set the bot up again.",
        )
    return {name: value for name, value in found.items() if value} | given
