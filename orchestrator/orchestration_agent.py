"""The orchestration agent: from what somebody wants, in their words, to a job and a policy that may be submitted."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from orchestrator.budget import Budget
from orchestrator.catalog import Catalog
from orchestrator.codes import Code
from orchestrator.control_plane import ControlPlane
from orchestrator.errors import PlanError, SpecError, UsageError
from orchestrator.policy import PROVIDERS, Policy, PolicySet
from orchestrator.policy_rules import NAMING, regions_of, unknown_names
from orchestrator.prompts import fence
from orchestrator.providers.base import Provider
from orchestrator.run import Asking, Run
from orchestrator.sections import APP_TYPES, BudgetSpec
from orchestrator.specs import JobSpec, read_sections, spec_from_text
from orchestrator.state import Outcome, Purpose
from orchestrator.strict import argument
from orchestrator.titles import new_run_id
from orchestrator.wire import DraftReply

# Three tries at the dearest model of the catalog, for a draft and some rounds of feedback.
DRAFT_USD = 0.5
DRAFT_SECONDS = 600.0
DRAFTS = 3

_FIELD_OF = {"success_criteria": "criteria"}


@dataclass(frozen=True, slots=True)
class Draft:
    """A job and a policy that validate, and why they are as they are.

    `intent` is what was asked for, `changed` names the fields that the last round changed, `project_id` the run under
    which the draft and all its rounds are accounted for.
    """

    job: JobSpec
    policy: Policy
    rationale: str = ""
    intent: str = ""
    project_id: str | None = None
    changed: tuple[str, ...] = ()


class OrchestrationAgent:
    """Drafts jobs and policies from what somebody wants, and refines them by feedback.

    `budget` caps a draft and all its refinements together, in USD and seconds (default 0.5 USD and 600 s),
    `policy_set` rules which models may be asked. Keys and the place of state come from the environment (`env`, the
    process's own by default); `providers` replaces the vendors' endpoints. Nothing is printed, nothing is submitted.

    A draft and its refinements are accounted for as one run that ends before its plan: each call is reserved, settled,
    capped by the operator's budgets and listed as every run's is, and the next round counts a call that a crash lost
    at its reservation. Models answer only with what changes, and what they do not answer is copied by code: a
    refinement keeps every field that it does not name.
    """

    def __init__(
        self,
        *,
        budget: Budget | None = None,
        policy_set: PolicySet | None = None,
        env: Mapping[str, str] | None = None,
        providers: Mapping[str, Provider] | None = None,
    ) -> None:
        self.budget = Budget(DRAFT_USD, DRAFT_SECONDS) if budget is None else budget
        self._policies = PolicySet() if policy_set is None else policy_set
        argument("budget", self.budget, Budget, "Budget(max_usd=0.5)")
        argument("policy_set", self._policies, PolicySet, "PolicySet(policies=[Policy(...)])")
        self._plane = ControlPlane(env, providers=providers)

    async def draft(self, intent: str, *, project_id: str | None = None) -> Draft:
        """Return a job and a policy for what somebody wants.

        Raises `UsageError` when there is nothing to read, `BudgetError` when the cap has no room for the call,
        `NoModel` when no model may or can draft, and `UnusableAnswers` or `PlanError` when no answer validates.
        """
        job = spec_from_text(intent)
        return await self._ask(Draft(job, Policy(), intent=intent, project_id=project_id), "")

    async def refine(self, draft: Draft, feedback: str) -> Draft:
        """Return the draft with what the feedback asks for changed and everything else as it was; raises as `draft`."""
        if not feedback.strip():
            raise UsageError("The feedback is empty.", hint="Say what is to change.")
        return await self._ask(draft, feedback)

    async def _ask(self, draft: Draft, feedback: str) -> Draft:
        asked = spec_from_text(draft.intent or draft.job.description)
        known = replace(draft, project_id=draft.project_id or new_run_id(asked.title))
        return await self._plane.consult(
            replace(asked, budget=BudgetSpec(self.budget.max_usd, self.budget.max_time_seconds)),
            self._policies,
            run_id=known.project_id,
            question=partial(_revised, draft=known, feedback=feedback),
            outcome=Outcome(Code.DRAFTED, "A job and a policy were drafted; nothing was planned or generated."),
        )


async def _revised(run: Run, *, draft: Draft, feedback: str) -> Draft:
    """Ask for what changes until the draft with it validates; raises `PlanError` when the last of three does not."""
    wrong: list[str] = []
    for number in range(1, DRAFTS + 1):
        listed = "\n".join(f"- {fault}" for fault in wrong)
        answer, _ = await run.ask(
            Purpose.DRAFT,
            {
                "known": _known(run.router.catalog),
                "draft": fence(_present(draft), run.nonce, "draft"),
                "feedback": "Feedback\n" + fence(feedback, run.nonce, "feedback") if feedback else "",
                "faults": "Your last answer cannot be used\n" + fence(listed, run.nonce, "faults") if wrong else "",
            },
            DraftReply,
            Asking(label=str(number)),
        )
        wrong = list(_faults(answer.reply, run.router.catalog))
        if not wrong:
            return patched(draft, answer.reply)
    raise PlanError(f"No draft that validates after {DRAFTS} tries: {'; '.join(wrong)}", hint="Say it in other words.")


def patched(draft: Draft, reply: DraftReply) -> Draft:
    """Return the draft with the fields of a reply that validates; every other field is the very same."""
    sections = _sections(reply)
    file = read_sections(sections)
    job = replace(
        draft.job,
        **{_FIELD_OF.get(name, name): getattr(file.project, name) for name in sections["project"]},
        budget=replace(draft.job.budget, **{name: getattr(file.budget, name) for name in sections["budget"]}),
    )
    nothing = Policy()
    policy = replace(
        draft.policy,
        **{name: getattr(file.policy, name) for name in sections["policy"]},
        **{name: getattr(nothing, name) for name in reply.policy.remove},
    )
    changed = [
        *(f"job.{name}" for name in ("title", "description", "criteria", "app_type") if _differ(draft.job, job, name)),
        *(f"job.budget.{name}" for name in sections["budget"] if _differ(draft.job.budget, job.budget, name)),
        *(f"policy.{name}" for name in Policy.__dataclass_fields__ if _differ(draft.policy, policy, name)),
    ]
    return replace(draft, job=job, policy=policy, rationale=reply.rationale, changed=tuple(changed))


def _sections(reply: DraftReply) -> dict[str, dict[str, Any]]:
    """Return what a reply gives, as the sections of a spec file."""
    project, policy = reply.job.given(), reply.policy.given()
    project.pop("budget", None)
    policy.pop("remove", None)
    return {"project": project, "budget": reply.job.budget.given(), "policy": policy}


def _faults(reply: DraftReply, catalog: Catalog) -> Iterator[str]:
    """Yield what keeps a reply from being laid over a draft, each as a sentence for the model."""
    sections = _sections(reply)
    try:
        read_sections(sections)
    except SpecError as error:
        yield from (f"{finding.field}: {finding.message}" for finding in error.findings)
    policy = sections["policy"]
    for rule in reply.policy.remove:
        if rule in policy:
            yield f"policy.{rule}: is both given and removed"
    for naming in NAMING:
        yield from (f"policy.{naming}: {said}" for said in unknown_names(naming, policy.get(naming, ()), catalog))


def _differ(before: object, after: object, name: str) -> bool:
    return bool(getattr(before, name) != getattr(after, name))


def _known(catalog: Catalog) -> str:
    return (
        f"App types: {', '.join(APP_TYPES)}\nProviders: {', '.join(PROVIDERS)}\n"
        f"Regions: {', '.join(regions_of(catalog))}\nModels: {', '.join([*catalog.models, *catalog.aliases])}"
    )


def _present(draft: Draft) -> str:
    """Return the job and the policy in the form of the answer, as JSON."""
    job, policy = draft.job, draft.policy
    rules = {name: getattr(policy, name) for name in Policy.__dataclass_fields__}
    return json.dumps(
        {
            "job": {
                "title": job.title,
                "description": job.description,
                "success_criteria": job.criteria,
                "app_type": job.app_type,
                "budget": {"max_usd": job.budget.max_usd, "max_time_seconds": job.budget.max_time_seconds},
            },
            "policy": {name: value for name, value in rules.items() if value is not None},
        },
        indent=1,
        ensure_ascii=False,
    )
