"""What the operator decides for every run: caps, policies, model overrides, who is served, and where state lives.

The file is `ORCHESTRATOR_CONFIG`, else `config.yaml` in the state home, read as strictly as a spec.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import platformdirs
from pydantic import AfterValidator, Field, StrictInt
from pydantic.dataclasses import dataclass

from orchestrator.errors import UsageError
from orchestrator.limits import MAX_MODEL_NAME_CHARACTERS
from orchestrator.policy import PROVIDERS, NamedPolicy, Policy, PolicySet, combine, in_file
from orchestrator.policy_files import GLOBAL, JOB, TEAM, PolicyHierarchy, levels_at
from orchestrator.quotas import Quota, Scope, day_of, month_of
from orchestrator.sections import PERMISSIONS, AccountName, Flag, Glob, Permission, Seconds, Usd
from orchestrator.specs import JobSpec, narrow
from orchestrator.strict import STRICT, Form, nearest
from orchestrator.yaml_marks import read_file, read_yaml

CONFIG_NAME = "config.yaml"
DATABASE_NAME = "state.db"

SandboxRung = Literal["auto", "bubblewrap", "unshare", "limits"]
Structured = Literal["json_schema", "tool", "json_object"]

_Share = Annotated[float, Field(strict=True, ge=0, le=1)]
_Tokens = Annotated[int, Field(strict=True, ge=1, le=100_000_000)]
_TokenPrice = Annotated[float, Field(strict=True, ge=0, le=100_000)]
_Count = Annotated[int, Field(strict=True, ge=0, le=10_000)]
_RepositoryName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}/[A-Za-z0-9_.-]{1,100}$")]
_Text = Annotated[str, Field(min_length=1, max_length=200)]
_ModelName = Annotated[str, Field(min_length=1, max_length=MAX_MODEL_NAME_CHARACTERS)]


def _provider(name: str) -> str:
    if name not in PROVIDERS or name == "offline":
        raise ValueError(f"{name!r} is not a provider{nearest(name, [one for one in PROVIDERS if one != 'offline'])}")
    return name


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Budgets:
    """Caps over many runs, in USD: for all, by team and by job; None and unnamed ones are uncapped."""

    org: Usd | None = None
    teams: Annotated[Mapping[AccountName, Usd], Field(description="USD by team.")] = Field(default_factory=dict)
    jobs: Annotated[Mapping[AccountName, Usd], Field(description="USD by job.")] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Limits:
    """What one user, repository or account may have: runs within an hour and at once, USD a day and a month (UTC).

    None is no limit.
    """

    runs_per_hour: _Count | None = None
    runs_at_once: Annotated[int, Field(strict=True, ge=1, le=1_000)] | None = None
    usd_per_day: Usd | None = None
    usd_per_month: Usd | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class ModelOverride:
    """Fields of the catalog that the operator sets for a model; prices are in USD per million tokens."""

    provider: Annotated[str, AfterValidator(_provider)] | None = None
    price: _Text | None = None
    input: _TokenPrice | None = None
    output: _TokenPrice | None = None
    context: _Tokens | None = None
    max_output: _Tokens | None = None
    quality: _Share | None = None
    trust: _Share | None = None
    latency_ms: Annotated[float, Field(strict=True, ge=0)] | None = None
    structured: Structured | None = None
    regions: tuple[_Text, ...] | None = None
    trains_on_data: Flag | None = None
    reasoning: Flag | None = None

    def __post_init__(self) -> None:
        if (self.input is None) != (self.output is None):
            raise ValueError("needs both prices, `input` and `output`, or neither")


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class _Settings:
    """What the file says but for its policies; the fields are explained at `OperatorConfig`."""

    version: Annotated[StrictInt, Field(ge=1, le=1)] = 1
    enabled: Flag = True
    max_usd: Usd | None = None
    max_time_seconds: Seconds | None = None
    budgets: Budgets = Field(default_factory=Budgets)
    models: Mapping[_ModelName, ModelOverride] = Field(default_factory=dict)
    installations: tuple[_Text, ...] | None = None
    bots: tuple[_Text, ...] = ()
    trigger_permission: Permission = "triage"
    runs_per_hour: Annotated[int, Field(strict=True, ge=0, le=10_000)] = 20
    tasks_at_once: Annotated[int, Field(strict=True, ge=1, le=100)] = 3
    usd_per_day: Usd | None = None
    content_writes_per_hour: Annotated[int, Field(strict=True, ge=30, le=1_000_000)] | None = None
    runs_at_once: Annotated[int, Field(strict=True, ge=1, le=1_000)] = 4
    takeover_seconds: Annotated[float, Field(strict=True, ge=2, le=300)] = 25.0
    per_user: Limits = Field(default_factory=Limits)
    per_repository: Limits = Field(default_factory=lambda: Limits(runs_at_once=3))
    per_account: Limits = Field(default_factory=Limits)
    repositories: Mapping[_RepositoryName, Limits] = Field(default_factory=dict)
    accounts: Mapping[AccountName, Limits] = Field(default_factory=dict)
    keep_days: Annotated[int, Field(strict=True, ge=8, le=3650)] = 30
    sandbox: SandboxRung = "auto"
    index_hosts: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?$")], ...] = ()
    allow_unisolated: Flag = False
    protected_path_exceptions: tuple[Glob, ...] = ()
    allow_training_on_private: Flag = False
    allow_unheld_ci: Flag = False


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class _ConfigFile(_Settings):
    policy: Policy = Policy()
    policies: tuple[NamedPolicy, ...] = ()
    team_policies: Mapping[AccountName, tuple[NamedPolicy, ...]] = Field(default_factory=dict)
    job_policies: Mapping[AccountName, tuple[NamedPolicy, ...]] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class OperatorConfig(_Settings):
    """The operator's word, which overrides any spec.

    `enabled` False stops every run before its next call. `max_usd` and `max_time_seconds` cap each run, `budgets`
    many, `usd_per_day` one user's day; None caps nothing. `installations` are the account names served: None means the
    account that registered the App. `bots` are logins whose commands count. `trigger_permission` is the floor under
    every spec's. `runs_per_hour` is per user, `tasks_at_once` per run, `runs_at_once` for all: what is above waits.
    `per_user`, `per_repository` and `per_account` limit each of them; `repositories` and `accounts` name some for whom
    other limits hold where they set one. An account is whoever owns repositories, and installs the App.
    `takeover_seconds` is how long a process on PostgreSQL may be silent before others take over what it worked on.
    After `keep_days` ended runs are forgotten with all that belongs to them; no shorter than GitHub redelivers.
    `content_writes_per_hour` is what an installation may write on GitHub, None as much as github.com allows. `sandbox`
    forces a rung; `allow_unisolated` lets generated code run where no rung isolates; `index_hosts` stand in
    place of the public package indexes, the index first. `protected_path_exceptions` may be written although built-in
    protection says no, but for workflows.
    `allow_training_on_private` lets private repositories reach providers that train on API data. `allow_unheld_ci` has
    a spec's `github.hold_ci: false` count: give it where only administrators can change the default branch, which
    holds that file. `policies` bind every run, `team_policies` and `job_policies` those whose spec names that team or
    job.
    """

    policies: PolicySet = PolicySet()
    team_policies: Mapping[str, PolicySet] = Field(default_factory=dict)
    job_policies: Mapping[str, PolicySet] = Field(default_factory=dict)

    def policies_for(self, team: str | None, job: str | None) -> PolicySet:
        """Return what binds a run that is charged to a team and a job."""
        return PolicyHierarchy(self.policies, self.team_policies, self.job_policies).policies_for(team, job)

    def of_repository(self, name: str) -> Limits:
        """Return the limits of a repository by its full name, whatever its case."""
        return _over(self.per_repository, self.repositories, name)

    def of_account(self, name: str) -> Limits:
        """Return the limits of the account of a repository, whatever the case of its name."""
        return _over(self.per_account, self.accounts, name)

    def quotas(self, user: str, repository: str, now: float) -> tuple[Quota, ...]:
        """Return what a run of a user in a repository is charged to at a time; an empty name has no quota."""
        account = repository.partition("/")[0]
        found: list[Quota] = []
        own: tuple[tuple[Scope, str, Limits], ...] = (
            ("user", user, self.per_user),
            ("repository", repository, self.of_repository(repository)),
            ("account", account, self.of_account(account)),
        )
        for scope, name, limits in own:
            daily = [limits.usd_per_day, self.usd_per_day if scope == "user" else None]
            for period, caps in ((day_of(now), daily), (month_of(now), [limits.usd_per_month])):
                given = [usd for usd in caps if usd is not None]
                if name and given:
                    found.append(Quota(scope, name, period, min(given)))
        return tuple(found)

    def model_overrides(self) -> dict[str, dict[str, Any]]:
        """Return the overrides as `load_catalog` takes them, with only the fields that are set."""
        return {
            name: {key: value for key, value in asdict(override).items() if value is not None}
            for name, override in self.models.items()
        }


def _over(general: Limits, named: Mapping[str, Limits], name: str) -> Limits:
    """Return the limits of one that may be named: its own where it has them."""
    own = next((limits for one, limits in named.items() if one.lower() == name.lower()), None)
    if own is None:
        return general
    return replace(general, **{key: value for key, value in asdict(own).items() if value is not None})


@cache
def _form() -> Form[_ConfigFile]:
    return Form(_ConfigFile)


def parse_operator_config(text: str, path: str) -> OperatorConfig:
    """Return the configuration of a file's text; raises `SpecError` with every finding."""
    document = read_yaml(text, path)
    file = _form().read(document)
    settings = {name: getattr(file, name) for name in _Settings.__dataclass_fields__}
    return OperatorConfig(
        **settings,
        policies=in_file(file.policy, file.policies, document, GLOBAL),
        team_policies=levels_at(document, "team_policies", TEAM, file.team_policies),
        job_policies=levels_at(document, "job_policies", JOB, file.job_policies),
    )


def load_operator_config(path: Path | None) -> OperatorConfig:
    """Return the operator's configuration, all defaults without a file.

    Raises `UsageError` when the file cannot be read, and `SpecError` with every finding when it does not parse.
    """
    return OperatorConfig() if path is None else parse_operator_config(read_file(path), str(path))


def operator_config_path(env: Mapping[str, str]) -> Path | None:
    """Return the file that `ORCHESTRATOR_CONFIG` names, which must exist, else `config.yaml` of the home if it does."""
    named = env.get("ORCHESTRATOR_CONFIG", "")
    if named:
        path = Path(named)
        if not path.is_file():
            raise UsageError(f"ORCHESTRATOR_CONFIG names {named}, which is no file.", hint="Correct it, or unset it.")
        return path
    path = _home_path(env) / CONFIG_NAME
    return path if path.is_file() else None


def bind(spec: JobSpec, config: OperatorConfig) -> JobSpec:
    """Return the spec under the operator's caps, policies, permission floor, hold on CI and kill switch."""
    capped = narrow(spec, max_usd=config.max_usd, max_time_seconds=config.max_time_seconds)
    permission = max(spec.github.trigger_permission, config.trigger_permission, key=PERMISSIONS.index)
    return replace(
        capped,
        policies=combine(config.policies_for(spec.budget.team, spec.budget.job), spec.policies),
        github=replace(
            spec.github,
            trigger_permission=permission,
            hold_ci=spec.github.hold_ci or not config.allow_unheld_ci,
        ),
        enabled=spec.enabled and config.enabled,
    )


def state_home(env: Mapping[str, str]) -> Path:
    """Return the folder of state, cache and configuration, made with mode 0700 where it is missing or empty.

    It is `ORCHESTRATOR_HOME`, else the platform's user state directory. Raises `UsageError` when it cannot be one.
    """
    home = _home_path(env)
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A folder that already holds something may be shared on purpose; the files of state are 0600 in any case.
        if not any(home.iterdir()):
            home.chmod(0o700)
    except OSError as error:
        raise UsageError(
            f"The state folder {home} cannot be used: {error.strerror}.",
            hint="Set ORCHESTRATOR_HOME to a folder that you may write to.",
        ) from error
    if not os.access(home, os.W_OK | os.X_OK):
        raise UsageError(f"The state folder {home} is not writable.", hint="Set ORCHESTRATOR_HOME to another folder.")
    return home


def database_url(env: Mapping[str, str]) -> str:
    """Return where state lives: `ORCHESTRATOR_DATABASE_URL`, else an SQLite file in the state home.

    Raises `UsageError` for another scheme than `sqlite:///` and `postgresql://`, and for a database in memory, which
    each connection would have for itself; the message never holds the URL, which may carry a password.
    """
    url = env.get("ORCHESTRATOR_DATABASE_URL", "")
    if not url:
        return f"sqlite:///{state_home(env) / DATABASE_NAME}"
    if re.match(r"sqlite:.*(:memory:|mode=memory)", url):
        raise UsageError(
            "ORCHESTRATOR_DATABASE_URL names a database in memory, which cannot be shared and ends with the process.",
            hint="Give sqlite:///path/to/file.db; a file in a temporary folder serves for a trial.",
        )
    if re.match(r"sqlite:///.|postgresql://.", url):
        return url
    raise UsageError(
        "ORCHESTRATOR_DATABASE_URL is not a database that the orchestrator knows.",
        hint="Give sqlite:///path/to/file.db or postgresql://user@host/name.",
    )


def _home_path(env: Mapping[str, str]) -> Path:
    named = env.get("ORCHESTRATOR_HOME", "")
    return Path(named).absolute() if named else platformdirs.user_state_path("orchestrator")
