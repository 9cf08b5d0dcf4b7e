"""Policies from YAML or JSON: one, several, or a hierarchy of global, team and job policies."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass as plain_dataclass
from dataclasses import field
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from orchestrator.errors import SpecError, SpecFinding
from orchestrator.policy import NamedPolicy, Policy, PolicySet, in_file, origin_at
from orchestrator.strict import STRICT, Form, nearest
from orchestrator.yaml_marks import Document, Loc, Place, read_file, read_yaml

_NONE = PolicySet()
GLOBAL, TEAM, JOB = "global", "team", "job"


@plain_dataclass(frozen=True, slots=True)
class PolicyHierarchy:
    """Policies on three levels: everywhere, for a team, for a job; a lower level narrows those above it."""

    everywhere: PolicySet = _NONE
    teams: Mapping[str, PolicySet] = field(default_factory=dict)
    jobs: Mapping[str, PolicySet] = field(default_factory=dict)

    def policies_for(self, team: str | None = None, job: str | None = None) -> PolicySet:
        """Return what binds a team's job: the global policies, the team's and the job's, of which the strictest wins.

        A team or job that the file does not name has no policies of its own.
        """
        own = (self.teams.get(team or "", _NONE), self.jobs.get(job or "", _NONE))
        placed = [one for level in (self.everywhere, *own) for one in level.placed]
        return PolicySet(tuple(policy for policy, _ in placed), tuple(origin for _, origin in placed))

    def strangers(self, team: str | None = None, job: str | None = None) -> tuple[str, ...]:
        """Return a sentence for a team or job that has no policies where others have some.

        It may be misspelt, or not named at all: then policies that somebody wrote bind nothing.
        """
        asked = ((TEAM, team, self.teams), (JOB, job, self.jobs))
        return tuple(
            f"the policy file says nothing of the {kind} {name!r}{nearest(name, named)}"
            if name is not None
            else f"what it says of the {kind} {', '.join(named)} binds nothing: `budget.{kind}` of a spec names one"
            for kind, name, named in asked
            if named and name not in named
        )


_Name = Annotated[str, Field(min_length=1, max_length=100)]
_Levels = Mapping[_Name, tuple[NamedPolicy, ...]]


@dataclass(frozen=True, slots=True, config=STRICT)
class _PolicyFile:
    policies: tuple[NamedPolicy, ...] = ()
    policy: Policy = Policy()


@dataclass(frozen=True, slots=True, config=STRICT)
class _HierarchyFile:
    everywhere: Annotated[tuple[NamedPolicy, ...], Field(alias=GLOBAL)] = ()
    team: _Levels = Field(default_factory=dict)
    job: _Levels = Field(default_factory=dict)


@cache
def _file_form() -> Form[_PolicyFile]:
    return Form(_PolicyFile)


@cache
def _hierarchy_form() -> Form[_HierarchyFile]:
    return Form(_HierarchyFile)


@cache
def _single_form() -> Form[Policy]:
    return Form(Policy)


def load_policy_file(path: str | Path) -> PolicyHierarchy:
    """Return the policies of a YAML or JSON file.

    The file is a hierarchy (`global:` a list of named policies, `team:` and `job:` such lists by name), or global
    policies only: one policy, a list of named ones, `policies:` with such a list, or `policy:` with one. Raises
    `UsageError` when the file cannot be read, and `SpecError` with every finding when it does not parse.
    """
    return parse_policy_file(read_file(Path(path)), str(path))


def parse_policy_file(text: str, path: str) -> PolicyHierarchy:
    """Return the policies of a text in one of the shapes of `load_policy_file`; raises `SpecError`."""
    document = read_yaml(text, path)
    value = document.value
    if isinstance(value, list):
        document = _under("policies", document)
    elif isinstance(value, dict) and (value.keys() & {GLOBAL, TEAM, JOB} or _misspelt(value)):
        return _hierarchy(document)
    elif not (isinstance(value, dict) and value.keys() & {"policy", "policies"}):
        return PolicyHierarchy(_single(document))
    read = _file_form().read(document)
    return PolicyHierarchy(in_file(read.policy, read.policies, document, GLOBAL))


def _misspelt(value: Mapping[str, object]) -> bool:
    """Say whether a file that holds no rule of a policy seems to name a level of a hierarchy."""
    return not value.keys() & Policy.__dataclass_fields__.keys() and any(
        difflib.get_close_matches(key, (GLOBAL, TEAM, JOB)) for key in value
    )


def levels_at(document: Document, key: str, kind: str, read: Mapping[str, tuple[Policy, ...]]) -> dict[str, PolicySet]:
    """Return the policies that stand by name under a key of a document; `kind` is `team` or `job`."""
    rank = 1 if kind == TEAM else 2
    return {name: _placed(document, (key, name), f"{kind} {name}", rank, policies) for name, policies in read.items()}


def _hierarchy(document: Document) -> PolicyHierarchy:
    read = _hierarchy_form().read(document)
    found = PolicyHierarchy(
        _placed(document, (GLOBAL,), GLOBAL, 0, read.everywhere),
        levels_at(document, TEAM, TEAM, read.team),
        levels_at(document, JOB, JOB, read.job),
    )
    if found == PolicyHierarchy():
        raise _no_rule(document)
    return found


def _placed(document: Document, loc: Loc, level: str, rank: int, policies: tuple[Policy, ...]) -> PolicySet:
    origins = tuple(origin_at(document, (*loc, index), level, rank) for index in range(len(policies)))
    return PolicySet(policies, origins)


def _single(document: Document) -> PolicySet:
    policy = _single_form().read(document)
    if policy == Policy():
        raise _no_rule(document)
    return PolicySet((policy,), (origin_at(document, (), GLOBAL),))


def _no_rule(document: Document) -> SpecError:
    place = document.place(())
    message = "holds no rule; give a policy, a list of policies, `policies:` with a list, or `global:`, `team:`, `job:`"
    return SpecError((SpecFinding(document.path, place.line, place.column, "(top level)", message),))


def _under(key: str, document: Document) -> Document:
    """Return the document as if its value stood under `key`, for a file that leaves the key away."""
    keys = {(key, *loc): place for loc, place in document.keys.items()}
    values: dict[Loc, Place] = {(key, *loc): place for loc, place in document.values.items()}
    return Document(document.path, {key: document.value}, keys, values)
