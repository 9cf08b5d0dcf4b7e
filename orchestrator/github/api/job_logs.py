"""The logs of workflow jobs: from GitHub's redirect to wherever it keeps them, without our token, within bounds.

Source: https://docs.github.com/en/rest/actions/workflow-jobs#download-job-logs-for-a-workflow-run
"""

from __future__ import annotations

import asyncio
from ipaddress import ip_address
from urllib.parse import urlsplit

from github.Repository import Repository

from orchestrator.errors import GitHubError
from orchestrator.github.api.client import NotFound, Refused, RepositoryClient

MAX_BYTES = 8 * 1024 * 1024
"""Of a log that is longer only the beginning is read."""
SECONDS = 20.0
_LOCATION = 4_000


class LogUnavailable(GitHubError):
    """A job's log is not to be had; the message ends the sentence "It was not read: …"."""


async def read_job_log(client: RepositoryClient, job_id: int, *, seconds: float = SECONDS) -> str:
    """Return the log of one job, as far as its first 8 MiB.

    Raises `Refused` with 401 or 403 where the token may not read it, else `LogUnavailable` when there is none.
    """
    try:
        address = await client.read("read a job's log", lambda repository: _location(repository, job_id))
    except NotFound as error:
        raise LogUnavailable("there is none any more, or it is not to be seen with this token") from error
    except Refused as error:
        if error.status in (401, 403):
            raise
        raise LogUnavailable(f"GitHub answered {error.status} {error.said}".rstrip()) from error
    if not _is_safe(address, client.server_url):
        raise LogUnavailable("GitHub keeps it at an address that is not https")
    try:
        async with asyncio.timeout(seconds):
            return (await _downloaded(address)).decode("utf-8", "replace")
    except TimeoutError as error:
        raise LogUnavailable(f"it did not arrive within {seconds:.0f} s") from error


def _location(repository: Repository, job_id: int) -> str:
    headers, _ = repository.requester.requestJsonAndCheck("GET", f"{repository.url}/actions/jobs/{job_id}/logs")
    return str(headers.get("location", ""))[:_LOCATION]


def _is_safe(address: str, server_url: str) -> bool:
    """Tell whether a log may be read at an address: https, or on this machine where GitHub is too (SECURITY 25)."""
    parts = urlsplit(address)
    if parts.scheme == "https":
        return bool(parts.hostname)
    return parts.scheme == "http" and _is_loopback(parts.hostname) and _is_loopback(urlsplit(server_url).hostname)


def _is_loopback(host: str | None) -> bool:
    try:
        return host == "localhost" or ip_address(host or "").is_loopback
    except ValueError:
        return False


async def _downloaded(address: str) -> bytes:
    """Return what is kept at a signed address; what it says is read by nobody but us, so that no token goes there."""
    import httpx2

    content = bytearray()
    headers = {"Accept-Encoding": "identity"}  # a few bytes must not become gigabytes
    try:
        async with (
            httpx2.AsyncClient(follow_redirects=False) as http,
            http.stream("GET", address, headers=headers) as answer,
        ):
            if answer.status_code != 200 or answer.headers.get("content-encoding", "identity") != "identity":
                raise LogUnavailable(f"where GitHub keeps it, {answer.status_code} was answered")
            async for part in answer.aiter_raw():
                content += part
                if len(content) >= MAX_BYTES:
                    break
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise LogUnavailable(f"where GitHub keeps it could not be reached ({type(error).__name__})") from error
    return bytes(content[:MAX_BYTES])
