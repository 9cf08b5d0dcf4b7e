"""The sections of a spec file: what each may hold, within which bounds, and what holds when it is left out."""

from __future__ import annotations

import re
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field
from pydantic.dataclasses import dataclass

from orchestrator.budget import DEFAULT_MAX_TIME_SECONDS, DEFAULT_MAX_USD
from orchestrator.policy import MAX_USD
from orchestrator.strict import STRICT

MAX_TIME_SECONDS = 30 * 24 * 3600.0

AppType = Literal["fastapi", "nextjs", "react-vite", "html", "library", "cli", "generic"]
Strategy = Literal["greedy", "weighted_sum", "pareto"]
Validator = Literal[
    "python_syntax", "ruff", "pytest", "json_schema", "length", "yaml_syntax", "json_syntax", "toml_syntax",
    "npm_install", "npm_lint", "npm_build", "npm_test",
]  # fmt: skip
Permission = Literal["triage", "write", "maintain", "admin"]
Checks = Literal["four", "one"]

APP_TYPES: tuple[str, ...] = get_args(AppType)
VALIDATORS: tuple[str, ...] = get_args(Validator)
MAX_GLOBS = 200
PERMISSIONS: tuple[str, ...] = get_args(Permission)


def _branch_prefix(prefix: str) -> str:
    """Check what git-check-ref-format(1) asks of the start of a branch name, within our own alphabet."""
    if not re.fullmatch(r"[a-z0-9._/-]{1,60}", prefix):
        raise ValueError(f"must be 1 to 60 of a-z 0-9 . _ / -, not {prefix!r}")
    if prefix[0] in "/-." or prefix.startswith("refs/"):
        raise ValueError(f"must not begin with '/', '-', '.' or 'refs/', as {prefix!r} does")
    for part in ("..", "//", "/.", ".lock/"):
        if part in prefix:
            raise ValueError(f"must not contain {part!r}, as {prefix!r} does")
    return prefix


def path_glob(glob: str) -> str:
    """Return a glob over paths of the repository unchanged; raises `ValueError` for one that could match nothing."""
    if not glob or glob.startswith(("/", "!", "~")):
        raise ValueError(f"must be a glob relative to the repository's top, such as 'infra/**', not {glob!r}")
    if "\\" in glob or ".." in glob.split("/"):
        raise ValueError(f"must use '/' and no '..', as {glob!r} does not")
    return glob


Usd = Annotated[float, Field(strict=True, ge=0, le=MAX_USD)]
Seconds = Annotated[float, Field(strict=True, gt=0, le=MAX_TIME_SECONDS)]
_Weight = Annotated[float, Field(strict=True, ge=0, le=1000)]
Flag = Annotated[bool, Field(strict=True)]
AccountName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}$")]
Glob = Annotated[str, Field(max_length=200), AfterValidator(path_glob)]
_Label = Annotated[str, Field(min_length=1, max_length=50)]
_Command = Annotated[str, Field(min_length=1, max_length=2000)]


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class ProjectSection:
    """What the file says of the job; in a repository it is the background of every issue."""

    title: Annotated[str, Field(max_length=256, description="A name in a few words.")] = ""
    description: Annotated[str, Field(max_length=65_536, description="What to build.")] = ""
    success_criteria: Annotated[str, Field(max_length=65_536, description="When it is done.")] = ""
    app_type: Annotated[AppType | None, Field(description="The kind of project; detected when left out.")] = None


@dataclass(frozen=True, slots=True, config=STRICT)
class BudgetSpec:
    """Hard caps in USD and seconds; `team` and `job` name the operator's budgets that are charged too."""

    max_usd: Annotated[Usd, Field(description="Hard cap on what one run spends, in USD.")] = DEFAULT_MAX_USD
    max_time_seconds: Annotated[Seconds, Field(description="Hard cap on one run's time, in seconds.")] = (
        DEFAULT_MAX_TIME_SECONDS
    )
    team: Annotated[AccountName | None, Field(description="Charge the operator's budget of this team too.")] = None
    job: Annotated[AccountName | None, Field(description="Charge the operator's budget of this job too.")] = None


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Weights:
    """How much each term counts in ranking; only their proportions matter, and one left out counts nothing."""

    quality: Annotated[_Weight, Field(description="Weight of quality.")] = 0.0
    cost: Annotated[_Weight, Field(description="Weight of low cost.")] = 0.0
    trust: Annotated[_Weight, Field(description="Weight of trust.")] = 0.0

    def __post_init__(self) -> None:
        if not self.quality + self.cost + self.trust > 0:
            raise ValueError("at least one weight must be more than 0")


@dataclass(frozen=True, slots=True, config=STRICT)
class RoutingSpec:
    """How models are ranked; the weights count for `weighted_sum` only."""

    strategy: Annotated[Strategy, Field(description="How models are ranked.")] = "greedy"
    weights: Weights = Weights(quality=0.6, cost=0.2, trust=0.2)


@dataclass(frozen=True, slots=True, config=STRICT)
class ValidationSpec:
    """Which deterministic checks run; `validators` None means that they are detected."""

    validators: Annotated[
        tuple[Validator, ...] | None,
        Field(max_length=50, description="Built-in validators; detected from the files when left out."),
    ] = None
    commands: Annotated[
        tuple[_Command, ...],
        Field(max_length=20, description="Each run by `sh -c` inside the sandbox; non-zero fails."),
    ] = ()


@dataclass(frozen=True, slots=True, config=STRICT)
class GitHubSpec:
    """How the bot and the Action behave in this repository; `require_approval_above_usd` is in USD."""

    trigger_permission: Annotated[Permission, Field(description="The least permission that may command.")] = "write"
    require_approval_above_usd: Annotated[
        Usd | None, Field(description="A forecast above this many USD waits for `/orchestrate approve`.")
    ] = None
    branch_prefix: Annotated[
        str,
        AfterValidator(_branch_prefix),
        Field(description="How our branches begin.", json_schema_extra={"pattern": "^[a-z0-9_][a-z0-9._/-]{0,59}$"}),
    ] = "orchestrator/"
    draft: Annotated[Flag, Field(description="Open pull requests as drafts.")] = True
    labels: Annotated[tuple[_Label, ...], Field(max_length=20, description="Labels of our pull requests.")] = ()
    checks: Annotated[Checks, Field(description="`one` puts all four check runs into `orchestrator/run`.")] = "four"
    staged: Annotated[Flag, Field(description="Run everything, show every write as a preview, make none.")] = False
    protected_paths: Annotated[
        tuple[Glob, ...],
        Field(max_length=MAX_GLOBS, description="Globs that are never written, added to the built-in list."),
    ] = ()
    hold_ci: Annotated[
        Flag,
        Field(
            description="false lets the repository's CI run on what models wrote without `/orchestrate ci`, where the "
            "operator's `allow_unheld_ci` permits it."
        ),
    ] = True


@dataclass(frozen=True, slots=True, config=STRICT)
class CommitSpec:
    """The trailers of our commits.

    `sign_off` certifies the origin (https://developercertificate.org) in the name of whoever commanded the run: the
    App can take no responsibility, and a person who commands and reviews does.
    """

    sign_off: Annotated[
        Flag, Field(description="Add `Signed-off-by` of whoever commanded the run, at their noreply address.")
    ] = False
    assisted_by: Annotated[Flag, Field(description="Add `Assisted-by` for each model that wrote.")] = False


@dataclass(frozen=True, slots=True, config=STRICT)
class ContextSpec:
    """Which files of an existing repository a model may see; an empty `include` means all."""

    include: Annotated[
        tuple[Glob, ...], Field(max_length=200, description="Only files that match one of these globs.")
    ] = ()
    exclude: Annotated[
        tuple[Glob, ...], Field(max_length=200, description="No file that matches one of these globs.")
    ] = ()
