"""Who is calling: tokens of users and installations, JWTs of Apps, and what each may do."""

from __future__ import annotations

import base64
import binascii
import secrets
from dataclasses import dataclass
from datetime import timedelta

import jwt

from bot.localhub.state import ROLES, App, Installation, Repository, State, Token, User, now

TOKEN_LIFETIME = timedelta(hours=1)
"""An installation's token ends after one hour.

https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/generating-an-installation-access-token-for-a-github-app
"""


class Unauthorized(Exception):
    """The credential is none of ours; the text is GitHub's message."""


@dataclass(frozen=True)
class Actor:
    """The one behind a request: nobody, a user, an installation (acting as its bot user), or an App itself."""

    user: User | None = None
    token: Token | None = None
    app: App | None = None

    @property
    def installation(self) -> Installation | None:
        """Return the installation whose token this is, if it is one's."""
        return self.token.installation if self.token else None

    @property
    def through_app(self) -> App | None:
        """Return the App that acts, for `performed_via_github_app`."""
        return self.installation.app if self.installation else None

    def sees(self, repository: Repository) -> bool:
        """Tell whether the repository exists for this caller."""
        if not repository.private:
            return True
        if self.installation:
            return self.reaches(repository)
        return repository.role_of(self.user) != "none"

    def may(self, repository: Repository, role: str, permission: str, level: str) -> bool:
        """Tell whether a user has `role` here, or an installation `permission` at that `level` ("read", "write")."""
        if self.installation and self.token:
            if not self.reaches(repository):
                return level == "read" and not repository.private
            granted = self.token.permissions.get(permission, "")
            return granted in ("write", "admin") or (level == "read" and granted == "read")
        return self.user is not None and ROLES.index(repository.role_of(self.user)) >= ROLES.index(role)

    def reaches(self, repository: Repository) -> bool:
        """Tell whether an installation's token covers the repository."""
        token, installation = self.token, self.installation
        if token is None or installation is None or repository.id not in installation.repositories:
            return False
        return token.repositories is None or repository.id in token.repositories


def mint(
    state: State,
    installation: Installation,
    permissions: dict[str, str] | None = None,
    repositories: frozenset[int] | None = None,
) -> Token:
    """Make a token of an installation, narrowed to `permissions` and `repositories` when given."""
    granted = permissions or installation.permissions
    token = Token(
        value=_value(),
        user=installation.app.bot,
        installation=installation,
        permissions={"metadata": "read", **granted},
        repositories=repositories,
        expires_at=now() + TOKEN_LIFETIME,
    )
    state.tokens[token.value] = token
    return token


def _value() -> str:
    """Return an installation's token as GitHub makes them now: 520 letters, in three parts with dots."""
    text = secrets.token_urlsafe(400)
    return f"ghs_{text[:60]}.{text[60:400]}.{text[400:514]}"


def authenticate(state: State, header: str | None) -> Actor:
    """Return who sent this Authorization header; Unauthorized when it is not valid."""
    if not header:
        return Actor()
    scheme, _, credential = header.partition(" ")
    match scheme.lower():
        case "basic":
            return _by_token(state, _password(credential))
        case "bearer" | "token":
            credential = credential.strip()
            return _by_jwt(state, credential) if credential.count(".") == 2 else _by_token(state, credential)
    raise Unauthorized("Bad credentials")


def _password(credential: str) -> str:
    try:
        user, _, password = base64.b64decode(credential, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise Unauthorized("Bad credentials") from error
    # A token may stand in either place, as with `https://TOKEN@host/`.
    return user if password in ("", "x-oauth-basic") else password


def _by_token(state: State, value: str) -> Actor:
    token = state.tokens.get(value)
    if token is None or (token.expires_at and token.expires_at <= now()):
        raise Unauthorized("Bad credentials")
    return Actor(user=token.user, token=token)


def _by_jwt(state: State, value: str) -> Actor:
    if value in state.tokens:
        return _by_token(state, value)
    try:
        claimed = jwt.decode(value, options={"verify_signature": False})
        app = state.apps[int(claimed["iss"])]
        claims = jwt.decode(
            value, app.public_key_pem, algorithms=["RS256"], leeway=5, options={"require": ["iss", "iat", "exp"]}
        )
    except (jwt.InvalidTokenError, KeyError, ValueError, TypeError) as error:
        raise Unauthorized("A JSON web token could not be decoded") from error
    if claims["exp"] - claims["iat"] > 660 or claims["exp"] > now().timestamp() + 660:
        raise Unauthorized("'Expiration time' claim ('exp') is too far in the future")
    return Actor(app=app, user=app.bot)
