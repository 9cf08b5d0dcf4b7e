"""The architecture advisor: the decision that begins every build, asked for on its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from orchestrator.budget import Budget
from orchestrator.control_plane import ControlPlane
from orchestrator.policy import PolicySet
from orchestrator.providers.base import Provider
from orchestrator.sections import BudgetSpec
from orchestrator.specs import narrow, spec_from_text
from orchestrator.state import ArchitectureDecision
from orchestrator.strict import argument

# What the catalog's dearest model takes for a description of 20 kB, twice because of one answer out of the vocabulary.
ADVICE_USD = 0.5
ADVICE_SECONDS = 600.0


class ArchitectureAdvisor:
    """Recommends an architecture without building anything.

    `budget` caps each analysis in USD and seconds (default 0.5 USD and 600 s), `policy_set` rules which models may
    decide. DeepSeek Chat decides where its key is set and the policies allow it, DeepSeek's Reasoner for descriptions
    of more than 50 words, else whom the router chooses. Keys and the place of state come from the environment (`env`,
    the process's own by default); `providers` replaces the vendors' endpoints. Nothing is printed.

    Each analysis is accounted for as a run of its own that ends before its plan: it is reserved, settled, capped by
    the operator's budgets and listed as every run is. The id of one that a crash cut off, given again, counts the
    lost call at its reservation and goes on; given to `Orchestrator.run_project`, it builds what was decided.
    """

    def __init__(
        self,
        *,
        budget: Budget | None = None,
        policy_set: PolicySet | None = None,
        env: Mapping[str, str] | None = None,
        providers: Mapping[str, Provider] | None = None,
    ) -> None:
        self.budget = Budget(ADVICE_USD, ADVICE_SECONDS) if budget is None else budget
        self._policies = PolicySet() if policy_set is None else policy_set
        argument("budget", self.budget, Budget, "Budget(max_usd=0.5)")
        argument("policy_set", self._policies, PolicySet, "PolicySet(policies=[Policy(...)])")
        self._plane = ControlPlane(env, providers=providers)

    async def analyze(
        self, description: str, criteria: str = "", *, app_type: str | None = None, project_id: str | None = None
    ) -> ArchitectureDecision:
        """Return the architecture that fits a description best, with the reason.

        Raises `UsageError` for what cannot be used, `BudgetError` when the cap has no room for the call, `NoModel`
        when no model may or can decide, and `UnusableAnswers` when none of the answers could be used.
        """
        job = replace(
            narrow(spec_from_text(description, criteria), app_type=app_type),
            budget=BudgetSpec(self.budget.max_usd, self.budget.max_time_seconds),
        )
        return await self._plane.advise(job, self._policies, run_id=project_id)
