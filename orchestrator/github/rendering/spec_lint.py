"""What is wrong in a repository's spec and policy files, and what they ask for: a check run from their texts; pure.

Pull requests by strangers are linted too, so that what is analysed of one file is bounded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.catalog import Catalog
from orchestrator.errors import SpecError, SpecFinding
from orchestrator.github.rendering.checks import SPEC_CHECK, Annotation, CheckRun, Conclusion
from orchestrator.github.rendering.markdown import code, duration, one_line, shown_code, usd
from orchestrator.policy import PolicySet
from orchestrator.policy_analysis import PolicyAnalyzer, PolicyReport, models_left
from orchestrator.policy_files import PolicyHierarchy, parse_policy_file
from orchestrator.specs import SPEC_PATH, JobSpec, parse_spec
from orchestrator.yaml_marks import read_yaml

MAX_FILE_BYTES = 128 * 1024
MAX_VALUES = 1_000
MAX_COMBINATIONS = 100
"""Of a team's and a job's policies, each of which is analysed with the global ones."""
MAX_PAIRS = 5_000
"""Of policies that bind together, each of which is compared."""
MAX_NOTES = 100
"""Beyond this many errors and warnings only their number is told."""


@dataclass(frozen=True, slots=True)
class LintedFile:
    """One file: what makes it unusable, what it hardly means, and what it asks for, one line of Markdown each."""

    path: str
    errors: tuple[SpecFinding, ...] = ()
    warnings: tuple[SpecFinding, ...] = ()
    asks: tuple[str, ...] = ()


def unreadable(path: str, message: str) -> LintedFile:
    """Return a file that cannot be linted, with the reason as its only error."""
    return LintedFile(path, (SpecFinding(path, 1, 1, "file", message),))


def lint_file(path: str, content: str, catalog: Catalog) -> LintedFile:
    """Return what is to be said of a spec or policy file, by its path."""
    try:
        values = len(read_yaml(content, path).values)
        if values > MAX_VALUES:
            return unreadable(path, f"holds {values} values; at most {MAX_VALUES} are linted")
        if path == SPEC_PATH:
            spec = parse_spec(content, path, require_project=False)
            return _analysed(path, spec.policies, catalog, _asked_by_spec(spec))
        return _analysed(path, parse_policy_file(content, path), catalog, ())
    except SpecError as error:
        return LintedFile(path, error.findings)


def spec_lint_check(files: Sequence[LintedFile]) -> CheckRun:
    """Return the check run of a commit's spec and policy files: errors fail it, warnings stand beside a success."""
    errors = [finding for file in files for finding in file.errors]
    warnings = [finding for file in files for finding in file.warnings]
    notes = [
        *(Annotation(it.path, max(1, it.line), "failure", it.message, it.field) for it in errors),
        *(Annotation(it.path, max(1, it.line), "warning", it.message, it.field) for it in warnings),
    ]
    conclusion: Conclusion = "failure" if errors else "success"
    parts = [_listed("Errors", errors), _listed("Warnings", warnings), *(_asks(file) for file in files)]
    if not files:
        parts.append("There is neither a spec nor a policy file: all defaults hold.")
    return CheckRun(
        SPEC_CHECK,
        conclusion,
        _title(errors, warnings),
        "\n\n".join(part for part in parts if part),
        tuple(notes[:MAX_NOTES]),
        shared=True,
    )


def _analysed(path: str, policies: PolicySet | PolicyHierarchy, catalog: Catalog, asks: tuple[str, ...]) -> LintedFile:
    if too_many := _too_many(policies):
        return unreadable(path, too_many)
    report = PolicyAnalyzer.analyze(policies, catalog)
    return LintedFile(
        path, _found(report, error=True), _found(report, error=False), (*asks, *_asked_by_policies(policies, catalog))
    )


def _found(report: PolicyReport, *, error: bool) -> tuple[SpecFinding, ...]:
    return tuple(
        SpecFinding(it.path, it.line, it.column, it.subject, it.message, it.code)
        for it in report.findings
        if it.error is error
    )


def _too_many(policies: PolicySet | PolicyHierarchy) -> str:
    """Return why policies are too many to be analysed together, or an empty text."""
    if isinstance(policies, PolicySet):
        pairs = len(policies.policies) ** 2
    else:
        combinations = (1 + len(policies.teams)) * (1 + len(policies.jobs))
        if combinations > MAX_COMBINATIONS:
            return f"has {combinations} combinations of a team and a job; at most {MAX_COMBINATIONS} are linted"
        pairs = sum(
            len(policies.policies_for(team, job).policies) ** 2
            for team in (None, *policies.teams)
            for job in (None, *policies.jobs)
        )
    return (
        f"has {pairs} pairs of policies that bind together; at most {MAX_PAIRS} are linted" if pairs > MAX_PAIRS else ""
    )


def _asked_by_spec(spec: JobSpec) -> tuple[str, ...]:
    budget, github = spec.budget, spec.github
    charged = [
        f"the {kind} `{code(name)}`" for kind, name in (("team", budget.team), ("job", budget.job)) if name is not None
    ]
    also = f"; charged to {' and '.join(charged)} too" if charged else ""
    threshold = github.require_approval_above_usd
    approval = "none" if threshold is None else f"a forecast above {usd(threshold)} waits for `/orchestrate approve`"
    return (
        *(() if spec.enabled else ("**Switched off**: `enabled: false` stops every run.",)),
        f"Caps of one run: {usd(budget.max_usd)} and {duration(budget.max_time_seconds)}{also}.",
        f"Approval: {approval}.",
        f"Commands count from people with the permission `{github.trigger_permission}`.",
    )


def _asked_by_policies(policies: PolicySet | PolicyHierarchy, catalog: Catalog) -> tuple[str, ...]:
    bound = policies if isinstance(policies, PolicySet) else policies.everywhere
    named = [f"`{code(it.name)}` ({it.enforcement_mode.value})" for it in bound.policies]
    lines = [
        f"Policies: {', '.join(named[:20])}{' and more' if len(named) > 20 else ''}." if named else "Policies: none."
    ]
    if isinstance(policies, PolicyHierarchy):
        for kind, levels in (("teams", policies.teams), ("jobs", policies.jobs)):
            if levels:
                names = ", ".join(f"`{code(name)}`" for name in list(levels)[:20])
                lines.append(f"Policies of {kind} besides: {names}{' and more' if len(levels) > 20 else ''}.")
    left = models_left(bound, catalog)
    providers = Counter(model.provider for model in left)
    served = ", ".join(f"{name} {count}" for name, count in sorted(providers.items()))
    lines.append(f"Models left: {len(left)}{f' ({served})' if served else ''}.")
    return tuple(lines)


def _title(errors: Sequence[SpecFinding], warnings: Sequence[SpecFinding]) -> str:
    counted = [
        f"{len(found)} {word}{'s' if len(found) > 1 else ''}"
        for word, found in (("error", errors), ("warning", warnings))
        if found
    ]
    if not counted:
        return "The spec is valid"
    first = (*errors, *warnings)[0]
    where = f"{', '.join(counted)}, the first at {code(first.path)}:{first.line}"
    return where if errors else f"The spec is valid, {where}"


def _listed(heading: str, findings: Sequence[SpecFinding]) -> str:
    if not findings:
        return ""
    lines = [
        f"- `{code(it.path)}:{it.line}` `{code(it.field)}`: {one_line(it.message)} {shown_code(it.code)}"
        for it in findings[:MAX_NOTES]
    ]
    more = [f"- and {len(findings) - MAX_NOTES} more"] if len(findings) > MAX_NOTES else []
    return f"### {heading}\n\n" + "\n".join([*lines, *more])


def _asks(file: LintedFile) -> str:
    if not file.asks:
        return ""
    return f"### What `{code(file.path)}` asks\n\n" + "\n".join(f"- {line}" for line in file.asks)
