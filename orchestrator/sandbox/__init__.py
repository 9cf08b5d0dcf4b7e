"""Run programs that nobody trusts: no network, no files but their own, bounded in time, memory and processes."""

from orchestrator.sandbox.index import pip_location
from orchestrator.sandbox.layout import Places
from orchestrator.sandbox.limits import MIB, Finished, Limits, Rung
from orchestrator.sandbox.sandbox import Sandbox, open_sandbox

__all__ = ["MIB", "Finished", "Limits", "Places", "Rung", "Sandbox", "open_sandbox", "pip_location"]
