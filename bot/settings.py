"""What the bot is told by its environment (CONTRACT section 1), checked once at the start."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from orchestrator.errors import UsageError
from orchestrator.github.rendering.sanitize import secrets_of_addresses
from orchestrator.tracing import secrets_of_headers

MIN_SECRET_CHARACTERS = 16
GITHUB_API_URL = "https://api.github.com"
GITHUB_SERVER_URL = "https://github.com"


@dataclass(frozen=True, slots=True)
class Settings:
    """The bot's settings; secrets never show in its `repr`.

    `other_secrets` are those that others use: keys of providers, the database's password. `app_private_key` is PEM
    text. `public_url` is an origin such as `https://bot.example.org`, or empty.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    public_url: str = ""
    github_api_url: str = GITHUB_API_URL
    github_server_url: str = GITHUB_SERVER_URL
    app_id: str = ""
    app_private_key: str = field(default="", repr=False)
    github_token: str = field(default="", repr=False)
    webhook_secret: str = field(default="", repr=False)
    webhook_secret_previous: str = field(default="", repr=False)
    dashboard_token: str = field(default="", repr=False)
    other_secrets: tuple[str, ...] = field(default=(), repr=False)

    @classmethod
    def from_environment(cls, env: Mapping[str, str]) -> Settings:
        """Read and check the environment; raises `UsageError` naming the variable that cannot be used."""

        def value(name: str, default: str = "") -> str:
            return env.get(name, "").strip() or default

        settings = cls(
            host=value("HOST", "127.0.0.1"),
            port=_port(value("PORT", "8080")),
            public_url=_url("PUBLIC_URL", value("PUBLIC_URL")),
            github_api_url=_github_url("GITHUB_API_URL", value("GITHUB_API_URL", GITHUB_API_URL)),
            github_server_url=_github_url("GITHUB_SERVER_URL", value("GITHUB_SERVER_URL", GITHUB_SERVER_URL)),
            app_id=value("GITHUB_APP_ID"),
            app_private_key=_private_key(value("GITHUB_APP_PRIVATE_KEY")),
            github_token=value("GITHUB_TOKEN"),
            webhook_secret=value("GITHUB_WEBHOOK_SECRET"),
            webhook_secret_previous=value("GITHUB_WEBHOOK_SECRET_PREVIOUS"),
            dashboard_token=value("ORCHESTRATOR_DASHBOARD_TOKEN"),
            other_secrets=_other_secrets(env),
        )
        settings._check()
        return settings

    @property
    def set_up_mode(self) -> bool:
        """True when neither credentials nor a webhook secret are there, so that no delivery can be served."""
        return not (self.app_id or self.github_token or self.webhook_secret)

    @property
    def webhook_secrets(self) -> tuple[str, ...]:
        """The secrets a delivery may be signed with: the present one, and the previous one during a rotation."""
        return tuple(secret for secret in (self.webhook_secret, self.webhook_secret_previous) if secret)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every configured secret, the providers' keys included, for what is logged and published to leave out."""
        held = (self.app_private_key, self.github_token, *self.webhook_secrets, self.dashboard_token)
        held += self.other_secrets
        return tuple(secret for secret in held if secret)

    @property
    def on_loopback(self) -> bool:
        """True when the bot can only be reached from its own machine."""
        return is_loopback(self.host)

    @property
    def is_public(self) -> bool:
        """True when `PUBLIC_URL` leads here from elsewhere, as through a proxy on this machine."""
        return bool(self.public_url) and not is_loopback(urlsplit(self.public_url).hostname or "")

    def _check(self) -> None:
        if bool(self.app_id) != bool(self.app_private_key):
            missing = "GITHUB_APP_PRIVATE_KEY" if self.app_id else "GITHUB_APP_ID"
            raise UsageError(
                f"{missing} is missing: an App needs both its id and its private key.",
                hint=f"Set {missing}, or unset the other one and use GITHUB_TOKEN.",
            )
        for name, secret in (
            ("GITHUB_WEBHOOK_SECRET", self.webhook_secret),
            ("GITHUB_WEBHOOK_SECRET_PREVIOUS", self.webhook_secret_previous),
        ):
            if secret and len(secret) < MIN_SECRET_CHARACTERS:
                raise UsageError(
                    f"{name} has {len(secret)} characters; at least {MIN_SECRET_CHARACTERS} are needed.",
                    hint="Make one with: python3 -c 'import secrets; print(secrets.token_hex(32))'",
                )
        if (self.app_id or self.github_token) and not self.webhook_secret:
            raise UsageError(
                "GITHUB_WEBHOOK_SECRET is not set, so no delivery could be verified.",
                hint="Set it to the webhook's secret, at least 16 characters, the same as on GitHub.",
            )
        if (self.webhook_secret or self.webhook_secret_previous) and not (self.app_id or self.github_token):
            raise UsageError(
                "A webhook secret is set, but no credentials to act on GitHub with.",
                hint="Set GITHUB_APP_ID and GITHUB_APP_PRIVATE_KEY, or GITHUB_TOKEN.",
            )


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address, without a port, means this machine only."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _port(text: str) -> int:
    if text.isascii() and text.isdigit() and int(text) < 2**16:
        return int(text)
    raise UsageError(f"PORT is {text!r}; expected a whole number from 0 to 65535, such as 8080.")


def _url(name: str, text: str) -> str:
    if not text:
        return ""
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.username
        _ = parts.port
    except ValueError:
        usable = False
    if not usable:
        raise UsageError(f"{name} is {text!r}; expected an address such as https://bot.example.org.")
    return text.rstrip("/")


def _github_url(name: str, text: str) -> str:
    url = _url(name, text)
    parts = urlsplit(url)
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        raise UsageError(
            f"{name} is {text!r}, which would send credentials in the clear.",
            hint="Use https; plain http is for loopback addresses only.",
        )
    return url


def _other_secrets(env: Mapping[str, str]) -> tuple[str, ...]:
    keys = [value.strip() for name, value in env.items() if name.endswith("_API_KEY")]
    return tuple(secret for secret in (*keys, *secrets_of_addresses(env), *secrets_of_headers(env)) if secret)


def _private_key(text: str) -> str:
    """Return PEM text from PEM text, also with its line ends written as \\n, or from the path of a file."""
    if not text or text.startswith("-----BEGIN"):
        return text.replace("\\n", "\n")
    try:
        key = Path(text).expanduser().read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise UsageError(
            f"GITHUB_APP_PRIVATE_KEY is neither PEM text nor a file that can be read ({type(error).__name__}).",
            hint="Set it to the path of the App's .pem file, or to its text.",
        ) from error
    if not key.startswith("-----BEGIN"):
        raise UsageError("The file that GITHUB_APP_PRIVATE_KEY names holds no PEM private key.")
    return key
