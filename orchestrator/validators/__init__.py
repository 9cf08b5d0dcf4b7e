"""Deterministic checks of a generated project, in the sandbox, with findings at path and line."""

from orchestrator.validators.dependencies import install, requirement_key
from orchestrator.validators.plan import VALIDATORS, Environment, ValidationPlan
from orchestrator.validators.validate import needs_environment, validate

__all__ = [
    "VALIDATORS",
    "Environment",
    "ValidationPlan",
    "install",
    "needs_environment",
    "requirement_key",
    "validate",
]
