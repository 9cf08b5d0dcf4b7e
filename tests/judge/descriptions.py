"""Where GitHub's descriptions come from: two npm packages, of which one file each is taken, pinned by their hashes."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from tests.judge.graphql import Schema
from tests.judge.openapi import Description

OPENAPI = (
    "@octokit/openapi@23.0.2",
    "generated/api.github.com.json",
    "pV8M7L9GY23AybNvTmo2nyjmpmnt6+2sRE/tqr0ZLQcPS4lnw7u5eZGNmwRNkBC3D7gZXbFx5AHzLUVRBXGDhg==",
)
GRAPHQL = (
    "@octokit/graphql-schema@15.26.1",
    "schema.json",
    "RFDC2MpRBd4AxSRvUeBIVeBU7ojN/SxDfALUd7iVYOSeEK3gZaqR2MGOysj4Zh2xj2RY5fQAUT+Oqq7hWTraMA==",
)
SECONDS = 300


def descriptions() -> tuple[Description, Schema]:
    """Return GitHub's OpenAPI description and GraphQL schema; npm keeps what it has fetched once.

    Raises `RuntimeError` when npm cannot fetch a package, or a package is not the one that was pinned.
    """
    return Description(_fetched(*OPENAPI)), Schema(_fetched(*GRAPHQL))


def _fetched(package: str, file: str, sha512: str) -> Any:
    # Unpacked, the first package is 385 MB: only its archive is fetched, and one file read from it.
    with tempfile.TemporaryDirectory(prefix="judge-") as folder:
        ended = subprocess.run(
            ["npm", "pack", "--silent", "--prefer-offline", package],
            cwd=folder,
            env={**os.environ, "NO_COLOR": "1"},
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        if ended.returncode != 0:
            raise RuntimeError(f"npm could not fetch {package}:\n{ended.stdout}{ended.stderr}")
        (archive,) = Path(folder).glob("*.tgz")
        if base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode() != sha512:
            raise RuntimeError(f"{package} is not the package that was pinned: its SHA-512 differs")
        with tarfile.open(archive) as packed:
            found = packed.extractfile(f"package/{file}")
            if found is None:
                raise RuntimeError(f"{package} holds no {file}")
            return json.load(found)
