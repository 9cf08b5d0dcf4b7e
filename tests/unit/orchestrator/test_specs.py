"""Specs: what a file means, what is refused and where, and that a cap is only ever narrowed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from orchestrator.errors import SpecError, SpecFinding, UsageError
from orchestrator.policy import EnforcementMode, Policy, PolicySet
from orchestrator.sections import (
    APP_TYPES,
    VALIDATORS,
    BudgetSpec,
    ContextSpec,
    GitHubSpec,
    RoutingSpec,
    ValidationSpec,
    Weights,
)
from orchestrator.specs import (
    JobSpec,
    ProjectFile,
    from_json,
    json_schema,
    load_project_file,
    merge_issue,
    narrow,
    parse_spec,
    spec_from_text,
    title_of,
    to_json,
    with_flags,
)

ROOT = Path(__file__).parents[3]

CONTRACT_EXAMPLE = """\
version: 1                     # optional
project:
  title: "Rate limiter library"
  description: "Implement token bucket rate limiter"
  success_criteria: "pytest passes, ruff clean, README complete"
  app_type: library            # default: detected
budget:
  max_usd: 5.0                 # default 8.0
  max_time_seconds: 3600       # default 5400
  team: eng
  job: job_001
policy:                        # default none
  enforcement_mode: hard       # hard | soft | monitor
  allowed_providers: [openai, anthropic]
routing:
  strategy: greedy             # default greedy; weighted_sum | pareto
  weights: {quality: 0.6, cost: 0.2, trust: 0.2}
validation:
  validators: [python_syntax, ruff, pytest, json_schema]   # default: detected
  commands: ["make test"]
github:
  trigger_permission: write
  require_approval_above_usd: 2.0
  branch_prefix: orchestrator/       # default
  draft: true                        # default
  labels: []                         # default
  checks: four
  staged: false
  protected_paths: ["infra/**"]
context:
  include: ["src/**"]
  exclude: ["**/*.lock"]
"""


def parse(text: str) -> JobSpec:
    return parse_spec(text, "s.yaml", require_project=False)


def findings(text: str, *, require_project: bool = False) -> list[str]:
    with pytest.raises(SpecError) as caught:
        parse_spec(text, "s.yaml", require_project=require_project)
    return [str(finding) for finding in caught.value.findings]


def found_in(text: str) -> tuple[SpecFinding, ...]:
    try:
        parse(text)
    except SpecError as error:
        return error.findings
    return ()


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "x-mine: {any: [thing]}\n"])
def test_an_empty_file_means_all_defaults(text: str) -> None:
    spec = parse(text)

    assert spec == JobSpec()
    assert (spec.budget.max_usd, spec.budget.max_time_seconds) == (8.0, 5400.0)
    assert (spec.routing.strategy, spec.validation.validators, spec.enabled) == ("greedy", None, True)
    assert spec.github == GitHubSpec("write", None, "orchestrator/", True, (), "four", False, ())


def test_the_example_of_the_contract_is_read_field_by_field() -> None:
    assert parse_spec(CONTRACT_EXAMPLE, "s.yaml", require_project=True) == JobSpec(
        title="Rate limiter library",
        description="Implement token bucket rate limiter",
        criteria="pytest passes, ruff clean, README complete",
        app_type="library",
        budget=BudgetSpec(5.0, 3600.0, "eng", "job_001"),
        policies=PolicySet([Policy(allowed_providers=["openai", "anthropic"])]),
        routing=RoutingSpec("greedy", Weights(quality=0.6, cost=0.2, trust=0.2)),
        validation=ValidationSpec(("python_syntax", "ruff", "pytest", "json_schema"), ("make test",)),
        github=GitHubSpec(require_approval_above_usd=2.0, protected_paths=("infra/**",)),
        context=ContextSpec(("src/**",), ("**/*.lock",)),
    )


def test_one_policy_and_a_list_of_named_ones_bind_together() -> None:
    spec = parse("policy: {allowed_regions: [eu]}\npolicies:\n- name: cap\n  cost_cap_usd: 0.5\n")

    assert spec.policies == PolicySet(
        [Policy(allowed_regions=["eu"]), Policy(name="cap", max_cost_per_task_usd=0.5)],
    )


def test_keys_that_begin_with_x_are_free_at_every_level() -> None:
    text = (
        "x-a: 1\nbudget: {x-b: [2], max_usd: 1}\npolicies: [{name: n, x-c: {}}]\nrouting: {weights: {cost: 1, x-d: 0}}"
    )

    spec = parse(text)

    assert spec.budget.max_usd == 1.0
    assert spec.routing.weights == Weights(cost=1.0)


def test_anchors_and_merge_keys_work_and_own_keys_win() -> None:
    spec = parse("x-base: &base {max_usd: 2, team: eng}\nbudget:\n  <<: *base\n  max_usd: 3\n")

    assert spec.budget == BudgetSpec(max_usd=3.0, team="eng")


def test_words_that_other_yaml_readers_take_for_booleans_or_dates_are_text() -> None:
    spec = parse("project: {title: on, description: 2026-01-01, success_criteria: 1:30}\n")

    assert (spec.title, spec.description, spec.criteria) == ("on", "2026-01-01", "1:30")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "commit: {signoff: true, assisted_by: 1}\n",
            [
                "s.yaml:1:10: commit.signoff: is not a known key; did you mean 'sign_off'?",
                "s.yaml:1:38: commit.assisted_by: must be true or false, not 1",
            ],
        ),
        ("budgt: {}\n", ["s.yaml:1:1: budgt: is not a known key; did you mean 'budget'?"]),
        (
            "budget:\n  max_us: 1\n  team: [x]\n",
            [
                "s.yaml:2:3: budget.max_us: is not a known key; did you mean 'max_usd'?",
                "s.yaml:3:9: budget.team: must be text, not a list; put it in quotes",
            ],
        ),
        ("max_usd: 3\n", ["s.yaml:1:1: max_usd: is not known here; it belongs under 'budget'"]),
        ("budget: {max_usd: -1}\n", ["s.yaml:1:19: budget.max_usd: must be at least 0, not -1"]),
        ("budget: {max_usd: .nan}\n", ["s.yaml:1:19: budget.max_usd: must be a finite number, not nan"]),
        ("budget: {max_usd: .inf}\n", ["s.yaml:1:19: budget.max_usd: must be a finite number, not inf"]),
        ("budget: {max_usd: 1e999}\n", ["s.yaml:1:19: budget.max_usd: must be a finite number, not inf"]),
        ("budget: {max_usd: true}\n", ["s.yaml:1:19: budget.max_usd: must be a number, not true"]),
        ("budget: {max_usd: '5'}\n", ["s.yaml:1:19: budget.max_usd: must be a number, not '5'"]),
        ("budget: {max_usd: 2000000}\n", ["s.yaml:1:19: budget.max_usd: must be at most 1e+06, not 2000000"]),
        (
            "budget: {max_time_seconds: 0}\n",
            ["s.yaml:1:28: budget.max_time_seconds: must be more than 0, not 0"],
        ),
        ("github: {draft: yes}\n", ["s.yaml:1:17: github.draft: must be true or false, not 'yes'"]),
        ("github: {labels: bug}\n", ["s.yaml:1:18: github.labels: must be a list, not 'bug'"]),
        (
            "github: {trigger_permission: read}\n",
            [
                "s.yaml:1:30: github.trigger_permission: must be one of triage, write, maintain, admin, not 'read'",
            ],
        ),
        (
            "project:\n  app_type: fastpi\n",
            [
                "s.yaml:2:13: project.app_type: must be one of fastapi, nextjs, react-vite, html, library, cli, "
                "generic, not 'fastpi'; did you mean 'fastapi'?"
            ],
        ),
        ("version: 2\n", ["s.yaml:1:10: version: must be at most 1, not 2"]),
        ("version: true\n", ["s.yaml:1:10: version: must be a whole number, not true"]),
        (
            "context:\n",
            ["s.yaml:1:9: context: is empty; its keys are include, exclude"],
        ),
        ("budget: {max_usd: 1}\nbudget: {}\n", ["s.yaml:2:1: budget: stands twice, first on line 1; remove one"]),
        ("1: x\n", ["s.yaml:1:1: (top level): keys must be text; put this key in quotes"]),
        (
            "routing: {weights: {quality: 0, cost: 0}}\n",
            ["s.yaml:1:20: routing.weights: at least one weight must be more than 0"],
        ),
        (
            "routing: {weights: {qualty: 1}}\n",
            ["s.yaml:1:21: routing.weights.qualty: is not a known key; did you mean 'quality'?"],
        ),
        (
            "budget:\n\tmax_usd: 1\n",
            [
                "s.yaml:2:1: yaml: while scanning for the next token, found character '\\t' that cannot start any "
                "token; YAML is indented with spaces, never with tabs"
            ],
        ),
        ("a: [1\n", ["s.yaml:2:1: yaml: while parsing a flow sequence, expected ',' or ']', but got '<stream end>'"]),
        (
            "a: 1\n---\nb: 2\n",
            ["s.yaml:2:1: yaml: expected a single document in the stream, but found another document"],
        ),
        ("a: \x00\n", ["s.yaml:1:4: yaml: the character U+0000 is not allowed"]),
        ('project: {title: "\\0"}\n', ["s.yaml:1:18: project.title: holds a control character; remove it"]),
        (
            'project: {title: "\\ud800"}\n',
            ["s.yaml:1:18: project.title: holds half of a surrogate pair, which is no character"],
        ),
        (
            "project: !!python/name:os.system\n",
            [
                "s.yaml:1:10: project: the tag 'tag:yaml.org,2002:python/name:os.system' is not used here; remove it",
            ],
        ),
        (
            "budget: {max_usd: " + "9" * 5000 + "}\n",
            ["s.yaml:1:19: budget.max_usd: a number of more than 40 characters"],
        ),
        ("[" * 100_000, ["s.yaml:1:41: yaml: nested deeper than 40 levels"]),
    ],
)
def test_what_does_not_fit_is_refused_at_its_line_and_column(text: str, expected: list[str]) -> None:
    assert findings(text) == expected


@pytest.mark.parametrize("text", ["3\n", "[]\n", "just words\n"])
def test_a_file_that_is_no_mapping_is_refused(text: str) -> None:
    assert "s.yaml:1:1: (top level): must be a section" in findings(text)[0]


def test_an_alias_that_holds_itself_is_refused() -> None:
    assert "aliases nest deeper than 40 levels" in findings("x-a: &a [*a]\n")[0]


def test_a_merge_key_that_merges_itself_is_refused() -> None:
    assert "merges itself" in findings("x-a: &a\n  <<: *a\n")[0]


@pytest.mark.parametrize(
    "text",
    [
        "x-0: &a0 {b: 1}\n" + "".join(f"x-{n}: &a{n} {{<<: *a{n - 1}}}\n" for n in range(1, 2000)),
        "x-0: &a {" + ", ".join(f"k{n}: 1" for n in range(1000)) + "}\nx-1: {<<: [" + "*a, " * 5000 + "]}\n",
    ],
)
def test_merge_keys_that_go_too_deep_or_too_wide_are_refused(text: str) -> None:
    assert "merges itself, or too much" in findings(text)[0]


def test_aliases_that_expand_without_end_are_refused_at_once() -> None:
    lines = ["x-0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"x-{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]

    assert "aliases expand to more than 20000 values" in findings("\n".join(lines))[0]


def test_a_text_of_more_than_a_mebibyte_is_refused() -> None:
    assert findings("#" * (1024 * 1024 + 1)) == ["s.yaml:1:1: yaml: is over 1048576 characters"]


def test_a_flood_of_findings_is_cut_at_fifty() -> None:
    assert len(findings("\n".join(f"k{n}: 1" for n in range(1000)))) == 50


@pytest.mark.parametrize(
    "prefix",
    ["/a", "-a", ".a", "a..b", "A/", "a b", "a//b", "a/.b", "x.lock/", "refs/heads/", "", "a" * 61, "a`id`", "ä/"],
)
def test_a_branch_prefix_that_git_or_a_shell_could_misread_is_refused(prefix: str) -> None:
    found = findings(json.dumps({"github": {"branch_prefix": prefix}}))

    assert [text.split(": ")[1] for text in found] == ["github.branch_prefix"]


@pytest.mark.parametrize("prefix", ["orchestrator/", "bot-", "a.b/c_d/", "_x"])
def test_a_plain_branch_prefix_is_taken(prefix: str) -> None:
    assert parse(json.dumps({"github": {"branch_prefix": prefix}})).github.branch_prefix == prefix


@pytest.mark.parametrize("glob", ["/etc/**", "!infra/**", "a/../b", "a\\b", "", "~/x"])
def test_a_protected_path_that_could_match_nothing_is_refused(glob: str) -> None:
    found = findings(json.dumps({"github": {"protected_paths": ["ok/**", glob]}}))

    assert [text.split(": ")[1] for text in found] == ["github.protected_paths[1]"]


def test_a_project_is_required_for_a_file_on_the_command_line() -> None:
    assert findings("budget: {max_usd: 1}\n", require_project=True) == [
        "s.yaml:1:1: project: is required here: give it a description that says what to build"
    ]


def test_a_file_on_the_command_line_is_loaded_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_bytes(b"\xef\xbb\xbfproject: {title: A}\n")

    assert load_project_file(path) == ProjectFile(JobSpec(title="A", description="A"))


def test_a_file_that_cannot_be_used_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"a: 1\nb: \xe4\n")
    (tmp_path / "large.yaml").write_bytes(b"#" * (1024 * 1024 + 1))

    with pytest.raises(UsageError, match=r"latin\.yaml is not UTF-8 \(line 2\)"):
        load_project_file(tmp_path / "latin.yaml")
    with pytest.raises(UsageError, match=r"large\.yaml is over 1048576 bytes"):
        load_project_file(tmp_path / "large.yaml")
    with pytest.raises(UsageError, match="is not a file"):
        load_project_file(tmp_path)
    with pytest.raises(UsageError, match="does not exist"):
        load_project_file(tmp_path / "gone.yaml")
    with pytest.raises(UsageError, match="cannot be read"):
        load_project_file(tmp_path / ("n" * 300))


def test_an_issue_gives_the_job_and_the_project_becomes_background() -> None:
    spec = parse("project: {title: Shop, description: A web shop., success_criteria: tests pass}\n")

    job = merge_issue(spec, title="Add a cart", description=" As said.\n")

    assert (job.title, job.description, job.criteria) == ("Add a cart", " As said.\n", "tests pass")
    assert job.background == "Shop\n\nA web shop."


def test_the_background_of_a_title_alone_says_it_once() -> None:
    job = merge_issue(parse("project: {title: Shop}\n"), title="t", description="d")

    assert job.background == "Shop"


def test_flags_of_the_command_line_win_over_the_file() -> None:
    spec = parse(CONTRACT_EXAMPLE)

    job = with_flags(spec, project="Build X\nwell", criteria="done", max_usd=9, max_time_seconds=60, app_type="cli")

    assert (job.title, job.description, job.criteria, job.app_type) == ("Build X", "Build X\nwell", "done", "cli")
    assert job.budget == BudgetSpec(9.0, 60.0, "eng", "job_001")
    assert with_flags(spec) == spec


@pytest.mark.parametrize("amount", [-1.0, float("nan"), float("inf")])
def test_a_cap_that_is_no_amount_is_a_usage_error(amount: float) -> None:
    with pytest.raises(UsageError, match="max_usd must be a number from 0 up"):
        narrow(JobSpec(), max_usd=amount)
    with pytest.raises(UsageError, match="max_time_seconds must be a number above 0"):
        narrow(JobSpec(), max_time_seconds=amount)
    with pytest.raises(UsageError, match="--budget must be a number from 0 up"):
        with_flags(JobSpec(), max_usd=amount)


def test_a_cap_beyond_what_a_file_may_ask_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="too large"):
        with_flags(JobSpec(), max_usd=2e6)


def test_an_unknown_app_type_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="'fastapy' is not an app type; did you mean 'fastapi'"):
        narrow(JobSpec(), app_type="fastapy")


def test_a_description_without_words_is_refused() -> None:
    with pytest.raises(UsageError, match="empty"):
        spec_from_text(" \n")


def test_a_title_is_the_first_line_cut_at_a_word() -> None:
    assert title_of("\n  Build it.\nMore.") == "Build it."
    assert title_of("word " * 30) == "word " * 13 + "word…"


def test_a_stored_spec_that_does_not_fit_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="stored spec"):
        from_json({"title": 3})


def test_the_published_schema_is_that_of_the_code() -> None:
    published = (ROOT / "orchestrator.schema.json").read_text(encoding="utf-8")

    assert published == json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
    Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        CONTRACT_EXAMPLE,
        "x-a: 1",
        "budget: {x-b: 1, team: null}",
        "budget: {max_usd: -1}",
        "budget: {max_usd: true}",
        "budget: {max_time_seconds: 0}",
        "budget: null",
        "budgt: {}",
        "version: 2",
        "project: {app_type: java}",
        "policies: [{name: a, cost_cap_usd: 1}]",
        "policies: [{cost_cap_usd: 1}]",
        "policy: {cost_cap_usd: 1, max_cost_per_task_usd: 1}",
        "policy: {allowed_providers: [opnai]}",
        "policy: {allowed_models: x}",
        "routing: {weights: {speed: 1}}",
        "github: {branch_prefix: -x}",
        "github: {labels: ['']}",
        "validation: {validators: [mypy]}",
        "validation: {commands: make}",
        "project: Build it",
        "project: ''",
        "project: '  '",
        "project: 3",
        "{project: Build it, criteria: Works, budget_usd: 1, time_seconds: 60, concurrency: 2, x-a: 1}",
        "{project: Build it, concurrency: 0}",
        "{project: Build it, concurrency: null}",
        "{project: Build it, budget_usd: much}",
        "{project: Build it, time_seconds: 0}",
        "{project: Build it, budget: {max_usd: 1}}",
        "{project: {title: A}, budget_usd: 1}",
    ],
)
def test_the_schema_and_the_parser_agree(text: str) -> None:
    valid = Draft202012Validator(json_schema()).is_valid(yaml.safe_load(text))

    assert valid == (found_in(text) == ())


def test_the_full_example_shows_every_section_and_field() -> None:
    example = yaml.safe_load((ROOT / "projects/example_full.yaml").read_text(encoding="utf-8"))
    parts = json_schema()["$defs"]
    sections = parts["SpecFile"]["properties"]

    assert set(sections) - set(example) == {"enabled"}
    for section in ("project", "budget", "routing", "validation", "github", "context"):
        reference = sections[section]["$ref"].rsplit("/", 1)[-1]
        assert set(example[section]) == set(parts[reference]["properties"])


FLAT = """\
# old
project: Build a parser
criteria: pytest passes
budget_usd: 2.5
time_seconds: 600
concurrency: 2
"""


def test_the_older_flat_form_is_the_same_job_and_its_note_shows_the_form_that_replaces_it(tmp_path: Path) -> None:
    path = tmp_path / "old.yaml"
    path.write_text(FLAT, encoding="utf-8")

    file = load_project_file(path)

    assert file.job == JobSpec(
        title="Build a parser", description="Build a parser", criteria="pytest passes", budget=BudgetSpec(2.5, 600)
    )
    assert file.concurrency == 2
    first, *shown = file.note.splitlines()
    assert first == f"{path}:2: this flat form is deprecated; the same in the form that replaces it:"
    replacement = tmp_path / "new.yaml"
    replacement.write_text("\n".join(line.removeprefix("    ") for line in shown), encoding="utf-8")
    again = load_project_file(replacement)
    assert (replace(again.job, title=file.job.title), again.note) == (file.job, "")
    assert shown[-1] == "    # and on the command line: --concurrency 2"


def test_a_file_in_sections_gets_no_note(tmp_path: Path) -> None:
    path = tmp_path / "new.yaml"
    path.write_text("project: {title: A}\n", encoding="utf-8")

    assert load_project_file(path) == ProjectFile(JobSpec(title="A", description="A"))


@pytest.mark.parametrize(
    ("text", "line", "field", "message"),
    [
        ("project: A\nbudget_us: 2\n", 2, "budget_us", "is not a known key; did you mean 'budget_usd'?"),
        ("project: A\n\ntime_seconds: long\n", 3, "time_seconds", "must be a number, not 'long'"),
        ("project: A\nconcurrency: 500\n", 2, "concurrency", "must be at most 100, not 500"),
        ("project: ''\n", 1, "project", "must not be empty"),
    ],
)
def test_the_flat_form_is_read_as_strictly(text: str, line: int, field: str, message: str) -> None:
    (found,) = found_in(text)

    assert (found.line, found.field, found.message) == (line, field, message)


def test_this_repositorys_own_spec_is_valid() -> None:
    spec = parse_spec((ROOT / ".orchestrator.yaml").read_text(encoding="utf-8"), require_project=False)

    assert spec.budget.max_usd == 3.0


MARKUP = ["budget", "policy", "x-a", ": ", "\n", "  ", "- ", "&a ", "*a", "<<", "!!int ", "? ", "%YAML 1.1\n", "---\n"]
MARKUP += ["...", "\\U", "\\x", "1", ".nan", "null", "true", *"""[]{},:'"|>#~\t"""]
FRAGMENTS = st.lists(st.sampled_from(MARKUP), max_size=40).map("".join)


@given(st.text() | FRAGMENTS)
@example('"\\UFFFFFFFF"')
@example("%YAML 1." + "9" * 5000 + "\n---\n")
@example("\ud800")
@example("? [a]\n: b")
@example("!<> a")
def test_any_text_parses_or_is_refused_with_findings_inside_the_text(text: str) -> None:
    lines = text.count("\n") + text.count("\r") + text.count("\x85") + text.count("\u2028") + text.count("\u2029") + 2

    assert all(1 <= found.line <= lines and found.column >= 1 and found.message for found in found_in(text))


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
SECTIONS = st.sampled_from(["version", "project", "budget", "policy", "policies", "routing", "github", "context"])
FIELDS = st.sampled_from(
    ["max_usd", "team", "title", "name", "weights", "labels", "branch_prefix", "cost_cap_usd", "x-y"]
)


@given(st.dictionaries(SECTIONS, st.dictionaries(FIELDS, JSON_VALUES, max_size=3) | JSON_VALUES, max_size=3))
def test_any_values_in_known_places_parse_or_are_refused(data: dict[str, object]) -> None:
    assert all(found.field and found.message for found in found_in(yaml.safe_dump(data)))


USD = st.floats(0, 1_000_000)
SECONDS = st.floats(0.001, 1_000_000)
TEXTS = st.text(max_size=30)
SPECS = st.builds(
    JobSpec,
    title=TEXTS,
    description=TEXTS,
    criteria=TEXTS,
    app_type=st.none() | st.sampled_from(APP_TYPES),
    budget=st.builds(BudgetSpec, max_usd=USD, max_time_seconds=SECONDS, team=st.none() | st.just("eng")),
    policies=st.lists(
        st.builds(
            Policy,
            name=st.just("p"),
            allowed_models=st.none() | st.lists(st.just("kimi")),
            max_cost_per_task_usd=st.none() | USD,
            enforcement_mode=st.sampled_from(EnforcementMode),
        ),
        max_size=3,
    ).map(PolicySet),
    routing=st.builds(RoutingSpec, weights=st.builds(Weights, quality=st.floats(0.1, 1), cost=st.floats(0, 1))),
    validation=st.builds(
        ValidationSpec,
        validators=st.none() | st.lists(st.sampled_from(VALIDATORS)).map(tuple),
        commands=st.just(("a",)),
    ),
    github=st.builds(GitHubSpec, require_approval_above_usd=st.none() | USD, draft=st.booleans()),
    enabled=st.booleans(),
    background=TEXTS,
)


@given(SPECS)
def test_a_spec_survives_the_store(spec: JobSpec) -> None:
    assert from_json(json.loads(json.dumps(to_json(spec)))) == spec


@given(SPECS, st.none() | st.floats(0), st.none() | st.floats(0, exclude_min=True))
def test_narrowing_never_widens(spec: JobSpec, max_usd: float | None, max_time: float | None) -> None:
    usable = [None if cap is None or cap == float("inf") else cap for cap in (max_usd, max_time)]

    narrowed = narrow(spec, max_usd=usable[0], max_time_seconds=usable[1])

    assert narrowed.budget.max_usd <= spec.budget.max_usd
    assert narrowed.budget.max_time_seconds <= spec.budget.max_time_seconds
    assert usable[0] is None or narrowed.budget.max_usd <= usable[0]
    assert usable[1] is None or narrowed.budget.max_time_seconds <= usable[1]
    assert replace(narrowed, budget=spec.budget) == spec


def test_of_a_file_that_is_wrong_everywhere_the_first_findings_are_told_with_the_begin_of_each_key() -> None:
    text = "k" * 1_000 + ":\n" + "".join(f"  - !x {number}\n" for number in range(2_000))
    with pytest.raises(SpecError) as refused:
        parse_spec(text, require_project=False)
    assert len(refused.value.findings) == 50
    assert refused.value.findings[0].field == "k" * 100 + "[0]"
