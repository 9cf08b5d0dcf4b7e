from __future__ import annotations

from orchestrator.store import Database, PreviewStore


async def test_previews_come_back_in_their_order_and_for_their_run_alone(database: Database) -> None:
    first, second = PreviewStore(database, "r-1"), PreviewStore(database, "lint-2")
    for text in ("a", "b", "a"):
        await first.keep(text)
    await second.keep("z")
    assert await first.kept() == ("a", "b", "a")
    assert await second.kept() == ("z",)
    assert await PreviewStore(database, "r-3").kept() == ()
