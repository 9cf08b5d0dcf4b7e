"""Records of architecture: where a repository keeps them, in which style, and when a change is worth one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.artifacts import check_path
from orchestrator.records import Folder, adr, due, is_record, record, record_folder
from orchestrator.state import ArchitectureDecision, Task, TaskType
from orchestrator.workspace import Workspace

DECISION = ArchitectureDecision("layered", "monolith", "graphql", "relational", "One service is enough.")
CREATED = 1_795_647_308.1  # 2026-11-25 UTC
NYGARD = "# 7. Use PostgreSQL\n\nDate: 2024-05-01\n\n## Status\n\nAccepted\n\n## Context\n\nWe need a database.\n"
MADR = "---\nstatus: accepted\n---\n\n# Use Kafka\n\n## Context and Problem Statement\n\nEvents.\n"


def repository(tmp_path: Path, files: dict[str, str]) -> Workspace:
    for path, content in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(content)
    return Workspace(tmp_path)


def task(name: str, *files: str) -> Task:
    return Task(name, name, TaskType.CODE_GENERATION, "Write it", (), files)


TWO = (task("a", "api/schema.py"), task("b", "api/resolvers.py"))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("docs/adr/0007-use-postgresql.md", "docs/adr/0008-architecture-of-orders.md"),
        ("doc/adr/007_use_postgresql.md", "doc/adr/008_architecture_of_orders.md"),
        ("docs/decisions/ADR-12-use-postgresql.md", "docs/decisions/ADR-13-architecture-of-orders.md"),
        ("docs/architecture/decisions/9-db.md", "docs/architecture/decisions/10-architecture-of-orders.md"),
        ("adr/0099-db.md", "adr/0100-architecture-of-orders.md"),
    ],
)
def test_an_existing_folder_gets_the_next_free_number_in_its_own_style(
    tmp_path: Path, path: str, expected: str
) -> None:
    files = repository(tmp_path, {path: NYGARD, "src/app.py": "", "docs/adr/template.md": "", "docs/adr/README.md": ""})
    folder = record_folder(files)
    assert folder is not None
    assert list(record(files, folder, DECISION, "Orders", CREATED)) == [expected]


def test_a_folder_that_adr_tools_names_is_used_even_when_it_is_empty(tmp_path: Path) -> None:
    files = repository(tmp_path, {".adr-dir": "./notes/decisions/\n", "docs/adr/0001-x.md": NYGARD, "app.py": ""})
    folder = record_folder(files)
    assert folder == Folder("notes/decisions")
    assert list(record(files, folder, DECISION, "Orders", CREATED)) == [
        "notes/decisions/0001-architecture-of-orders.md"
    ]


@pytest.mark.parametrize("pointer", ["../outside", "/etc", ".git/hooks", "a\\b", ""])
def test_sec_18_a_pointer_that_leads_out_of_the_repository_names_no_folder(tmp_path: Path, pointer: str) -> None:
    assert record_folder(repository(tmp_path, {".adr-dir": pointer, "app.py": ""})) is None


def test_a_repository_without_records_has_no_folder_for_them(tmp_path: Path) -> None:
    assert record_folder(repository(tmp_path, {"app.py": "", "docs/adr/README.md": "Ours will stand here."})) is None


def test_a_record_is_like_its_neighbours(tmp_path: Path) -> None:
    files = repository(tmp_path, {"docs/adr/0007-db.md": NYGARD, "docs/decisions/0003-kafka.md": MADR})
    (dated,) = record(files, Folder("docs/adr", ("0007-db.md",)), DECISION, "Orders", CREATED).values()
    (madr,) = record(files, Folder("docs/decisions", ("0003-kafka.md",)), DECISION, "Orders", CREATED).values()
    assert dated.startswith(b"# 8. Architecture of Orders\n\nDate: 2026-11-25\n\n## Status\n\nAccepted\n")
    assert madr.startswith(
        b"---\nstatus: accepted\ndate: 2026-11-25\n---\n\n# Architecture of Orders\n\n## Context and "
    )
    assert b"## Decision Outcome\n\n- Structural pattern: layered\n- Topology: monolith\n" in madr


def test_a_change_that_decides_nothing_gets_no_record(tmp_path: Path) -> None:
    said = adr(DECISION, "Earlier").replace("# 1.", "# 8.")
    files = repository(tmp_path, {"docs/adr/0007-db.md": NYGARD, "api/schema.py": "", "api/old.py": ""})
    folder = record_folder(files)
    assert folder is not None
    assert due(files, folder, DECISION, (task("a", "api/new.py"), task("b", "api/more.py")))
    assert not due(files, folder, DECISION, (task("a", "api/new.py"),))
    assert not due(files, folder, DECISION, (task("a", "api/schema.py"), task("b", "api/old.py")))
    assert not due(files, folder, DECISION, (*TWO, task("c", "docs/adr/0008-own.md"), task("d", "x.py")))
    files = repository(tmp_path, {"docs/adr/0008-earlier.md": said})
    folder = record_folder(files)
    assert folder == Folder("docs/adr", ("0007-db.md", "0008-earlier.md"))
    new = (task("a", "api/new.py"), task("b", "api/more.py"))
    assert not due(files, folder, DECISION, new)
    assert due(files, folder, replace(DECISION, api_paradigm="grpc"), new)


def test_our_record_is_told_from_one_that_a_task_or_a_person_wrote(tmp_path: Path) -> None:
    files = repository(tmp_path, {"docs/decisions/0003-kafka.md": MADR})
    folder = record_folder(files)
    assert folder is not None
    made: dict[str, bytes | None] = {"app.py": b"x", **record(files, folder, DECISION, "Orders", CREATED)}
    assert [path for path, content in made.items() if is_record(path, content)] == [
        "docs/decisions/0004-architecture-of-orders.md"
    ]
    assert not is_record("docs/decisions/0005-own.md", MADR.encode())
    assert not is_record("docs/decisions/0005-own.md", None)
    assert not is_record("README.md", adr(DECISION, "Orders").encode())


@given(title=st.text(max_size=80))
def test_whatever_the_title_the_path_may_be_written_and_the_record_is_known_again(title: str) -> None:
    ((path, content),) = record(Workspace(None), Folder("docs/adr"), DECISION, title or "x", CREATED).items()
    assert check_path(path) == path
    assert is_record(path, content) or not title.strip()
