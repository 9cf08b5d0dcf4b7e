"""Every error the orchestrator raises on purpose.

Each error carries the sentence for the user, a hint that says what to do about it, its published code, and the exit
status that the command line ends with (CONTRACT section 2).

    OrchestratorError
    ├── UsageError                    exit 2  a flag, path or run id that cannot be used
    │   ├── SpecError                 exit 2  a spec or policy file, with its findings at file and line
    │   └── OutputConflict            exit 2  the output folder holds a file that we did not write
    ├── BudgetError (ValueError)      exit 3
    │   ├── BudgetExhausted                   the cap leaves no room for one more useful call
    │   │   └── TaskCapReached                a policy's cap on one task leaves none for its next call
    │   ├── BudgetHierarchyExceeded           a run's cap does not fit into what org, team or job have left
    │   └── OutOfTime                         the time limit is reached
    ├── NoModel                       exit 4  no model is available, allowed and able
    ├── NoReviewer                    exit 1  another provider must review, and none of those allowed answered
    ├── RunCancelled                  exit 1  somebody cancelled the run
    ├── RunLost                       exit 1  another process has taken this run over
    ├── StoreError                    exit 1  the database cannot be read or written: full, locked, gone
    │   └── DiskFull                  exit 1  nor can the files of a run: their disk is full
    ├── PlanError                     exit 1  no model gave a usable plan or architecture
    ├── ChangeError                   exit 1  a generated file, edit, deletion or rename that may not be applied
    ├── SandboxError                  exit 1  the sandbox could not be set up
    ├── GitHubError                   exit 1  GitHub refused something the run needs
    └── ProviderError                 exit 4  one call to a model failed
        ├── RateLimited                       429; may carry `retry_after` seconds
        ├── ProviderUnavailable               5xx, dropped connection, time-out: may succeed later
        └── ProviderRejected                  400, 401, 403, 404, context too long: the same call never succeeds
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from orchestrator.codes import Code


class OrchestratorError(Exception):
    """The root of the tree; `message` is for the user, `hint` says what to do, `code` stands for it in programs."""

    exit_status: ClassVar[int] = 1
    code: Code = Code.FAILED

    def __init__(self, message: str, *, hint: str = "", code: Code | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code or self.code

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class UsageError(OrchestratorError):
    """A flag, path, environment variable or run id that cannot be used."""

    exit_status = 2
    code = Code.USAGE


@dataclass(frozen=True, slots=True)
class SpecFinding:
    """One thing wrong in a user's file: `line` and `column` count from 1, `field` is a dotted path."""

    path: str
    line: int
    column: int
    field: str
    message: str
    code: Code = Code.SPEC_FIELD

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}: {self.field}: {self.message}"


class SpecError(UsageError):
    """A spec or policy file that does not parse; `findings` name every place."""

    code = Code.SPEC_INVALID

    def __init__(self, findings: tuple[SpecFinding, ...]) -> None:
        super().__init__("\n".join(str(finding) for finding in findings))
        self.findings = findings


class OutputConflict(UsageError):
    """The output folder holds files that the orchestrator did not write; `paths` names them."""

    code = Code.OUTPUT_CONFLICT

    def __init__(self, directory: str, paths: tuple[str, ...]) -> None:
        names = ", ".join(paths)
        super().__init__(
            f"{directory} already holds files that the orchestrator did not write: {names}",
            hint="Choose another --output-dir, or move these files away. Nothing was overwritten.",
        )
        self.paths = paths


class BudgetError(OrchestratorError, ValueError):
    """A cap on money or time stops the work."""

    exit_status = 3
    code = Code.BUDGET_EXHAUSTED


class BudgetExhausted(BudgetError):
    """The cap leaves no room for one more useful call; `account` says whose cap."""

    def __init__(self, message: str, *, account: str = "run", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.account = account


class TaskCapReached(BudgetExhausted):
    """A hard policy's cap on one task leaves no room for its next call; other tasks may go on."""

    code = Code.TASK_CAP


class BudgetHierarchyExceeded(BudgetError):
    """A run's cap does not fit into what is left of a budget above it; nothing was spent. `account` names that one."""

    code = Code.BUDGET_ABOVE

    def __init__(self, message: str, *, account: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.account = account


class OutOfTime(BudgetError):
    """The run's time limit is reached."""

    code = Code.TIMED_OUT


class NoModel(OrchestratorError):
    """No model is available, allowed and able; `excluded` maps each model to the rule that ruled it out."""

    exit_status = 4
    code = Code.NO_MODEL

    def __init__(self, message: str, *, hint: str = "", excluded: dict[str, str] | None = None) -> None:
        super().__init__(message, hint=hint)
        self.excluded = excluded or {}


class NoReviewer(OrchestratorError):
    """Another provider than the writer's is allowed, so that it must review, and none answered or can read it."""

    code = Code.NO_REVIEWER


class RunCancelled(OrchestratorError):
    """Somebody cancelled the run."""

    code = Code.CANCELLED


class RunLost(OrchestratorError):
    """Another process has taken this run over; this one may no longer write to it."""

    code = Code.RUN_LOST


class StoreError(OrchestratorError):
    """The database cannot be read or written; what was committed before is kept."""

    code = Code.STORE_UNAVAILABLE


class DiskFull(StoreError):
    """The disk is full on which a run's files are; it goes on once there is room, as with a database that is."""


class PlanError(OrchestratorError):
    """No model gave a usable architecture or plan within its attempts."""

    code = Code.NO_PLAN


class ChangeError(OrchestratorError):
    """A generated file, edit, deletion or rename that may not be applied; `path` names it."""

    code = Code.CHANGE_REJECTED

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path


class SandboxError(OrchestratorError):
    """The sandbox could not be set up, or the asked rung does not work on this machine."""

    code = Code.SANDBOX_UNAVAILABLE


class GitHubError(OrchestratorError):
    """GitHub refused something the run needs."""

    code = Code.GITHUB_REFUSED


class ProviderError(OrchestratorError):
    """One call to a model failed; `provider` and `model` name it.

    `maybe_billed` is True when the request had been sent and no status of the vendor's came back, or an answer had
    begun: the provider may have billed it, so that its reservation counts as spent.
    """

    exit_status = 4
    code = Code.PROVIDER_FAILED

    def __init__(self, message: str, *, provider: str, model: str, hint: str = "", maybe_billed: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.provider = provider
        self.model = model
        self.maybe_billed = maybe_billed


class RateLimited(ProviderError):
    """The provider answered 429; `retry_after` is in seconds where it said so."""

    def __init__(
        self,
        message: str,
        *,
        provider: str,
        model: str,
        retry_after: float | None = None,
        maybe_billed: bool = False,
    ) -> None:
        super().__init__(message, provider=provider, model=model, maybe_billed=maybe_billed)
        self.retry_after = retry_after


class ProviderUnavailable(ProviderError):
    """The provider answered 5xx, dropped the connection or timed out; `retry_after` is in seconds where it said so.

    `timed_out` is True when no answer came in time.
    """

    def __init__(
        self,
        message: str,
        *,
        provider: str,
        model: str,
        hint: str = "",
        retry_after: float | None = None,
        maybe_billed: bool = False,
        timed_out: bool = False,
    ) -> None:
        super().__init__(message, provider=provider, model=model, hint=hint, maybe_billed=maybe_billed)
        self.retry_after = retry_after
        self.timed_out = timed_out


class ProviderRejected(ProviderError):
    """The provider will never accept this call; `status` is its HTTP status.

    `of_model` is True when it is only this model that the account may not use.
    """

    def __init__(
        self,
        message: str,
        *,
        provider: str,
        model: str,
        status: int,
        hint: str = "",
        of_model: bool = False,
        maybe_billed: bool = False,
    ) -> None:
        super().__init__(message, provider=provider, model=model, hint=hint, maybe_billed=maybe_billed)
        self.status = status
        self.of_model = of_model
