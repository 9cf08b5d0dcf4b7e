"""The operator's configuration: read strictly, laid over every spec, and where state lives."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.catalog import FlatPrice, load_catalog
from orchestrator.errors import SpecError, UsageError
from orchestrator.operator_config import (
    OperatorConfig,
    bind,
    database_url,
    load_operator_config,
    operator_config_path,
    parse_operator_config,
    state_home,
)
from orchestrator.policy import Policy, PolicySet
from orchestrator.sections import PERMISSIONS, BudgetSpec, GitHubSpec
from orchestrator.specs import JobSpec

FULL = """\
version: 1
enabled: true
max_usd: 2.5
max_time_seconds: 600
budgets:
  org: 100
  teams: {eng: 50, x-files: 3}
  jobs: {job_001: 10}
policies:
  - name: gdpr
    allowed_regions: [eu]
models:
  house-model: {provider: openai, input: 1, output: 2.5, context: 8000, max_output: 1000, quality: 0.7, trust: 0.5,
                latency_ms: 10, structured: json_object, regions: [eu], trains_on_data: false, reasoning: true}
  MiniMax-M2.7: {price: minimax/MiniMax-M2.7}
installations: [octo-org]
bots: ["renovate[bot]"]
trigger_permission: maintain
runs_per_hour: 5
tasks_at_once: 2
usd_per_day: 20
content_writes_per_hour: 250
runs_at_once: 8
takeover_seconds: 10
keep_days: 60
per_user: {runs_at_once: 2, usd_per_day: 30, usd_per_month: 90}
per_repository: {runs_per_hour: 30, usd_per_day: 50, usd_per_month: 200}
per_account: {usd_per_month: 1000}
repositories: {Octo/demo: {usd_per_month: 20}}
accounts: {octo: {runs_per_hour: 40, usd_per_month: 100}}
sandbox: bubblewrap
index_hosts: ["packages.example:8443"]
allow_unisolated: false
protected_path_exceptions: ["AGENTS.md"]
x-note: kept by the platform team
"""


def findings(text: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        parse_operator_config(text, "c.yaml")
    return [str(finding) for finding in caught.value.findings]


def test_without_a_file_the_defaults_hold() -> None:
    config = load_operator_config(None)

    assert config == OperatorConfig()
    assert (config.enabled, config.max_usd, config.allow_unisolated, config.runs_per_hour) == (True, None, False, 20)
    assert (config.trigger_permission, config.tasks_at_once, config.sandbox) == ("triage", 3, "auto")


def test_every_setting_is_read_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(FULL, encoding="utf-8")

    config = load_operator_config(path)

    assert (config.max_usd, config.max_time_seconds, config.usd_per_day) == (2.5, 600.0, 20.0)
    assert (config.content_writes_per_hour, config.takeover_seconds, config.keep_days) == (250, 10.0, 60)
    assert (config.budgets.org, config.budgets.teams, config.budgets.jobs) == (
        100.0,
        {"eng": 50.0, "x-files": 3.0},
        {"job_001": 10.0},
    )
    assert config.policies == PolicySet([Policy(name="gdpr", allowed_regions=["eu"])])
    assert (config.installations, config.bots) == (("octo-org",), ("renovate[bot]",))
    assert (config.trigger_permission, config.runs_per_hour, config.tasks_at_once) == ("maintain", 5, 2)
    assert (config.sandbox, config.index_hosts, config.allow_unisolated) == (
        "bubblewrap",
        ("packages.example:8443",),
        False,
    )
    assert config.protected_path_exceptions == ("AGENTS.md",)


def test_model_overrides_reach_the_catalog() -> None:
    catalog = load_catalog(parse_operator_config(FULL, "c.yaml").model_overrides())

    model = catalog.models["house-model"]

    assert (model.provider, model.price, model.quality, model.regions) == (
        "openai",
        FlatPrice(1.0, 2.5),
        0.7,
        ("eu",),
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("runsperhour: 3\n", ["c.yaml:1:1: runsperhour: is not a known key; did you mean 'runs_per_hour'?"]),
        ("runs_per_hour: 2.5\n", ["c.yaml:1:16: runs_per_hour: must be a whole number, not 2.5"]),
        (
            "sandbox: bublewrap\n",
            [
                "c.yaml:1:10: sandbox: must be one of auto, bubblewrap, unshare, limits, not 'bublewrap'; "
                "did you mean 'bubblewrap'?"
            ],
        ),
        (
            "budgets:\n  teams:\n    eng: -1\n    ops: lots\n",
            [
                "c.yaml:3:10: budgets.teams.eng: must be at least 0, not -1",
                "c.yaml:4:10: budgets.teams.ops: must be a number, not 'lots'",
            ],
        ),
        (
            "models:\n  m: {provider: opnai, contxt: 3}\n",
            [
                "c.yaml:2:17: models.m.provider: 'opnai' is not a provider; did you mean 'openai'?",
                "c.yaml:2:24: models.m.contxt: is not a known key; did you mean 'context'?",
            ],
        ),
        ("models: {m: {input: 1}}\n", ["c.yaml:1:13: models.m: needs both prices, `input` and `output`, or neither"]),
        ("allow_unisolated: 1\n", ["c.yaml:1:19: allow_unisolated: must be true or false, not 1"]),
        (
            "trigger_permission: read\n",
            ["c.yaml:1:21: trigger_permission: must be one of triage, write, maintain, admin, not 'read'"],
        ),
    ],
)
def test_a_broken_configuration_is_refused_at_its_line(text: str, expected: list[str]) -> None:
    assert findings(text) == expected


@given(st.text())
def test_any_text_parses_or_is_refused_with_findings(text: str) -> None:
    try:
        found = str(parse_operator_config(text, "c.yaml"))
    except SpecError as error:
        found = str(error)
    assert found


def test_the_operators_word_is_laid_over_a_spec() -> None:
    spec = JobSpec(budget=BudgetSpec(8.0, 60.0), policies=PolicySet([Policy(name="own")]))

    bound = bind(spec, parse_operator_config(FULL, "c.yaml"))

    assert bound.budget == BudgetSpec(2.5, 60.0)
    assert [policy.name for policy in bound.policies.policies] == ["gdpr", "own"]
    assert bound.github.trigger_permission == "maintain"


def test_the_operators_kill_switch_stops_an_enabled_repository() -> None:
    assert bind(JobSpec(), OperatorConfig(enabled=False)).enabled is False
    assert bind(JobSpec(enabled=False), OperatorConfig()).enabled is False


@given(
    st.sampled_from(PERMISSIONS),
    st.sampled_from(PERMISSIONS),
    st.none() | st.floats(0, 100),
    st.floats(0, 100),
)
def test_the_operator_only_narrows(floor: str, own: str, cap: float | None, asked: float) -> None:
    spec = JobSpec(budget=BudgetSpec(asked), github=GitHubSpec(own))  # type: ignore[arg-type]
    config = OperatorConfig(trigger_permission=floor, max_usd=cap)  # type: ignore[arg-type]

    bound = bind(spec, config)

    assert bound.budget.max_usd == (asked if cap is None else min(asked, cap))
    assert PERMISSIONS.index(bound.github.trigger_permission) == max(PERMISSIONS.index(floor), PERMISSIONS.index(own))


def test_the_state_home_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    home = state_home({"ORCHESTRATOR_HOME": str(tmp_path / "deep" / "home")})

    assert home == tmp_path / "deep" / "home"
    assert home.stat().st_mode & 0o777 == 0o700


def test_an_empty_folder_is_taken_over_and_a_full_one_is_left_as_it_is(tmp_path: Path) -> None:
    empty, full = tmp_path / "empty", tmp_path / "full"
    for folder in (empty, full):
        folder.mkdir()
        folder.chmod(0o755)
    (full / "file").touch()

    modes = [state_home({"ORCHESTRATOR_HOME": str(folder)}).stat().st_mode & 0o777 for folder in (empty, full)]

    assert modes == [0o700, 0o755]


def test_a_state_home_that_is_a_file_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "home").touch()

    with pytest.raises(UsageError, match="cannot be used"):
        state_home({"ORCHESTRATOR_HOME": str(tmp_path / "home")})


def test_state_lives_in_an_sqlite_file_of_the_home_unless_told_otherwise(tmp_path: Path) -> None:
    home = {"ORCHESTRATOR_HOME": str(tmp_path)}

    assert database_url(home) == f"sqlite:///{tmp_path}/state.db"
    assert database_url({"ORCHESTRATOR_DATABASE_URL": "postgresql://u@db/x"}) == "postgresql://u@db/x"
    assert database_url({"ORCHESTRATOR_DATABASE_URL": "sqlite:///a.db"}) == "sqlite:///a.db"


def test_a_database_of_another_kind_is_refused_without_its_password() -> None:
    with pytest.raises(UsageError) as caught:
        database_url({"ORCHESTRATOR_DATABASE_URL": "mysql://root:hunter2@db/x"})

    assert "hunter2" not in str(caught.value)
    assert "postgresql://" in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["sqlite:///:memory:", "sqlite://:memory:", "sqlite:///file:x?mode=memory&uri=true", "sqlite:///file::memory:"],
)
def test_a_database_in_memory_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="in memory, which cannot be shared"):
        database_url({"ORCHESTRATOR_DATABASE_URL": url})


def test_a_model_may_have_a_name_of_as_many_characters_as_a_column_holds() -> None:
    entry = "{provider: openai, input: 1, output: 1}"

    parse_operator_config(f"models:\n  {'m' * 120}: {entry}\n", "c.yaml")
    with pytest.raises(SpecError, match="120"):
        parse_operator_config(f"models:\n  {'m' * 121}: {entry}\n", "c.yaml")


def test_the_configuration_is_the_named_file_or_the_homes(tmp_path: Path) -> None:
    env = {"ORCHESTRATOR_HOME": str(tmp_path)}

    assert operator_config_path(env) is None
    (tmp_path / "config.yaml").touch()
    assert operator_config_path(env) == tmp_path / "config.yaml"
    (tmp_path / "other.yaml").touch()
    named = env | {"ORCHESTRATOR_CONFIG": str(tmp_path / "other.yaml")}
    assert operator_config_path(named) == tmp_path / "other.yaml"


def test_a_named_configuration_that_is_missing_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="ORCHESTRATOR_CONFIG names"):
        operator_config_path({"ORCHESTRATOR_CONFIG": str(tmp_path / "gone.yaml")})


def test_the_operators_policies_for_a_team_and_a_job_bind_what_is_charged_to_them() -> None:
    config = parse_operator_config(
        """\
policies:
  - {name: all, rate_limit: 60}
team_policies:
  eng:
    - {name: eng, allowed_providers: [openai]}
job_policies:
  job_001:
    - {name: job, min_quality_score: 0.9}
""",
        "c.yaml",
    )
    own = PolicySet([Policy(name="own")])

    everybody = bind(JobSpec(policies=own), config).policies
    charged = bind(JobSpec(policies=own, budget=BudgetSpec(team="eng", job="job_001")), config).policies

    assert [policy.name for policy in everybody.policies] == ["all", "own"]
    assert [(policy.name, origin.level, origin.rank, origin.place.line) for policy, origin in charged.placed] == [
        ("all", "global", 0, 2),
        ("eng", "team eng", 1, 5),
        ("job", "job job_001", 2, 8),
        ("own", "", 3, 1),
    ]


def test_a_broken_team_policy_is_named_at_its_line() -> None:
    assert findings("team_policies:\n  eng:\n    - {name: a, allowed_providers: [opnai]}\n") == [
        "c.yaml:3:37: team_policies.eng[0].allowed_providers[0]: 'opnai' is not a provider; did you mean 'openai'?"
    ]


def test_limits_hold_for_each_and_named_ones_have_their_own_where_they_set_one() -> None:
    config = parse_operator_config(FULL, "c.yaml")

    named, other = config.of_repository("octo/Demo"), config.of_repository("octo/other")

    assert (named.runs_per_hour, named.usd_per_day, named.usd_per_month) == (30, 50.0, 20.0)
    assert (other.runs_per_hour, other.usd_per_day, other.usd_per_month) == (30, 50.0, 200.0)
    assert (config.of_account("OCTO").runs_per_hour, config.of_account("others").runs_per_hour) == (40, None)
    assert (config.runs_at_once, config.per_user.runs_at_once) == (8, 2)
    assert OperatorConfig().of_repository("octo/demo").runs_at_once == 3


def test_a_run_is_charged_to_the_day_and_month_of_its_user_its_repository_and_their_account() -> None:
    quotas = parse_operator_config(FULL, "c.yaml").quotas("maria", "octo/demo", 1_796_000_000.0)

    assert [(one.account, one.usd) for one in quotas] == [
        ("user:maria@2026-11-30", 20.0),
        ("user:maria@2026-11", 90.0),
        ("repo:octo/demo@2026-11-30", 50.0),
        ("repo:octo/demo@2026-11", 20.0),
        ("account:octo@2026-11", 100.0),
    ]
    assert OperatorConfig().quotas("maria", "octo/demo", 1_796_000_000.0) == ()
    assert [one.scope for one in OperatorConfig(usd_per_day=3).quotas("", "octo/demo", 0.0)] == []
