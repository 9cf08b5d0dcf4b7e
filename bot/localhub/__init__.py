"""A local GitHub: REST (v3) and git over HTTP on real bare repositories, for the demo and the tests."""

from bot.localhub.server import LocalHub

__all__ = ["LocalHub"]
