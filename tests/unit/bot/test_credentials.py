from __future__ import annotations

import resource
import stat
from pathlib import Path

import pytest

from bot.credentials import check, environment, keep
from orchestrator.errors import UsageError
from orchestrator.github.api.registration import RegisteredApp

API = "https://api.github.com"
APP = RegisteredApp("7", "orchestrator-1", "octo", "https://github.com/apps/orchestrator-1", "-----BEGIN K", "s" * 64)
KEPT = {"GITHUB_APP_ID": "7", "GITHUB_APP_PRIVATE_KEY": "-----BEGIN K", "GITHUB_WEBHOOK_SECRET": "s" * 64}


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    return {"ORCHESTRATOR_HOME": str(tmp_path / "state")}


def test_sec_33_what_is_kept_is_0600_and_is_found_at_the_next_start(home: dict[str, str]) -> None:
    path = keep(home, API, APP)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert environment(home) == home | KEPT
    assert "client_secret" not in path.read_text()


def test_where_nothing_can_be_kept_is_known_before_there_is_an_app(home: dict[str, str]) -> None:
    check(home)
    assert list(Path(home["ORCHESTRATOR_HOME"]).iterdir()) == []
    # when the disk is full, as far as this process may fill it
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, before[1]))
    try:
        with pytest.raises(UsageError, match=r"could not be kept in \S+github-app\.json: File too large\."):
            check(home)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(Path(home["ORCHESTRATOR_HOME"]).iterdir()) == []


def test_without_a_file_the_environment_is_as_it_was(home: dict[str, str]) -> None:
    assert environment(home) == home


@pytest.mark.parametrize("given", [{"GITHUB_TOKEN": "t"}, {"GITHUB_APP_ID": "8"}, {"GITHUB_APP_PRIVATE_KEY": "k"}])
def test_credentials_in_the_environment_put_all_that_was_kept_aside(
    home: dict[str, str], given: dict[str, str]
) -> None:
    keep(home, API, APP)
    assert environment(home | given) == home | given


def test_a_secret_in_the_environment_wins_over_the_one_that_was_kept(home: dict[str, str]) -> None:
    keep(home, API, APP)
    assert environment(home | {"GITHUB_WEBHOOK_SECRET": "z" * 16})["GITHUB_WEBHOOK_SECRET"] == "z" * 16


def test_an_app_of_another_github_is_never_used(home: dict[str, str]) -> None:
    keep(home, API, APP)
    with pytest.raises(UsageError, match=r"holds an App of https://api\.github\.com"):
        environment(home | {"GITHUB_API_URL": "https://ghes.example.org/api/v3"})


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"app_id": "7"}'])
def test_a_file_that_cannot_be_used_is_named(home: dict[str, str], content: str) -> None:
    keep(home, API, APP).write_text(content)
    with pytest.raises(UsageError, match=r"github-app\.json holds no credentials"):
        environment(home)
