"""The journal: what was asked and answered, what webhooks said, and nothing where nobody asked for one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from bot.localhub import LocalHub


def _journals(folder: Path) -> list[Path]:
    return list(folder.rglob("*.jsonl"))


def _lines(folder: Path) -> list[dict[str, Any]]:
    (file,) = _journals(folder)
    return [json.loads(line) for line in file.read_text().splitlines()]


async def _talk(hub: LocalHub) -> str:
    hub.create_user("alice")
    await hub.create_repository("octo/demo", {"README.md": "# Demo\n"})
    app_id, _ = hub.create_app("Ours", "http://127.0.0.1:9/webhook", "a-secret-of-some-length", events=["issues"])
    hub.install_app(app_id, "octo/demo")
    token = hub.token_for("alice")
    headers = {"Authorization": f"token {token}", "Accept": "application/json"}
    async with httpx2.AsyncClient(base_url=hub.url, headers=headers) as http:
        await http.post("/api/v3/repos/octo/demo/issues", json={"title": "One"})
        await http.get("/api/v3/repos/octo/demo/nothing", params={"page": 2})
        await http.get("/octo/demo/issues/1")
    hub.deliver("issues", {"action": "made up"})
    await hub.settled()
    return token


async def test_a_journal_holds_every_api_exchange_and_webhook_but_no_page_and_no_credentials(tmp_path: Path) -> None:
    async with LocalHub(tmp_path / "hub", journal=tmp_path / "journal") as hub:
        token = await _talk(hub)

    installed, opened, made, missing = _lines(tmp_path / "journal")
    assert [(it["kind"], it["event"], it["payload"]["action"]) for it in (installed, opened)] == [
        ("webhook", "installation", "created"),
        ("webhook", "issues", "opened"),
    ]
    assert [it["answer"].pop("title", None) for it in (made, missing)] == ["One", None]
    assert {**made, "answer": None} == {
        "kind": "exchange",
        "method": "POST",
        "path": "/api/v3/repos/octo/demo/issues",
        "query": "",
        "accept": "application/json",
        "request": {"title": "One"},
        "status": 201,
        "answer": None,
    }
    assert (missing["query"], missing["request"], missing["status"]) == ("page=2", None, 404)
    assert token not in json.dumps([installed, opened, made, missing])


async def test_hubs_of_one_environment_share_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALHUB_JOURNAL", str(tmp_path / "journal"))
    for name in ("one", "two"):
        async with LocalHub(tmp_path / name) as hub:
            await _talk(hub)

    assert len(_journals(tmp_path / "journal")) == 2


async def test_without_a_folder_no_journal_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCALHUB_JOURNAL", raising=False)
    async with LocalHub(tmp_path / "hub") as hub:
        await _talk(hub)

    assert _journals(tmp_path) == []
