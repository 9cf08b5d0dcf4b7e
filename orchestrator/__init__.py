"""A multi-LLM orchestrator: reads a spec, plans, spends, writes, checks, reviews and reports.

The names below are the public API. Each is loaded when it is first used (PEP 562), so that `--version` and a program
that needs one name do not pay for the database, the price library and everything else; docs/adr/0001 says why.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.advisor import ArchitectureAdvisor as ArchitectureAdvisor
    from orchestrator.agent_pool import AgentPool as AgentPool
    from orchestrator.budget import Budget as Budget
    from orchestrator.builder import AppBuilder as AppBuilder
    from orchestrator.control_plane import ControlPlane as ControlPlane
    from orchestrator.cost import CostForecaster as CostForecaster
    from orchestrator.events import ProjectEventBus as ProjectEventBus
    from orchestrator.hierarchy import BudgetHierarchy as BudgetHierarchy
    from orchestrator.library import Orchestrator as Orchestrator
    from orchestrator.orchestration_agent import OrchestrationAgent as OrchestrationAgent
    from orchestrator.policy import EnforcementMode as EnforcementMode
    from orchestrator.policy import Policy as Policy
    from orchestrator.policy import PolicySet as PolicySet
    from orchestrator.prediction import CostPredictor as CostPredictor
    from orchestrator.specs import JobSpec as JobSpec
    from orchestrator.state import ProjectState as ProjectState
    from orchestrator.state import ProjectStatus as ProjectStatus
    from orchestrator.state import Task as Task
    from orchestrator.state import TaskResult as TaskResult
    from orchestrator.state import TaskStatus as TaskStatus
    from orchestrator.state import TaskType as TaskType
    from orchestrator.tracing import TracingConfig as TracingConfig
    from orchestrator.tracing import configure_tracing as configure_tracing

_HOMES = {
    "AgentPool": "agent_pool",
    "AppBuilder": "builder",
    "ArchitectureAdvisor": "advisor",
    "Budget": "budget",
    "BudgetHierarchy": "hierarchy",
    "ControlPlane": "control_plane",
    "CostForecaster": "cost",
    "CostPredictor": "prediction",
    "EnforcementMode": "policy",
    "JobSpec": "specs",
    "OrchestrationAgent": "orchestration_agent",
    "Orchestrator": "library",
    "Policy": "policy",
    "PolicySet": "policy",
    "ProjectEventBus": "events",
    "ProjectState": "state",
    "ProjectStatus": "state",
    "Task": "state",
    "TaskResult": "state",
    "TaskStatus": "state",
    "TaskType": "state",
    "TracingConfig": "tracing",
    "configure_tracing": "tracing",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
