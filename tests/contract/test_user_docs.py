"""The pages for users cannot lie: what they quote, list and show is compared with the code, or read by it."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from dataclasses import MISSING, fields
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator import cli
from orchestrator.artifacts import PROTECTED_PATHS
from orchestrator.catalog import load_catalog
from orchestrator.codes import Code
from orchestrator.github.api.registration import APP_EVENTS, APP_PERMISSIONS
from orchestrator.github.triggers.command import Command, parse_command
from orchestrator.operator_config import Budgets, Limits, ModelOverride, _ConfigFile, parse_operator_config
from orchestrator.policy import EnforcementMode
from orchestrator.specs import parse_spec
from tests.contract.test_docs import ROOT, table

PAGES = ("install", "permissions", "costs", "governance", "operator", "troubleshooting")
TEXTS = {page: (ROOT / f"docs/{page}.md").read_text(encoding="utf-8") for page in PAGES}
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
PNG = b"\x89PNG\r\n\x1a\n"
LARGEST_BYTES = 150_000


def blocks(language: str) -> list[tuple[str, str]]:
    """Return the blocks of a language, each with its page."""
    return [(page, it[2]) for page, text in TEXTS.items() for it in BLOCK.finditer(text) if it[1] == language]


def word(cell: str) -> str:
    """Return what stands between the backticks of a table's cell."""
    return cell.strip("`")


# permissions


def test_the_permissions_page_has_exactly_the_permissions_and_events_of_the_manifest() -> None:
    rows = table(TEXTS["permissions"], "permission")
    assert {word(row[0]): row[1] for row in rows} == APP_PERMISSIONS
    assert [word(row[0]) for row in table(TEXTS["permissions"], "event")] == list(APP_EVENTS)
    assert all(row[2] and row[3] for row in rows)


def test_the_permissions_page_has_exactly_the_permissions_of_each_documented_job() -> None:
    asked = {
        (f"`{path.name}` `{job}`", name, access)
        for path in sorted((ROOT / "docs/workflows").glob("*.yml"))
        for job, said in yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].items()
        for name, access in said["permissions"].items()
    }
    rows = table(TEXTS["permissions"], "workflow and job")
    assert {(row[0], word(row[1]), row[2]) for row in rows} == asked
    assert all(row[3] and row[4] for row in rows)


# the operator's file


def names(form: Any) -> list[str]:
    """Return the keys of a form, in its order."""
    return [it.name for it in fields(form)]


def test_the_operators_page_lists_every_key_of_the_file() -> None:
    assert [word(row[0]) for row in table(TEXTS["operator"], "key")] == names(_ConfigFile)


@pytest.mark.parametrize(
    ("head", "form"), [("budget key", Budgets), ("limit key", Limits), ("model key", ModelOverride)]
)
def test_the_operators_page_lists_every_key_below_them(head: str, form: Any) -> None:
    assert [word(row[0]) for row in table(TEXTS["operator"], head)] == names(form)


def test_the_operators_page_says_what_holds_without_the_file() -> None:
    plain = {
        it.name: yaml.safe_dump(it.default).splitlines()[0]
        for it in fields(_ConfigFile)
        if it.default is not MISSING and isinstance(it.default, bool | int | str)
    }
    documented = {word(row[0]): word(row[2]) for row in table(TEXTS["operator"], "key")}
    assert {name: documented[name] for name in plain} == plain
    assert documented["per_repository"] == "runs_at_once: 3"
    assert parse_operator_config("{}", "config.yaml").per_repository == Limits(runs_at_once=3)


# what is quoted


@cache
def said() -> str:
    """Return every text of the code, one a line, with a NUL in the place of what differs."""
    lines: list[str] = []
    for folder in ("orchestrator", "bot", "action"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if "localhub" not in path.parts:
                lines += _texts(ast.parse(path.read_text(encoding="utf-8")))
    return "\n".join(lines)


def _texts(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value.replace("\n", " ")
        elif isinstance(node, ast.JoinedStr):
            parts = [it.value if isinstance(it, ast.Constant) else "\0" for it in node.values]
            yield "".join(str(part) for part in parts).replace("\n", " ")


HEADINGS = [it[1].strip() for it in re.findall(r"^### (`+)(.*)\1$", TEXTS["troubleshooting"], re.MULTILINE)]


@pytest.mark.parametrize("message", HEADINGS)
def test_every_message_that_troubleshooting_quotes_is_one_of_the_codes(message: str) -> None:
    if message in {code.value for code in Code}:
        return
    pieces = [re.escape(piece) for piece in message.split("…")]
    assert re.search("[^\n]*".join(pieces), said()), message


def test_troubleshooting_has_a_section_for_each_of_at_least_twenty_messages() -> None:
    assert len(HEADINGS) == len(set(HEADINGS)) >= 20
    sections = re.split(r"^#+ .*$", TEXTS["troubleshooting"], flags=re.MULTILINE)[1:]
    assert [it for it in sections[-len(HEADINGS) :] if len(it.strip()) < 20 and it.strip()] == []


@pytest.mark.parametrize("page", PAGES)
def test_a_code_that_a_page_names_is_published(page: str) -> None:
    named = re.findall(r"\bcodes? `([a-z_]+)`", TEXTS[page])
    assert [it for it in named if it not in {code.value for code in Code}] == []


def test_governance_lists_the_paths_that_are_never_written() -> None:
    _, _, section = TEXTS["governance"].partition("## Protected paths")
    listed, _, _ = section.partition("A repository adds its own")
    assert tuple(re.findall(r"`([^`]+)`", listed)) == PROTECTED_PATHS


def test_governance_explains_every_mode_of_a_policy() -> None:
    assert [word(row[0]) for row in table(TEXTS["governance"], "mode")] == [it.value for it in EnforcementMode]


# what can be copied


YAML = blocks("yaml")


@pytest.mark.parametrize(("page", "text"), YAML, ids=[f"{page}-{n}" for n, (page, _) in enumerate(YAML)])
def test_every_yaml_of_the_pages_is_read_by_what_it_is_for(page: str, text: str) -> None:
    file = text.partition("\n")[0].removeprefix("# ")
    if file == ".orchestrator.yaml":
        assert parse_spec(text, file, require_project=False) != parse_spec("", file, require_project=False)
    else:
        assert file == "config.yaml", f"{page}: a block says on its first line which file it is"
        config = parse_operator_config(text, file)
        assert config != parse_operator_config("{}", file)
        assert load_catalog(config.model_overrides()).models


def test_the_quotas_of_the_costs_page_are_those_that_it_tells_of() -> None:
    (text,) = [text for page, text in YAML if page == "costs" and text.startswith("# config.yaml")]
    config = parse_operator_config(text, "config.yaml")
    noon = 1_795_608_000.0  # 2026-11-25 12:00 UTC
    assert [(it.scope, it.name, it.period, it.usd) for it in config.quotas("maria", "octo/monorepo", noon)] == [
        ("user", "maria", "2026-11-25", 20.0),
        ("user", "maria", "2026-11", 200.0),
        ("repository", "octo/monorepo", "2026-11-25", 100.0),
        ("account", "octo", "2026-11", 3000.0),
    ]


def test_every_comment_that_the_pages_show_is_a_command() -> None:
    shown = [parse_command(text.strip()) for _, text in blocks("text")]
    assert shown == [Command("plan"), Command("resume", budget_usd=10.0)]


def test_every_shell_line_of_the_pages_starts_what_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    variables = {word(it) for row in table(README, "variable") for it in re.findall(r"`[A-Z_]+`", row[0])}
    lines = [line.strip() for _, text in blocks("sh") for line in text.splitlines() if line.strip()]
    unknown = [
        line
        for line in lines
        if not (
            (line.startswith("make ") and f"\n{line.split()[1]}:" in makefile)
            or (line.startswith("export ") and line.split()[1].partition("=")[0] in variables)
            or line.startswith(("pip install .", "docker build -t orchestrator-bot", "docker run --read-only "))
            or (line.startswith("python -m ") and (ROOT / line.split()[2] / "__main__.py").is_file())
        )
    ]
    assert unknown == []
    given = [shlex.split(line)[3:] for line in lines if line.startswith("python -m orchestrator ")]
    (read,) = [cli._parser().parse_args(flags) for flags in given]
    assert (read.offline, read.criteria) == (True, "pytest passes")


def test_the_buttons_that_installing_names_are_on_the_pages() -> None:
    pages = (ROOT / "bot/dashboard/templates/setup.html", ROOT / "bot/dashboard/templates/registered.html")
    shown = "".join(path.read_text(encoding="utf-8") for path in pages)
    named = ("Register for my account", "Install it on repositories")
    assert [it for it in named if f"{it}</" not in shown or f'"{it}"' not in TEXTS["install"]] == []


# links and pictures


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", [*(f"docs/{page}.md" for page in PAGES), "README.md"])
def test_every_link_of_the_pages_leads_to_a_file_and_a_heading_that_are_there(page: str) -> None:
    path = ROOT / page
    lost = []
    for target in re.findall(r"\]\(([^)]+)\)", path.read_text(encoding="utf-8")):
        file, _, anchor = target.partition("#")
        if "://" in target:
            continue
        found = (path.parent / file) if file else path
        if not found.exists() or (anchor and anchor not in anchors(found)):
            lost.append(target)
    assert lost == []


def test_every_picture_is_shown_with_a_text_and_small() -> None:
    pictures = sorted((ROOT / "docs/images").glob("*.png"))
    shown = [
        (Path(target).name, alt)
        for text in (README, *TEXTS.values())
        for alt, target in re.findall(r"!\[([^\]]*)\]\(([^)]+\.png)\)", text)
    ]
    assert {name for name, _ in shown} == {path.name for path in pictures}
    assert [name for name, alt in shown if len(alt) < 20] == []
    for path in pictures:
        assert path.read_bytes().startswith(PNG)
        assert path.stat().st_size <= LARGEST_BYTES, path.name
