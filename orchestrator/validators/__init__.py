"""Deterministic checks of a generated project, in the sandbox, with findings at path and line."""

from orchestrator.validators.dependencies import install, requirement_key
from orchestrator.validators.npm import npm_install, npm_key
from orchestrator.validators.plan import VALIDATORS, Environment, ValidationPlan
from orchestrator.validators.validate import needs_environment, needs_packages, nothing_to_check, validate

__all__ = [
    "VALIDATORS",
    "Environment",
    "ValidationPlan",
    "install",
    "needs_environment",
    "needs_packages",
    "nothing_to_check",
    "npm_install",
    "npm_key",
    "requirement_key",
    "validate",
]
