"""Policies as files: reading a hierarchy of them, and its static analysis before anything is spent."""

from __future__ import annotations

from orchestrator.policy_analysis import PolicyAnalyzer, PolicyFinding, PolicyReport
from orchestrator.policy_files import PolicyHierarchy, load_policy_file

__all__ = ["PolicyAnalyzer", "PolicyFinding", "PolicyHierarchy", "PolicyReport", "load_policy_file"]
