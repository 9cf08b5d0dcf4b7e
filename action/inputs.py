"""What the step was given: its inputs, checked, and the runner's own files and folders."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from orchestrator.errors import UsageError
from orchestrator.github.rendering.sanitize import secrets_of_addresses
from orchestrator.tracing import secrets_of_headers

FAIL_ON = ("never", "error", "criteria")
NAMES = ("github-token", "command", "spec", "project", "criteria", "budget", "output-dir", "fail-on")
"""The inputs as `action.yml` names them; a step passes each as INPUT_ and the name in capitals with underscores."""

HALVES = ("generate", "publish")
"""The two halves of `run` for two jobs: one with keys and no token that may write, the other one the reverse."""

_BUDGET = re.compile(r"\$?(?P<number>[0-9]{1,9}(?:\.[0-9]{0,6})?|\.[0-9]{1,6})\Z")
_SECRET_NAMES = re.compile(r"(?:_API_KEY|_PRIVATE_KEY|_TOKEN|_SECRET|_SECRET_PREVIOUS|_PASSWORD)\Z")
_NO_GLOB = re.compile(r"\A[~!]|[\\*?\[]")
_SHORTEST_SECRET = 4
"""Masking a shorter value would black out half of the log, and hide nothing that could not be guessed."""


@dataclass(frozen=True, slots=True)
class Runner:
    """The runner's files and folders, https://docs.github.com/en/actions/reference/workflows-and-actions/variables.

    `reports` is where the report goes, if not beside the state.
    """

    output: Path
    summary: Path
    temp: Path
    workspace: Path
    reports: Path | None = None

    @classmethod
    def from_environment(cls, env: Mapping[str, str]) -> Runner:
        """Return what the runner's variables name; raises `UsageError` for the first that is missing."""
        names = ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "RUNNER_TEMP", "GITHUB_WORKSPACE")
        for name in names:
            if not env.get(name):
                raise UsageError(f"{name} is not set.", hint="`python -m action` is run by a step of a workflow.")
        return cls(*(Path(env[name]) for name in names))

    @property
    def state(self) -> Path:
        """The folder of this job's state, outside the workspace."""
        return self.temp / "orchestrator"

    @property
    def bundle(self) -> Path:
        """The folder that the generating half leaves, for the workflow to hand on, and the publishing half reads."""
        return self.temp / "orchestrator-bundle"


@dataclass(frozen=True, slots=True)
class Inputs:
    """The inputs; texts are empty where nothing was given, `budget_usd` None, `output_dir` None for a pull request.

    `half` is `generate` or `publish` where the step is one of the two halves of a run.
    """

    github_token: str = field(default="", repr=False)
    command: str = ""
    spec: str = ".orchestrator.yaml"
    project: str = ""
    criteria: str = ""
    budget_usd: float | None = None
    output_dir: Path | None = None
    half: str = ""

    @classmethod
    def from_environment(cls, env: Mapping[str, str], workspace: Path) -> Inputs:
        """Read and check the inputs; raises `UsageError` that names the input."""

        def value(name: str) -> str:
            return env.get(variable(name), "").strip()

        half = half_of(env)
        if half and value("output-dir"):
            raise UsageError(f"output-dir does not go with `command: {half}`.", hint="Use one job with `command: run`.")
        return cls(
            github_token=value("github-token"),
            command=value("command"),
            spec=_spec(value("spec") or ".orchestrator.yaml"),
            project=value("project"),
            criteria=value("criteria"),
            budget_usd=_budget(value("budget")),
            output_dir=_output_dir(value("output-dir"), workspace),
            half=half,
        )


def variable(name: str) -> str:
    """Return the environment variable that carries an input."""
    return "INPUT_" + name.upper().replace("-", "_")


def fail_on(env: Mapping[str, str]) -> str:
    """Return what makes the step fail; raises `UsageError` for a word that is none of `FAIL_ON`."""
    word = env.get(variable("fail-on"), "").strip() or "error"
    if word not in FAIL_ON:
        raise UsageError(f"fail-on is {word!r}.", hint=f"Use one of {', '.join(FAIL_ON)}.")
    return word


def half_of(env: Mapping[str, str]) -> str:
    """Return which half of a run the step is, empty for both; raises `UsageError` for a half with options."""
    word, *rest = env.get(variable("command"), "").removeprefix("/orchestrate").split() or [""]
    if word.lower() not in HALVES:
        return ""
    if rest:
        raise UsageError(
            f"The command `{word.lower()}` takes nothing after it.",
            hint="The event's comment says what to build; `budget` caps it.",
        )
    return word.lower()


def secrets_of(env: Mapping[str, str]) -> tuple[str, ...]:
    """Return every value that must not be shown: keys, tokens, secrets, and the passwords in addresses."""
    found = [value.strip() for name, value in env.items() if _SECRET_NAMES.search(name)]
    found += [*secrets_of_headers(env), *secrets_of_addresses(env)]
    return tuple(dict.fromkeys(secret for secret in found if len(secret) >= _SHORTEST_SECRET))


def process_environment(env: Mapping[str, str], inputs: Inputs, runner: Runner) -> dict[str, str]:
    """Return the environment that the run is opened with: the input's token acts, and state lies beside the job."""
    apart = ("GITHUB_APP_ID", "GITHUB_APP_PRIVATE_KEY", "GITHUB_TOKEN")
    opened = {name: value for name, value in env.items() if name not in apart}
    opened["GITHUB_TOKEN"] = inputs.github_token
    opened["ORCHESTRATOR_HOME"] = env.get("ORCHESTRATOR_HOME") or str(runner.state)
    opened["ORCHESTRATOR_DATABASE_URL"] = (
        env.get("ORCHESTRATOR_DATABASE_URL") or f"sqlite:///{runner.state / 'state.db'}"
    )
    return opened


def _budget(text: str) -> float | None:
    if not text:
        return None
    match = _BUDGET.match(text)
    amount = float(match["number"]) if match else 0.0
    if amount > 0 and math.isfinite(amount):
        return amount
    raise UsageError(f"budget is {text!r}.", hint="Give an amount in USD above 0, such as 2.50.")


def _spec(text: str) -> str:
    path = PurePosixPath(text)
    # It protects the file too, as a glob.
    if path.is_absolute() or ".." in path.parts or _NO_GLOB.search(text) or len(text) > 200:
        raise UsageError(f"spec is {text!r}.", hint="Give a path inside the repository, such as .orchestrator.yaml.")
    return str(path)


def _output_dir(text: str, workspace: Path) -> Path | None:
    if not text:
        return None
    # Resolved, so that a link in the workspace leads nowhere else.
    path = (workspace / text).resolve()
    if not path.is_relative_to(workspace.resolve()):
        raise UsageError(f"output-dir is {text!r}, outside the workspace.", hint="Give a folder inside the workspace.")
    return path
