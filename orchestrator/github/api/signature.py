"""An App's signature by GitHub's clock: GitHub refuses what is signed at another time than its own."""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from github import Auth
from jwt import encode
from jwt.algorithms import RSAAlgorithm

# What is signed is dated back by a minute anyway.
_OFF_SECONDS = 20


def said_now(headers: Mapping[str, Any]) -> float:
    """Return what time it is by the `Date` of an answer's headers, or by this machine where it has none."""
    said = next((str(value) for name, value in headers.items() if name.lower() == "date"), "")
    try:
        return parsedate_to_datetime(said).timestamp()
    except ValueError:
        return time.time()


class DatedAuth(Auth.AppAuth):
    """An App whose claims are dated by what GitHub last said the time is; `pem` is its private key.

    The key is read once: OpenSSL checks it each time, which takes longer than all else of a token.
    """

    def __init__(self, app_id: int | str, pem: str) -> None:
        super().__init__(app_id, sign_func=self._signed)
        self._pem = pem
        self._key: Any = None
        self._behind = 0

    def corrected(self, headers: Mapping[str, Any]) -> bool:
        """Take the time from the headers of a refusal; return whether it is worth while to sign anew."""
        behind = round(said_now(headers) - time.time())
        changed = abs(behind - self._behind) > _OFF_SECONDS
        self._behind = behind
        return changed

    def _signed(self, claims: dict[str, Any]) -> str:
        """Return the signed token; raises `PyJWTError` when the key signs nothing."""
        if self._key is None:
            self._key = RSAAlgorithm(RSAAlgorithm.SHA256).prepare_key(self._pem)
        dated = claims | {name: claims[name] + self._behind for name in ("iat", "exp")}
        return encode(dated, self._key, algorithm="RS256")
