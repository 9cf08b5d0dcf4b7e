"""The table of the guide's blocks: what each is given, what it lacks, and what must have happened when it has run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tests.e2e import guide_commands as commands
from tests.e2e import guide_examples as examples
from tests.e2e import guide_practices as practices
from tests.e2e.guide import JOB, Place, Supplied, notes
from tests.loopback import Answer, Script

ASYNCIO = "import asyncio"
CORE = "from orchestrator import Budget, Orchestrator"
ORCH = "orch = Orchestrator(budget=Budget(max_usd=10.0))"
RUN = (("run_project(...)", f"run_project({JOB})"),)


@dataclass(frozen=True, slots=True)
class Entry:
    """One block: `given` prepares its place, `script` is what the models say, `then` asserts what it has done.

    A `slow` one runs in `make test-full` only: what it does, faster entries show too.
    """

    then: Callable[[Place], None]
    supplied: Supplied = field(default_factory=Supplied)
    given: Callable[[Place], None] | None = None
    script: Callable[[], Script] = notes
    slow: bool = False


KEYS = (
    ("sk-ant-...", "loopback-anthropic-key"),
    ("sk-...", "loopback-openai-key"),
    ("AIzaSy...", "loopback-google-key"),
)
METRICS_JSON = ("/tmp/metrics.json", "{folder}/metrics.json")
MADE = (ASYNCIO, CORE, ORCH)

ENTRIES: dict[str, Entry] = {
    "installation/1": Entry(commands.installs, given=commands.a_copy_and_a_virtual_environment, slow=True),
    "environment-setup/1": Entry(
        commands.reads_the_keys_of_the_file, Supplied(fills=KEYS), given=commands.without_keys
    ),
    "1-build-a-fastapi-service-simplest/1": Entry(
        commands.builds_the_service, given=commands.two_providers, script=commands.ten_tasks
    ),
    "2-build-a-next-js-app/1": Entry(commands.builds_the_storefront, given=commands.two_providers),
    "3-from-project-yaml-file/1": Entry(commands.builds_the_file, given=commands.projects_are_here),
    "3-from-project-yaml-file/2": Entry(commands.is_a_project_file),
    "4-resume-interrupted-run/1": Entry(
        commands.goes_on,
        Supplied(fills=(("<project_id>", "lakes"),)),
        given=commands.an_interrupted_run,
        script=commands.two_tasks,
    ),
    "5-list-all-projects/1": Entry(commands.lists_the_run, given=commands.a_finished_run),
    "example-1/1": Entry(examples.basic),
    "example-2/1": Entry(
        examples.forecasts,
        Supplied(
            imports=("from orchestrator import Task, TaskType",),
            fills=(("[...]", '[Task("a", "Write a", TaskType.WRITING, "Write a.", files=("a.md",))]'), *RUN),
        ),
    ),
    "example-3/1": Entry(examples.routes_by_weights, Supplied(fills=RUN)),
    "example-4/1": Entry(examples.keeps_out_forbidden_providers, Supplied(imports=(ASYNCIO,), fills=RUN)),
    "example-5/1": Entry(examples.hears_the_run, Supplied(fills=RUN), script=examples.broken_first),
    "example-6/1": Entry(
        examples.exports_metrics,
        Supplied(fills=RUN, lent=(METRICS_JSON, ("/var/lib/node_exporter/orch.prom", "{folder}/orch.prom"))),
    ),
    "example-7/1": Entry(examples.picks_the_best),
    "example-8/1": Entry(examples.prints_the_sample_of_the_builder, script=examples.the_service_of_the_guide),
    "example-8/2": Entry(examples.of_the_closed_vocabularies("example-8/2")),
    "example-9/1": Entry(
        examples.prints_the_sample_of_the_advisor,
        script=lambda: notes(architecture=lambda _: Answer(examples.decided("example-9/2"))),
    ),
    "example-9/2": Entry(examples.of_the_closed_vocabularies("example-9/2")),
    "example-11/1": Entry(examples.finds_no_contradiction, given=examples.policies_are_here),
    "example-11/2": Entry(examples.is_a_policy_file),
    "example-12/1": Entry(examples.spans_arrive, Supplied(fills=RUN, lent=(("http://localhost:4318", "{collector}"),))),
    "recipe-1/1": Entry(practices.routes_to_the_cheapest),
    "recipe-2/1": Entry(practices.asks_only_the_premium_models),
    "recipe-3/1": Entry(practices.checks_the_hierarchy),
    "recipe-4/1": Entry(practices.drafts_refines_and_submits, script=practices.a_draft),
    "recipe-5/1": Entry(practices.monitors),
    "q-provider-not-available-error/1": Entry(commands.prints_the_key),
    "q-budget-exceeded-but-i-set-a-limit/1": Entry(
        practices.never_spends_more(8.5), Supplied(imports=("from orchestrator import Budget",))
    ),
    "ours:q-budget-exceeded-but-i-set-a-limit/1": Entry(
        practices.never_spends_more(10.0), Supplied(imports=("from orchestrator import Budget",))
    ),
    "q-run-is-slow/1": Entry(
        practices.six_at_once, Supplied(imports=(CORE,), before=("budget = Budget(max_usd=8.5)",))
    ),
    "q-resume-doesn-t-work/1": Entry(
        practices.comes_back,
        Supplied(
            before=MADE,
            fills=(("    ...,", f"    {JOB},"), ("run_project(...,", f"run_project({JOB},")),
            loop=True,
        ),
    ),
    "1-always-set-explicit-budget/1": Entry(
        practices.caps(8.0), Supplied(imports=("from orchestrator import Budget",))
    ),
    "2-use-project-files-for-complex-specs/1": Entry(commands.runs_both, given=commands.projects_are_here, slow=True),
    "3-export-metrics-for-analysis/1": Entry(
        practices.writes_json, Supplied(before=(*MADE, f"asyncio.run(orch.run_project({JOB}))"), lent=(METRICS_JSON,))
    ),
    "4-use-policy-dsl-for-governance/1": Entry(
        practices.governs_by_a_file,
        Supplied(
            imports=(
                "from orchestrator import Policy, PolicySet",
                "from orchestrator.policy_dsl import load_policy_file",
            ),
            fills=(("[...]", '[Policy(name="gdpr")]'),),
        ),
        given=examples.policies_are_here,
    ),
    "5-add-event-hooks-for-monitoring/1": Entry(
        practices.calls_back,
        Supplied(
            imports=("from orchestrator.hooks import EventType",),
            before=(*MADE, "def my_callback(task_id, **_):\n    print('heard', task_id)"),
            fills=RUN,
            loop=True,
        ),
    ),
    "6-use-architectureadvisor-for-code-generation/1": Entry(
        practices.decides_for_itself,
        Supplied(
            imports=("from orchestrator import AppBuilder",),
            fills=(('description="..."', 'description="REST API"'), ('criteria="..."', 'criteria="Tested"')),
            loop=True,
        ),
    ),
    "7-provide-rich-descriptions-for-better-architecture-decisions/1": Entry(
        practices.richer_words_reach_the_architect
    ),
}
