"""May they? The collaborator-permission API alone grants; everything else denies (SECURITY 6)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from github.Repository import Repository

from orchestrator.errors import GitHubError
from orchestrator.github.api.client import NotFound, RepositoryClient

ROLES = ("none", "read", "triage", "write", "maintain", "admin")
WRITING = ROLES[3:]
"""The roles that may push."""
_LOGIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,99})(?:\[bot\])?\Z")


@dataclass(frozen=True, slots=True)
class Access:
    """The answer: `role` is what counts of them, `reason` a sentence for the audit and the comment.

    `unknown` tells that GitHub did not answer, which denies too.
    """

    granted: bool
    role: str
    reason: str
    unknown: bool = False


async def may_command(client: RepositoryClient, login: str, at_least: str) -> Access:
    """Say whether somebody has at least a role on the repository; any error, 404 or time-out denies.

    A custom role counts as the legacy permission that it builds on.
    """
    if at_least not in ROLES[2:]:
        return Access(False, "none", f"{at_least!r} is no role that could be asked for")
    if not _LOGIN.match(login):
        return Access(False, "none", "that is no login")
    try:
        answer = await client.read(f"say what {login} may do", lambda repository: _permission(repository, login))
    except NotFound:
        return Access(False, "none", f"{login} is no collaborator")
    except (GitHubError, TimeoutError) as error:
        return Access(False, "none", f"GitHub did not say what {login} may do: {error}", unknown=True)
    role = effective_role(answer)
    if ROLES.index(role) >= ROLES.index(at_least):
        return Access(True, role, f"{login} has the role {role}")
    return Access(False, role, f"{login} has the role {role}, and {at_least} is needed")


def effective_role(answer: Any) -> str:
    """Return the role that an answer of the permission API grants: the named one, else the legacy permission.

    https://docs.github.com/en/rest/collaborators/collaborators#get-repository-permissions-for-a-user
    """
    if not isinstance(answer, dict):
        return "none"
    named, legacy = answer.get("role_name"), answer.get("permission")
    role = legacy if legacy in ROLES else "none"
    # Legacy says `read` of triage and `write` of maintain; a custom role may bear any other name, even a misleading
    # one, so a name counts only where it refines what legacy grants.
    refines = {("triage", "read"), ("maintain", "write")}
    return named if isinstance(named, str) and (named, role) in refines else role


def _permission(repository: Repository, login: str) -> Any:
    path = f"{repository.url}/collaborators/{quote(login, safe='')}/permission"
    return repository.requester.requestJsonAndCheck("GET", path)[1]
