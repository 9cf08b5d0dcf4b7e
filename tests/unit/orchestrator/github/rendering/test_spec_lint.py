from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.catalog import load_catalog
from orchestrator.github.rendering.checks import CheckRun
from orchestrator.github.rendering.spec_lint import MAX_NOTES, lint_file, spec_lint_check, unreadable

SPEC = ".orchestrator.yaml"
CATALOG = load_catalog()


def check_of(text: str, path: str = SPEC) -> CheckRun:
    return spec_lint_check([lint_file(path, text, CATALOG)])


def notes(check: CheckRun) -> list[tuple[int, str]]:
    return [(it.line, it.level) for it in check.annotations]


def test_every_schema_error_stands_at_its_line() -> None:
    check = check_of("version: 1\nbugdet:\n  max_usd: 2\ngithub:\n  draft: maybe\n")
    assert (check.name, check.conclusion) == ("orchestrator/spec", "failure")
    assert check.title == "2 errors, the first at .orchestrator.yaml:2"
    assert notes(check) == [(2, "failure"), (5, "failure")]
    assert check.summary.startswith("### Errors\n\n- `.orchestrator.yaml:2` `bugdet`: is not a known key")


def test_policy_errors_fail_and_policy_warnings_stand_beside_a_success() -> None:
    wrong = "policy:\n  allowed_providers: [openai]\n  blocked_providers: [openai]\n"
    doubtful = "policy:\n  max_latency_ms: 60000\n  blocked_models: [gpt-six]\n"
    failed, passed = check_of(wrong), check_of(doubtful)
    assert (failed.conclusion, (2, "failure") in notes(failed)) == ("failure", True)
    assert (passed.conclusion, notes(passed)) == ("success", [(3, "warning")])
    assert passed.title == "The spec is valid, 1 warning, the first at .orchestrator.yaml:3"


def test_a_success_says_what_the_file_asks() -> None:
    text = (
        "enabled: false\nbudget: {max_usd: 2.5, max_time_seconds: 600, team: eng}\n"
        "policy: {name: ours, allowed_providers: [anthropic]}\n"
        "github: {require_approval_above_usd: 1.5, trigger_permission: maintain}\n"
    )
    assert check_of(text).summary == (
        "### What `.orchestrator.yaml` asks\n\n"
        "- **Switched off**: `enabled: false` stops every run.\n"
        "- Caps of one run: $2.50 and 10 min; charged to the team `eng` too.\n"
        "- Approval: a forecast above $1.50 waits for `/orchestrate approve`.\n"
        "- Commands count from people with the permission `maintain`.\n"
        "- Policies: `ours` (hard).\n"
        f"- Models left: {_count('anthropic')} (anthropic {_count('anthropic')})."
    )


def _count(provider: str) -> int:
    return len(CATALOG.of(frozenset({provider})))


def test_a_policy_file_is_read_in_each_of_its_shapes() -> None:
    everywhere, team = "{name: g, allowed_providers: [openai, google]}", "{name: t, max_latency_ms: 9000}"
    hierarchy = f"global:\n- {everywhere}\nteam:\n  eng:\n  - {team}\n"
    check = check_of(hierarchy, "policies.yaml")
    assert check.conclusion == "success"
    assert "- Policies: `g` (hard).\n- Policies of teams besides: `eng`.\n" in check.summary
    assert check_of('{"policies": [{"name": "a", "rate_limit": 3}]}', "policies.json").conclusion == "success"
    assert check_of("a: 1\n", ".orchestrator/eng.yaml").conclusion == "failure"


def test_without_any_file_all_defaults_hold() -> None:
    check = spec_lint_check([])
    assert (check.conclusion, check.summary) == (
        "success",
        "There is neither a spec nor a policy file: all defaults hold.",
    )
    assert check_of("").conclusion == "success"


def test_one_file_that_cannot_be_read_fails_the_check_of_all() -> None:
    check = spec_lint_check([lint_file(SPEC, "", CATALOG), unreadable("policies.yml", "is not UTF-8")])
    assert (check.conclusion, check.title) == ("failure", "1 error, the first at policies.yml:1")


def _policies(count: int) -> str:
    return "policies:\n" + "".join(f"- {{name: p{number}, rate_limit: {number + 1}}}\n" for number in range(count))


@pytest.mark.parametrize(
    ("path", "text", "message"),
    [
        (SPEC, "x-free: [" + "1, " * 1000 + "1]\n", "values; at most 1000 are linted"),
        (SPEC, _policies(71), "has 5041 pairs of policies that bind together; at most 5000 are linted"),
        (
            "policies.yaml",
            "".join(f"{kind}:\n" + "".join(f"  n{n}: []\n" for n in range(10)) for kind in ("team", "job"))
            + "global: [{name: g, rate_limit: 2}]\n",
            "has 121 combinations of a team and a job; at most 100 are linted",
        ),
    ],
)
def test_sec_10_what_would_take_long_to_analyse_is_refused(path: str, text: str, message: str) -> None:
    (error,) = lint_file(path, text, CATALOG).errors
    assert message in error.message


def test_beyond_a_hundred_findings_only_their_number_is_told() -> None:
    text = "policy:\n  blocked_models: [" + ", ".join(f"no-{number}" for number in range(103)) + "]\n"
    check = check_of(text)
    assert (len(check.annotations), MAX_NOTES) == (100, 100)
    assert "\n- and 3 more\n" in check.summary


def test_sec_30_names_from_the_file_cannot_break_out_of_the_summary() -> None:
    check = check_of('policy: {name: "a`\\n# b", rate_limit: 2}\n')
    assert "- Policies: `a' # b` (hard).\n" in check.summary


@given(st.text(max_size=60), st.sampled_from([SPEC, "policies.yaml", "policies.json"]))
def test_sec_03_whatever_a_file_holds_it_is_linted(text: str, path: str) -> None:
    check = spec_lint_check([lint_file(path, text, CATALOG)])
    assert check.conclusion in ("success", "failure")
    assert (check.conclusion == "failure") is any(it.level == "failure" for it in check.annotations)
