"""The variables that name this machine's certificates: what a test starts with a clean environment needs them too."""

from __future__ import annotations

import os

_NAMES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "PIP_CERT", "REQUESTS_CA_BUNDLE")


def certificates() -> dict[str, str]:
    """Return those that are set."""
    return {name: os.environ[name] for name in _NAMES if name in os.environ}
