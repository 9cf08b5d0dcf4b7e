"""Policy files: every shape they may have, and what is said of those that cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import SpecError, UsageError
from orchestrator.policy import EnforcementMode, Policy, PolicySet, combine
from orchestrator.policy_files import load_policy_file, parse_policy_file
from orchestrator.specs import JobSpec, from_json, to_json

NAMED = """\
- name: gdpr
  allow_training_on_output: false
- name: thrifty
  cost_cap_usd: 0.5
  enforcement_mode: soft
"""
EXPECTED = PolicySet(
    [
        Policy(name="gdpr", allow_training_on_output=False),
        Policy(name="thrifty", max_cost_per_task_usd=0.5, enforcement_mode=EnforcementMode.SOFT),
    ]
)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("list.yaml", NAMED, EXPECTED),
        ("several.yaml", "policies:\n" + NAMED, EXPECTED),
        ("one.yaml", "allowed_models: [kimi]\n", PolicySet([Policy(allowed_models=["kimi"])])),
        ("section.yaml", "policy: {allowed_models: [kimi]}\n", PolicySet([Policy(allowed_models=["kimi"])])),
        ("tabs.json", '{\n\t"name": "x",\n\t"rate_limit": 3\n}', PolicySet([Policy(name="x", rate_limit=3)])),
    ],
)
def test_a_policy_file_has_one_policy_or_a_list_or_a_section(
    tmp_path: Path, name: str, text: str, expected: PolicySet
) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")

    assert load_policy_file(path).policies_for() == expected


@pytest.mark.parametrize(
    ("text", "findings"),
    [
        (
            "- allowed_regions: [eu]\n",
            ["p.yaml:1:3: policies[0]: every policy of a list needs a `name`"],
        ),
        (
            "name: a\nalowed_models: [x]\n",
            ["p.yaml:2:1: alowed_models: is not a known key; did you mean 'allowed_models'?"],
        ),
        (
            "allowed_providers: [openai, antropic]\n",
            ["p.yaml:1:29: allowed_providers[1]: 'antropic' is not a provider; did you mean 'anthropic'?"],
        ),
        (
            "enforcement_mode: hrd\n",
            [
                "p.yaml:1:19: enforcement_mode: must be one of hard, soft, monitor, not 'hrd'; did you mean 'hard'?",
            ],
        ),
        (
            "cost_cap_usd: 1\nmax_cost_per_task_usd: 2\n",
            ["p.yaml:1:1: cost_cap_usd: is another name for a key that is given too; remove one"],
        ),
        ("cost_cap_usd: -1\n", ["p.yaml:1:15: cost_cap_usd: must be at least 0, not -1"]),
        (
            "",
            [
                "p.yaml:1:1: (top level): holds no rule; give a policy, a list of policies, `policies:` with a list, "
                "or `global:`, `team:`, `job:`"
            ],
        ),
    ],
)
def test_a_broken_policy_file_is_refused_at_its_line(text: str, findings: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        parse_policy_file(text, "p.yaml")

    assert [str(finding) for finding in caught.value.findings] == findings


def test_a_policy_file_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.yaml does not exist"):
        load_policy_file(tmp_path / "nowhere.yaml")


@given(st.text())
def test_any_text_as_a_policy_file_parses_or_is_refused_with_findings(text: str) -> None:
    try:
        found = str(parse_policy_file(text, "p.yaml"))
    except SpecError as error:
        found = str(error)
    assert found


GUIDE = """\
global:
  - name: gdpr
    allow_training_on_output: false
    enforcement_mode: hard
    max_cost_per_task_usd: 1.0

team:
  eng:
    - name: eu_only
      allowed_regions: [eu, global]
      cost_cap_usd: 0.50

job:
  job_001:
    - name: high_quality
      min_quality_score: 0.90
"""
GDPR = Policy(name="gdpr", allow_training_on_output=False, max_cost_per_task_usd=1.0)
EU_ONLY = Policy(name="eu_only", allowed_regions=["eu", "global"], max_cost_per_task_usd=0.5)
HIGH_QUALITY = Policy(name="high_quality", min_quality_score=0.9)


@pytest.mark.parametrize(
    ("team", "job", "expected"),
    [
        (None, None, [GDPR]),
        ("eng", None, [GDPR, EU_ONLY]),
        ("eng", "job_001", [GDPR, EU_ONLY, HIGH_QUALITY]),
        (None, "job_001", [GDPR, HIGH_QUALITY]),
        ("sales", "job_002", [GDPR]),
    ],
)
def test_a_team_and_a_job_get_the_global_policies_and_their_own(
    team: str | None, job: str | None, expected: list[Policy]
) -> None:
    assert parse_policy_file(GUIDE, "p.yaml").policies_for(team=team, job=job) == PolicySet(expected)


def test_json_says_the_same_as_yaml(tmp_path: Path) -> None:
    path = tmp_path / "policies.json"
    path.write_text('{"global": [{"name": "a", "rate_limit": 3}], "team": {"eng": [{"name": "b", "rate_limit": 2}]}}')

    assert load_policy_file(str(path)).policies_for(team="eng").rate_limit == 2


def test_each_policy_remembers_its_file_line_and_level_and_equals_one_that_does_not() -> None:
    read = parse_policy_file(GUIDE, "p.yaml").policies_for("eng", "job_001")

    origins = [origin for _, origin in read.placed]
    assert [(one.path, one.level, one.rank, one.place.line) for one in origins] == [
        ("p.yaml", "global", 0, 2),
        ("p.yaml", "team eng", 1, 9),
        ("p.yaml", "job job_001", 2, 15),
    ]
    assert origins[1].at("max_cost_per_task_usd").line == 11
    assert read == PolicySet([GDPR, EU_ONLY, HIGH_QUALITY])


def test_where_policies_come_from_is_not_kept_with_a_run() -> None:
    spec = JobSpec(policies=parse_policy_file(GUIDE, "p.yaml").policies_for("eng"))

    stored = to_json(spec)

    assert list(stored["policies"]) == ["policies"]
    assert from_json(stored) == spec


def test_what_is_joined_to_a_set_stands_on_a_lower_level_and_keeps_its_place() -> None:
    above = parse_policy_file(GUIDE, "above.yaml").policies_for("eng")
    below = parse_policy_file("name: mine\nrate_limit: 3\n", "below.yaml").policies_for()

    joined = combine(above, below, PolicySet([Policy(name="last", rate_limit=2)]))

    assert [(origin.path, origin.rank) for _, origin in joined.placed] == [
        ("above.yaml", 0),
        ("above.yaml", 1),
        ("below.yaml", 2),
        ("", 3),
    ]


@pytest.mark.parametrize(
    ("text", "findings"),
    [
        (
            "global:\n  - {name: a, alowed_models: [x]}\n",
            ["p.yaml:2:15: global[0].alowed_models: is not a known key; did you mean 'allowed_models'?"],
        ),
        (
            "team:\n  eng:\n    - {name: a, allowed_providers: [opnai]}\n",
            ["p.yaml:3:37: team.eng[0].allowed_providers[0]: 'opnai' is not a provider; did you mean 'openai'?"],
        ),
        ("globl:\n  - name: a\n", ["p.yaml:1:1: globl: is not a known key; did you mean 'global'?"]),
        ("global: []\nteams: {}\n", ["p.yaml:2:1: teams: is not a known key; did you mean 'team'?"]),
        (
            "job:\n  j:\n    - rate_limit: 3\n",
            ["p.yaml:3:7: job.j[0]: every policy of a list needs a `name`"],
        ),
    ],
)
def test_a_broken_hierarchy_is_refused_at_its_line(text: str, findings: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        parse_policy_file(text, "p.yaml")

    assert [str(finding) for finding in caught.value.findings] == findings


def test_a_team_that_may_be_misspelt_is_named() -> None:
    hierarchy = parse_policy_file(GUIDE, "p.yaml")

    assert hierarchy.strangers("enq", "job_001") == (
        "the policy file says nothing of the team 'enq'; did you mean 'eng'?",
    )
    assert hierarchy.strangers("eng", "job_001") == ()
    assert parse_policy_file("rate_limit: 3\n", "p.yaml").strangers("eng", "job_001") == ()


def test_policies_of_teams_and_jobs_that_bind_nothing_because_the_spec_names_none_are_said() -> None:
    hierarchy = parse_policy_file(GUIDE, "p.yaml")

    assert hierarchy.strangers() == (
        "what it says of the team eng binds nothing: `budget.team` of a spec names one",
        "what it says of the job job_001 binds nothing: `budget.job` of a spec names one",
    )
