"""A multi-LLM orchestrator: reads a spec, plans, spends, writes, checks, reviews and reports.

The names below are the public API. Each is loaded when it is first used (PEP 562), so that `--version` and a program
that needs one name do not pay for the database, the price library and everything else; docs/adr/0001 says why.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.advisor import ArchitectureAdvisor as ArchitectureAdvisor
    from orchestrator.budget import Budget as Budget
    from orchestrator.builder import AppBuilder as AppBuilder
    from orchestrator.control_plane import ControlPlane as ControlPlane
    from orchestrator.library import Orchestrator as Orchestrator
    from orchestrator.orchestration_agent import OrchestrationAgent as OrchestrationAgent
    from orchestrator.policy import EnforcementMode as EnforcementMode
    from orchestrator.policy import Policy as Policy
    from orchestrator.policy import PolicySet as PolicySet
    from orchestrator.specs import JobSpec as JobSpec
    from orchestrator.state import ProjectState as ProjectState
    from orchestrator.state import ProjectStatus as ProjectStatus
    from orchestrator.state import Task as Task
    from orchestrator.state import TaskResult as TaskResult
    from orchestrator.state import TaskStatus as TaskStatus
    from orchestrator.state import TaskType as TaskType

_HOMES = {
    "AppBuilder": "builder",
    "ArchitectureAdvisor": "advisor",
    "Budget": "budget",
    "ControlPlane": "control_plane",
    "EnforcementMode": "policy",
    "JobSpec": "specs",
    "OrchestrationAgent": "orchestration_agent",
    "Orchestrator": "library",
    "Policy": "policy",
    "PolicySet": "policy",
    "ProjectState": "state",
    "ProjectStatus": "state",
    "Task": "state",
    "TaskResult": "state",
    "TaskStatus": "state",
    "TaskType": "state",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
