"""The published JSON Schema in editors: a real YAML language server completes and checks a spec by it."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.e2e.language_server import LanguageServer, language_server
from tests.e2e.test_offline_web import npm

pytestmark = [pytest.mark.slow, pytest.mark.node, pytest.mark.asyncio(loop_scope="module")]

SCHEMA = Path(__file__).parents[2] / "orchestrator.schema.json"
MODELINE = "# yaml-language-server: $schema=orchestrator.schema.json\n"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def editor(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[LanguageServer, Path]]:
    tools, folder = tmp_path_factory.mktemp("tools"), tmp_path_factory.mktemp("repository")
    await asyncio.to_thread(npm, tools, "install", "--no-audit", "--no-fund", "yaml-language-server@2.0.0")
    shutil.copy(SCHEMA, folder)
    command = [str(tools / "node_modules/.bin/yaml-language-server"), "--stdio"]
    async with language_server(command, folder) as server:
        yield server, folder


async def _problems(editor: tuple[LanguageServer, Path], name: str, text: str) -> list[tuple[int, str]]:
    server, folder = editor
    uri = await server.open(folder / name, MODELINE + text)
    return [(it["range"]["start"]["line"], it["message"]) for it in await server.diagnostics(uri)]


async def test_the_keys_of_a_section_are_completed(editor: tuple[LanguageServer, Path]) -> None:
    server, folder = editor
    uri = await server.open(folder / "completed.yaml", f"{MODELINE}budget:\n  \n")

    assert sorted(await server.completions(uri, 2, 2)) == ["job", "max_time_seconds", "max_usd", "team"]


async def test_the_sections_themselves_are_completed(editor: tuple[LanguageServer, Path]) -> None:
    server, folder = editor
    uri = await server.open(folder / "sections.yaml", f"{MODELINE}version: 1\n\n")

    assert {"budget", "policy", "github", "validation"} <= set(await server.completions(uri, 2, 0))


async def test_an_unknown_key_is_reported_at_its_line(editor: tuple[LanguageServer, Path]) -> None:
    ((line, message),) = await _problems(editor, "unknown.yaml", "version: 1\nbugdet:\n  max_usd: 2\n")

    assert line == 2
    assert "bugdet" in message


async def test_a_wrong_type_is_reported_at_its_line(editor: tuple[LanguageServer, Path]) -> None:
    ((line, message),) = await _problems(editor, "type.yaml", "version: 1\nbudget:\n  max_usd: much\n")

    assert line == 3
    assert '"number"' in message


async def test_a_good_spec_has_no_problem(editor: tuple[LanguageServer, Path]) -> None:
    text = (SCHEMA.parent / "projects/example_full.yaml").read_text().partition("\n")[2]

    assert await _problems(editor, "good.yaml", text) == []
