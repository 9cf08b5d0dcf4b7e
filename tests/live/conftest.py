"""The live tests cost money: they are deselected unless ORCHESTRATOR_LIVE=1 asks for them (`make live`)."""

from __future__ import annotations

import os

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the live tests out of every run that does not ask for them."""
    if os.environ.get("ORCHESTRATOR_LIVE") == "1":
        return
    live = [item for item in items if item.get_closest_marker("live")]
    if live:
        config.hook.pytest_deselected(items=live)
        items[:] = [item for item in items if item not in live]
