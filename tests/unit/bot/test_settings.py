from __future__ import annotations

from pathlib import Path

import pytest

from bot.settings import Settings, is_loopback
from orchestrator.errors import UsageError

PEM = "-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----"
APP = {"GITHUB_APP_ID": "7", "GITHUB_APP_PRIVATE_KEY": PEM}
SECRET = {"GITHUB_WEBHOOK_SECRET": "0123456789abcdef"}


def test_an_empty_environment_gives_the_defaults_and_set_up_mode() -> None:
    settings = Settings.from_environment({"HOST": "", "PORT": " "})
    assert settings == Settings(host="127.0.0.1", port=8080)
    assert settings.set_up_mode


def test_every_variable_is_read() -> None:
    settings = Settings.from_environment(
        {
            **APP,
            **SECRET,
            "HOST": "0.0.0.0",
            "PORT": "9000",
            "PUBLIC_URL": "https://bot.example.org/",
            "GITHUB_API_URL": "https://ghe.example.org/api/v3/",
            "GITHUB_SERVER_URL": "https://ghe.example.org",
            "GITHUB_WEBHOOK_SECRET_PREVIOUS": "fedcba9876543210",
            "ORCHESTRATOR_DASHBOARD_TOKEN": "a token",
            "OPENAI_API_KEY": "sk-1",
            "ORCHESTRATOR_DATABASE_URL": "postgresql://me:word@db/state",
        }
    )
    assert settings == Settings(
        host="0.0.0.0",
        port=9000,
        public_url="https://bot.example.org",
        github_api_url="https://ghe.example.org/api/v3",
        github_server_url="https://ghe.example.org",
        app_id="7",
        app_private_key=PEM,
        webhook_secret="0123456789abcdef",
        webhook_secret_previous="fedcba9876543210",
        dashboard_token="a token",
        other_secrets=("sk-1", "word"),
    )
    assert settings.webhook_secrets == ("0123456789abcdef", "fedcba9876543210")
    assert not settings.set_up_mode
    assert not settings.on_loopback


def test_a_token_alone_is_credentials_enough() -> None:
    assert not Settings.from_environment({"GITHUB_TOKEN": "t", **SECRET}).set_up_mode


def test_the_key_may_be_a_file_or_have_its_line_ends_written_out(tmp_path: Path) -> None:
    path = tmp_path / "app.pem"
    path.write_text(PEM + "\n")
    for written in (str(path), PEM.replace("\n", "\\n"), PEM):
        env = {"GITHUB_APP_ID": "7", "GITHUB_APP_PRIVATE_KEY": written, **SECRET}
        assert Settings.from_environment(env).app_private_key == PEM


@pytest.mark.parametrize(
    ("env", "named"),
    [
        ({"GITHUB_TOKEN": "t"}, "GITHUB_WEBHOOK_SECRET is not set"),
        (APP, "GITHUB_WEBHOOK_SECRET is not set"),
        ({"GITHUB_TOKEN": "t", "GITHUB_WEBHOOK_SECRET": "x" * 15}, "GITHUB_WEBHOOK_SECRET has 15 characters"),
        (
            {"GITHUB_TOKEN": "t", **SECRET, "GITHUB_WEBHOOK_SECRET_PREVIOUS": "short"},
            "GITHUB_WEBHOOK_SECRET_PREVIOUS has 5 characters",
        ),
        (SECRET, "no credentials"),
        ({"GITHUB_APP_ID": "7", **SECRET}, "GITHUB_APP_PRIVATE_KEY is missing"),
        ({"GITHUB_APP_PRIVATE_KEY": PEM, **SECRET}, "GITHUB_APP_ID is missing"),
        ({"GITHUB_APP_ID": "7", "GITHUB_APP_PRIVATE_KEY": "/no/such/file"}, "GITHUB_APP_PRIVATE_KEY is neither"),
        ({"PORT": "http"}, "PORT is 'http'"),
        ({"PORT": "65536"}, "PORT is '65536'"),
        ({"PORT": "-1"}, "PORT is '-1'"),
        ({"PORT": "²"}, "PORT is '²'"),
        ({"PUBLIC_URL": "bot.example.org"}, "PUBLIC_URL is 'bot.example.org'"),
        ({"PUBLIC_URL": "https://[bot"}, "PUBLIC_URL is"),
        ({"GITHUB_API_URL": "http://ghe.example.org/api/v3"}, "in the clear"),
    ],
)
def test_sec_01_settings_that_cannot_be_used_name_the_variable(env: dict[str, str], named: str) -> None:
    with pytest.raises(UsageError) as caught:
        Settings.from_environment(env)
    assert named in str(caught.value)
    assert caught.value.exit_status == 2


def test_a_file_that_holds_no_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "app.pem"
    path.write_text("hello")
    with pytest.raises(UsageError, match="holds no PEM private key"):
        Settings.from_environment({"GITHUB_APP_ID": "7", "GITHUB_APP_PRIVATE_KEY": str(path), **SECRET})


def test_no_secret_shows_when_settings_are_printed() -> None:
    env = {**APP, **SECRET, "GITHUB_TOKEN": "ghp_token", "OPENAI_API_KEY": "sk-1"}
    shown = repr(Settings.from_environment(env | {"ORCHESTRATOR_DASHBOARD_TOKEN": "board"}))
    for secret in ("BEGIN", "ghp_token", "0123456789abcdef", "board", "sk-1"):
        assert secret not in shown


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("LOCALHOST.", True),
        ("demo.localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.4", False),
        ("localhost.example.org", False),
        ("127.0.0.1.example.org", False),
        ("", False),
    ],
)
def test_which_hosts_are_this_machine_only(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
