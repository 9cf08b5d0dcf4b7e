"""Deterministic checks of a generated project, in the sandbox, with findings at path and line."""

from orchestrator.validators.dependencies import install, requirement_key
from orchestrator.validators.plan import VALIDATORS, Environment, ValidationPlan
from orchestrator.validators.validate import validate

__all__ = ["VALIDATORS", "Environment", "ValidationPlan", "install", "requirement_key", "validate"]
