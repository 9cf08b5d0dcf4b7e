"""Every code that an ending, a refusal, a finding or an error carries: published, and never renamed.

Programs may rely on these words wherever they stand: in `report.json`, `report.md`, and on GitHub. The sentence of each
says what it means; docs/codes.md is made of them, and tests/contract/codes.json freezes the words.
"""

from __future__ import annotations

from enum import StrEnum


class CodeKind(StrEnum):
    """What a code is about."""

    ENDING = "ending"
    TASK = "task"
    REFUSAL = "refusal"
    FINDING = "finding"


class Code(StrEnum):
    """One code with its kind and a sentence about it."""

    kind: CodeKind
    meaning: str

    def __new__(cls, value: str, kind: CodeKind = CodeKind.ENDING, meaning: str = "") -> Code:
        """Return the member of a code, which is its word; the defaults are never used, `Code("x")` looks one up."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.kind = kind
        member.meaning = meaning
        return member

    # how a run, or a command, ended

    CHANGED = "changed", CodeKind.ENDING, "Every task and every check passed."
    NOTHING_TO_DO = "nothing_to_do", CodeKind.ENDING, "Every model that was asked found nothing to change."
    INCOMPLETE = "incomplete", CodeKind.ENDING, "Something was built, but a task or a check did not pass."
    FAILED = "failed", CodeKind.ENDING, "Nothing was built, or something nobody foresaw stopped the run."
    REFUSED = "refused", CodeKind.ENDING, "The request was refused before anything was spent."
    MISSING_PERMISSION = (
        "missing_permission",
        CodeKind.ENDING,
        "GitHub refused a write, because the App or the token lacks a permission.",
    )
    BUDGET_EXHAUSTED = "budget_exhausted", CodeKind.ENDING, "The cap leaves no room for one more useful call."
    BUDGET_ABOVE = (
        "budget_above",
        CodeKind.ENDING,
        "The run's cap does not fit into what the organisation, team or job has left.",
    )
    TIMED_OUT = "timed_out", CodeKind.ENDING, "The run's time limit is reached."
    CANCELLED = "cancelled", CodeKind.ENDING, "Somebody cancelled the run, or the operator's switch stopped it."
    INTERRUPTED = "interrupted", CodeKind.ENDING, "The process stopped; the run goes on where it was when resumed."
    RUN_LOST = "run_lost", CodeKind.ENDING, "Another process has taken the run over."
    NO_MODEL = "no_model", CodeKind.ENDING, "No model is available, allowed by policy and able to answer."
    NO_REVIEWER = (
        "no_reviewer",
        CodeKind.ENDING,
        "Another provider must review, and none of those allowed answered or can read that much.",
    )
    NO_PLAN = "no_plan", CodeKind.ENDING, "No model gave an architecture or a plan that can be used."
    SECRET_FOUND = "secret_found", CodeKind.ENDING, "A secret stands in generated files, so nothing was pushed."
    OUTPUT_CONFLICT = "output_conflict", CodeKind.ENDING, "The output folder holds files that we did not write."
    SANDBOX_UNAVAILABLE = "sandbox_unavailable", CodeKind.ENDING, "The sandbox could not be set up."
    STORE_UNAVAILABLE = "store_unavailable", CodeKind.ENDING, "The database cannot be read or written."
    GITHUB_REFUSED = "github_refused", CodeKind.ENDING, "GitHub refused something the run needs."
    GITHUB_UNREACHABLE = "github_unreachable", CodeKind.ENDING, "GitHub is down, slow or over its limits."
    PROVIDER_FAILED = "provider_failed", CodeKind.ENDING, "A call to a model failed."
    USAGE = "usage", CodeKind.ENDING, "A flag, path, variable or run id cannot be used."
    SPEC_INVALID = "spec_invalid", CodeKind.ENDING, "A spec or policy file has errors; its findings name their lines."
    PLANNED = "planned", CodeKind.ENDING, "The plan is made; nothing was generated."
    DECIDED = "decided", CodeKind.ENDING, "The architecture is decided; nothing was planned."
    DRAFTED = "drafted", CodeKind.ENDING, "A job and a policy are drafted; nothing was planned."
    REVIEWED = "reviewed", CodeKind.ENDING, "The change was reviewed; nothing was written."
    ANSWERED = "answered", CodeKind.ENDING, "The command was answered without a run."
    DENIED = "denied", CodeKind.ENDING, "Whoever asked lacks the permission in the repository."
    IGNORED = "ignored", CodeKind.ENDING, "Nothing asked for a run."

    # why a task did not complete

    NOTHING_CHANGED = "nothing_changed", CodeKind.TASK, "The last answer changed nothing."
    CHANGE_REJECTED = "change_rejected", CodeKind.TASK, "The last answer's changes may not, or cannot, be applied."
    CHECKS_FAILED = "checks_failed", CodeKind.TASK, "A check failed on the last version."
    REVIEW_REJECTED = "review_rejected", CodeKind.TASK, "The reviewer sent the last version back."
    JUDGED_LOW = "judged_low", CodeKind.TASK, "The document was judged below the score that it needs."
    ANSWERS_UNUSABLE = "answers_unusable", CodeKind.TASK, "No model gave an answer that can be used."
    TASK_CAP = "task_cap", CodeKind.TASK, "Its next call could take it above what a policy lets one task cost."
    DEPENDENCY_FAILED = "dependency_failed", CodeKind.TASK, "A task that it depends on did not complete."

    # why a command was refused

    UNKNOWN_COMMAND = "unknown_command", CodeKind.REFUSAL, "The word is no command; the nearest is named."
    UNKNOWN_OPTION = "unknown_option", CodeKind.REFUSAL, "The option is unknown, or the command does not take it."
    BAD_VALUE = "bad_value", CodeKind.REFUSAL, "An option's value is missing or not one that it takes."
    MISPLACED = "misplaced", CodeKind.REFUSAL, "The command works on issues only, or on pull requests only."
    NO_FEEDBACK = "no_feedback", CodeKind.REFUSAL, "The command needs text after it."
    NOT_AVAILABLE = "not_available", CodeKind.REFUSAL, "This version, or this set-up, cannot do it."
    SWITCHED_OFF = "switched_off", CodeKind.REFUSAL, "The orchestrator is switched off by the spec or the operator."
    OVER_LIMIT = (
        "over_limit",
        CodeKind.REFUSAL,
        "Whoever asked has reached a limit; it says when to ask again.",
    )
    NO_COMMIT = "no_commit", CodeKind.REFUSAL, "The repository has no commit yet."
    NO_BRANCH = "no_branch", CodeKind.REFUSAL, "The branch to build on does not exist."
    NO_TITLE = "no_title", CodeKind.REFUSAL, "The issue has no title to work from."
    PULL_REQUEST_OPEN = "pull_request_open", CodeKind.REFUSAL, "A pull request for the issue is open."
    ISSUE_CLOSED = "issue_closed", CodeKind.REFUSAL, "The issue is closed; `--force` starts a run all the same."
    ISSUE_LOCKED = "issue_locked", CodeKind.REFUSAL, "The issue is locked; `--force` starts a run all the same."
    ISSUE_ASSIGNED = "issue_assigned", CodeKind.REFUSAL, "The issue is assigned to somebody else than who asks."
    RUN_UNFINISHED = "run_unfinished", CodeKind.REFUSAL, "A run of the issue, or a plan that waits, is not finished."
    NO_RUN = "no_run", CodeKind.REFUSAL, "There is no run that the command could be about."
    NOT_APPROVABLE = "not_approvable", CodeKind.REFUSAL, "No plan of the issue waits for an approval."
    NOT_CANCELLABLE = "not_cancellable", CodeKind.REFUSAL, "The run has ended already."
    NOT_RESUMABLE = "not_resumable", CodeKind.REFUSAL, "The run cannot go on: completed, unfinished, or a plan."
    BRANCH_TAKEN = (
        "branch_taken",
        CodeKind.REFUSAL,
        "The run's branch holds commits of others, or its pull request is closed.",
    )

    # what validators, reviewers and analyses find

    PYTHON_SYNTAX = "python_syntax", CodeKind.FINDING, "A Python file does not parse."
    JSON_SYNTAX = "json_syntax", CodeKind.FINDING, "A JSON file does not parse."
    YAML_SYNTAX = "yaml_syntax", CodeKind.FINDING, "A YAML file does not parse."
    TOML_SYNTAX = "toml_syntax", CodeKind.FINDING, "A TOML file does not parse."
    JSON_SCHEMA = "json_schema", CodeKind.FINDING, "A file does not follow the JSON Schema that it names."
    LENGTH = "length", CodeKind.FINDING, "A file is empty or too long."
    RUFF = "ruff", CodeKind.FINDING, "Ruff found a fault; `rule` is its own code, such as `F401`."
    PYTEST = "pytest", CodeKind.FINDING, "A Python test failed, or pytest itself did."
    NO_TESTS = "no_tests", CodeKind.FINDING, "Tests were looked for, and none ran."
    DEPENDENCIES = "dependencies", CodeKind.FINDING, "A declared Python dependency cannot be installed."
    NPM_INSTALL = "npm_install", CodeKind.FINDING, "A declared npm package cannot be installed."
    PRIVATE_SOURCE = "private_source", CodeKind.FINDING, "A dependency comes from elsewhere than the package index."
    DEPENDENCY_UNKNOWN = "dependency_unknown", CodeKind.FINDING, "No package index knows a new dependency's name."
    DEPENDENCY_YOUNG = "dependency_young", CodeKind.FINDING, "A new dependency's first release is days old."
    NPM_LINT = "npm_lint", CodeKind.FINDING, "The script `lint` of `package.json` failed."
    NPM_BUILD = "npm_build", CodeKind.FINDING, "The script `build` of `package.json` failed."
    NPM_TEST = "npm_test", CodeKind.FINDING, "The script `test` of `package.json` failed."
    COMMAND = "command", CodeKind.FINDING, "A command of the spec ended with another status than zero."
    REVIEW_ERROR = "review_error", CodeKind.FINDING, "The reviewer found what blocks."
    REVIEW_WARNING = "review_warning", CodeKind.FINDING, "The reviewer found what should be better."
    REVIEW_NOTE = "review_note", CodeKind.FINDING, "The reviewer remarked on something."
    SPEC_FIELD = "spec_field", CodeKind.FINDING, "A spec or policy file cannot be read at this place."
    POLICY_NO_MODEL = "policy_no_model", CodeKind.FINDING, "Policies leave no model, or none that is good enough."
    POLICY_CONTRADICTION = "policy_contradiction", CodeKind.FINDING, "Rules contradict each other."
    POLICY_EMPTY = "policy_empty", CodeKind.FINDING, "A rule is an empty list, which allows nothing."
    POLICY_CAP = "policy_cap", CodeKind.FINDING, "A policy's cap is below what any model costs."
    POLICY_WIDENED = "policy_widened", CodeKind.FINDING, "A policy allows more than the level above it."
    POLICY_DUPLICATE = "policy_duplicate", CodeKind.FINDING, "Two policies say the same, or share a name."
    POLICY_SHADOWED = "policy_shadowed", CodeKind.FINDING, "A rule has no effect beside a stricter one."
    POLICY_UNKNOWN = "policy_unknown", CodeKind.FINDING, "A policy names what nobody knows."


# Validators whose findings carry their own name; every other validator is a command of the spec.
_VALIDATORS = frozenset(
    {
        Code.PYTHON_SYNTAX, Code.JSON_SYNTAX, Code.YAML_SYNTAX, Code.TOML_SYNTAX, Code.JSON_SCHEMA, Code.LENGTH,
        Code.RUFF, Code.PYTEST, Code.DEPENDENCIES, Code.NPM_INSTALL, Code.NPM_LINT, Code.NPM_BUILD, Code.NPM_TEST,
    }
)  # fmt: skip


def validator_code(validator: str) -> Code:
    """Return the code of what a validator finds."""
    return Code(validator) if validator in _VALIDATORS else Code.COMMAND
