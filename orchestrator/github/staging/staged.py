"""PyGithub on a stage: every request goes through the `Stage`, which reads GitHub and never writes to it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from github import Github
from github.Requester import Requester

from orchestrator.github.staging.stage import Answer, Stage


class StagedGithub(Github):
    """A client whose objects all speak to the stage; the settings are `Github`'s."""

    def __init__(self, stage: Stage, **settings: Any) -> None:
        super().__init__(**settings)
        # PyGithub takes no requester from outside, and everything that it makes gets this one.
        self._Github__requester = _StagedRequester(stage, **self.requester.kwargs)


class _StagedRequester(Requester):
    def __init__(self, stage: Stage, **settings: Any) -> None:
        super().__init__(**settings)
        self._stage = stage

    def requestJson(  # noqa: N802  (PyGithub's name)
        self,
        verb: str,
        url: str,
        parameters: dict[str, Any] | None = None,
        headers: dict[str, Any] | None = None,
        input: Any | None = None,
        cnx: Any = None,
        follow_302_redirect: bool = False,
    ) -> tuple[int, dict[str, Any], str]:
        """Answer from the stage; what it looks at is read from GitHub with the same headers."""

        def look(path: str, query: Mapping[str, Any]) -> Answer:
            if path == "/graphql":
                status, given, text = Requester.requestJson(self, "POST", self.graphql_url, None, headers, dict(query))
            else:
                asked = dict(headers or {})
                status, given, text = Requester.requestJson(
                    self, "GET", path, dict(query), asked, None, None, follow_302_redirect
                )
            return status, given, json.loads(text) if text else None

        path, query = self._below(url)
        status, given, answer = self._stage.answer(verb, path, query | (parameters or {}), input, look)
        return status, given, "" if answer is None else json.dumps(answer)

    def _below(self, url: str) -> tuple[str, dict[str, Any]]:
        """Return the path below the API's address, `/graphql` for GraphQL, and the query."""
        if url == self.graphql_url:
            return "/graphql", {}
        parts = urlsplit(url.removeprefix(self.base_url))
        return parts.path, dict(parse_qsl(parts.query, keep_blank_values=True))

    def requestMultipart(self, *_: Any, **__: Any) -> Any:  # noqa: N802
        """Refuse: nothing is uploaded."""
        raise NotImplementedError("nothing is uploaded, and least of all from a stage")

    requestBlob = requestMemoryBlobAndCheck = requestMultipart  # noqa: N815

    def withAuth(self, auth: Any) -> Requester:  # noqa: N802
        """Return a requester on the same stage."""
        return _StagedRequester(self._stage, **(self.kwargs | {"auth": auth}))

    def withLazy(self, lazy: Any) -> Requester:  # noqa: N802
        """Return a requester on the same stage."""
        same = not isinstance(lazy, bool) or lazy == self.is_lazy
        return self if same else _StagedRequester(self._stage, **(self.kwargs | {"lazy": lazy}))

    def withApiVersion(self, api_version: str | None) -> Requester:  # noqa: N802
        """Return a requester on the same stage."""
        return _StagedRequester(self._stage, **(self.kwargs | {"api_version": api_version}))
