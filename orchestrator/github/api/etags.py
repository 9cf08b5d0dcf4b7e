"""PyGithub's connections: reads cost nothing when nothing has changed, and an answer that is no JSON counts as lost.

GitHub answers a conditional read with 304, which does not count against the primary limit. Its ETags are good for one
token, so that they live as long as the connection of a session does.
Source: https://docs.github.com/en/rest/using-the-rest-api/best-practices-for-using-the-rest-api#use-conditional-requests-if-appropriate

A proxy or a gateway may answer in GitHub's place: with a page under status 200, or with half of a body. PyGithub would
take a page for an object of which nothing is known, and what was read wrong once must not be kept.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import requests
from github import Github, GithubIntegration
from github.Requester import HTTPRequestsConnectionClass, HTTPSRequestsConnectionClass, RequestsResponse
from requests.structures import CaseInsensitiveDict

MOST_KEPT = 100
LARGEST_KEPT = 256 * 1024
_WITHOUT_BODY = frozenset({204, 205})

Client = TypeVar("Client", Github, GithubIntegration)


@dataclass(frozen=True, slots=True)
class _Kept:
    """An answer that was read, for the next time."""

    etag: str
    headers: Mapping[str, str]
    text: str


class _Unchanged(RequestsResponse):
    """The answer as it was when it was read last, with the limits as they are now."""

    def __init__(self, answer: requests.Response, kept: _Kept) -> None:
        super().__init__(answer)
        self.status = 200
        self.headers = CaseInsensitiveDict({**kept.headers, **answer.headers})
        self._text = kept.text

    def read(self) -> str:
        return self._text


class _Memory:
    """What one connection has read; each thread that uses the connection has a request of its own."""

    def __init__(self) -> None:
        self.request = threading.local()
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, key: tuple[str, str]) -> _Kept | None:
        with self._lock:
            return self._kept.get(key)

    def keep(self, key: tuple[str, str], answer: requests.Response) -> None:
        etag = answer.headers.get("ETag")
        if not etag or len(answer.content) > LARGEST_KEPT:
            return
        with self._lock:
            self._kept[key] = _Kept(etag, dict(answer.headers), answer.text)
            self._kept.move_to_end(key)
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)


class _Connection:
    """What both kinds of connection do: ask whether what was read has changed, and take nothing but JSON."""

    protocol: str
    host: str
    port: int
    timeout: int | None
    verify: bool | str
    session: requests.Session

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._memory = _Memory()

    def request(self, verb: str, url: str, input: Any, headers: dict[str, str], stream: bool = False) -> None:
        self._memory.request.value = (verb, url, input, headers, stream)

    def getresponse(self) -> RequestsResponse:
        verb, url, body, headers, stream = self._memory.request.value
        key, reads = (url, headers.get("Accept", "")), verb == "GET" and not stream
        kept = self._memory.of(key) if reads else None
        answer = self.session.request(
            verb,
            f"{self.protocol}://{self.host}:{self.port}{url}",
            headers={**headers, "If-None-Match": kept.etag} if kept else headers,
            data=body,
            timeout=self.timeout,
            verify=self.verify,
            allow_redirects=False,
            stream=stream,
        )
        if kept and answer.status_code == 304:
            return _Unchanged(answer, kept)
        if not stream and answer.ok and not answer.is_redirect and answer.status_code not in _WITHOUT_BODY:
            _check(answer)
        if reads and answer.status_code == 200:
            self._memory.keep(key, answer)
        return RequestsResponse(answer)


def _check(answer: requests.Response) -> None:
    """Raise `requests.InvalidJSONError` unless the answer is JSON; all that succeeds but 204 has a body."""
    try:
        json.loads(answer.text)
    except (ValueError, RecursionError) as error:
        kind = answer.headers.get("Content-Type", "no content type")
        raise requests.exceptions.InvalidJSONError(f"{answer.status_code} with {kind} that is no JSON") from error


class _PlainConnection(_Connection, HTTPRequestsConnectionClass):
    """Towards a GitHub on this machine."""


class _SecureConnection(_Connection, HTTPSRequestsConnectionClass):
    """Towards any other."""


# PyGithub lets connections be replaced for the whole process only, and then closes each after one request.
_CONNECTION_CLASS = "_Requester__connectionClass"


def connected(client: Client, api_url: str) -> Client:
    """Return the client, which speaks over these connections from now on."""
    setattr(
        client.requester, _CONNECTION_CLASS, _SecureConnection if api_url.startswith("https:") else _PlainConnection
    )
    return client
