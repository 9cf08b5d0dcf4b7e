"""Run programs that nobody trusts: no network, no files but their own, bounded in time, memory and processes."""

from orchestrator.sandbox.index import pip_location
from orchestrator.sandbox.layout import Places
from orchestrator.sandbox.limits import MIB, Finished, Limits, PackageIndex, Rung
from orchestrator.sandbox.node import UNCONFIGURED, NodeTools, node_tools, npm_hosts
from orchestrator.sandbox.sandbox import Sandbox, open_sandbox

__all__ = [
    "MIB",
    "UNCONFIGURED",
    "Finished",
    "Limits",
    "NodeTools",
    "PackageIndex",
    "Places",
    "Rung",
    "Sandbox",
    "node_tools",
    "npm_hosts",
    "open_sandbox",
    "pip_location",
]
