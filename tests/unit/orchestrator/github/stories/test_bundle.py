from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import ChangeError
from orchestrator.github.rendering.report import report_comment
from orchestrator.github.rendering.sanitize import Redactor
from orchestrator.github.rendering.status import status_comment
from orchestrator.github.rendering.summaries import check_runs
from orchestrator.github.stories.bundle import Bundle, BundleError, read_bundle, request_of, write_bundle
from orchestrator.github.triggers.command import Command
from orchestrator.github.triggers.trigger import Trigger
from orchestrator.report import report
from orchestrator.state import ProjectState
from tests.unit.orchestrator.github import states

SHA = "1234567890" * 4
RUN = "r-aaaaaaaaaaaaaaaa"
TRIGGER = Trigger.for_workflow(
    repository="octo/demo", repository_id=7, default_branch="main", private=False, actor="maria", source="x", title="T"
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def _bundle(state: ProjectState | None = None, **changes: bytes | None) -> Bundle:
    return Bundle(
        RUN, "f" * 64, SHA, state or states.completed(), changes or {"limiter.py": b"x = 1\n", "old.py": None}
    )


def _written(folder: Path) -> dict[str, Any]:
    write_bundle(folder, _bundle(), Redactor())
    loaded: dict[str, Any] = json.loads((folder / "bundle.json").read_text())
    return loaded


def test_what_is_written_is_read_back_whole(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle", _bundle(), Redactor())
    assert read_bundle(tmp_path / "bundle") == _bundle()


@pytest.mark.parametrize("note", ["-----BEGIN PRIVATE KEY-----\nnever closed", 'the word pä"sswörd stands here'])
def test_sec_31_a_secret_in_one_text_of_a_bundle_leaves_the_others(tmp_path: Path, note: str) -> None:
    state = replace(states.completed(), notes=(note, "another note"))
    write_bundle(tmp_path, _bundle(state), Redactor(['pä"sswörd']))
    found = read_bundle(tmp_path).state
    assert found is not None
    assert "[redacted]" in found.notes[0]
    assert found.notes[1] == "another note"


def test_sec_31_a_bundle_carries_no_secret_in_its_texts(tmp_path: Path) -> None:
    state = replace(states.completed(), notes=("the key is sk-0123456789-secret",))
    path = write_bundle(tmp_path, _bundle(state), Redactor(["sk-0123456789-secret"]))
    assert "sk-0123456789-secret" not in path.read_text()
    found = read_bundle(tmp_path).state
    assert found is not None
    assert found.notes == ("the key is [redacted]",)


def test_a_bundle_that_would_be_too_large_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="changed 2001 files; at most 2000"):
        write_bundle(tmp_path, replace(_bundle(), changes={f"f{n}": b"" for n in range(2001)}), Redactor())
    with pytest.raises(BundleError, match="too large for a bundle of 50331648 bytes"):
        write_bundle(tmp_path, replace(_bundle(), changes={f"f{n}": b"x" * 2**20 for n in range(37)}), Redactor())


def test_a_request_is_another_one_for_another_repository_issue_comment_or_option() -> None:
    asked = request_of(TRIGGER, Command("run"))
    assert request_of(replace(TRIGGER, delivery_id="again"), Command("run")) == asked
    others = [
        request_of(replace(TRIGGER, repository="octo/other"), Command("run")),
        request_of(replace(TRIGGER, issue=7), Command("run")),
        request_of(replace(TRIGGER, comment="/orchestrate"), Command("run")),
        request_of(replace(TRIGGER, actor="mallory"), Command("run")),
        request_of(TRIGGER, Command("run", base="other")),
    ]
    assert len({asked, *others}) == 6


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda it: it.update(version=2), "of another version"),
        (lambda it: it.update(run_id="r-bbbbbbbbbbbbbbbb"), "another run's"),
        (lambda it: it.update(run_id="../x"), "names no run"),
        (lambda it: it.update(base_sha="main"), "its base is no commit"),
        (lambda it: it.update(request=7), "request is no text"),
        (lambda it: it.update(state=None), "neither a state nor the reason"),
        (lambda it: it["state"].update(more=1), "lacks fields"),
        (lambda it: it["state"].pop("tasks"), "lacks fields"),
        (lambda it: it["state"].update(status="wonderful"), "not as we write it"),
        (lambda it: it["state"].update(title="\ud800"), "not JSON as we write it"),
        (lambda it: it["state"]["budget"].update(max_usd=float("inf")), "not JSON as we write it"),
        (lambda it: it["state"]["budget"].update(spent=10**30), "not JSON as we write it"),
        (lambda it: it["state"].update(budget=None), "not as we write it"),
        (lambda it: it.update(changes=[]), "no list of at most 2000"),
        (lambda it: it.update(changes={f"f{n}": None for n in range(2001)}), "no list of at most 2000"),
        (lambda it: it["changes"].update(a="%"), "content of a is not"),
        (lambda it: it["changes"].update(a=7), "content of a is not"),
        (lambda it: it["changes"].update(a="A" * 4 * 2**20), "a is larger than 1048576 bytes"),
    ],
)
def test_a_bundle_that_is_not_as_we_write_it_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], says: str
) -> None:
    content = _written(tmp_path)
    change(content)
    (tmp_path / "bundle.json").write_text(json.dumps(content))
    with pytest.raises(BundleError, match=says):
        read_bundle(tmp_path)


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/.git/config", "a\\b", "~/x", "-x", "a/../b", "nul", ""])
def test_sec_18_a_bundle_with_a_path_that_is_never_written_is_refused(tmp_path: Path, path: str) -> None:
    content = _written(tmp_path)
    content["changes"][path] = ""
    (tmp_path / "bundle.json").write_text(json.dumps(content))
    with pytest.raises(BundleError, match="a path that is never written") as refused:
        read_bundle(tmp_path)
    assert isinstance(refused.value.__cause__, ChangeError)


@pytest.mark.parametrize("content", [b"", b"\xff", b"[" * 100_000, b"7", b'{"version": NaN}', b"1" * 5000])
def test_what_is_no_json_object_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bundle.json").write_bytes(content)
    with pytest.raises(BundleError, match="not JSON as we write it"):
        read_bundle(tmp_path)


def test_sec_18_a_bundle_that_is_a_link_a_pipe_a_folder_or_missing_is_refused(tmp_path: Path) -> None:
    _written(tmp_path / "real")
    for name in ("link", "pipe", "folder", "missing"):
        (tmp_path / name).mkdir()
    (tmp_path / "link" / "bundle.json").symlink_to(tmp_path / "real" / "bundle.json")
    os.mkfifo(tmp_path / "pipe" / "bundle.json")
    (tmp_path / "folder" / "bundle.json").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "real")
    for name in ("link", "pipe", "folder"):
        with pytest.raises(BundleError, match="no plain file"):
            read_bundle(tmp_path / name)
    with pytest.raises(BundleError, match="folder is a link"):
        read_bundle(tmp_path / "linked")
    with pytest.raises(BundleError, match="There is no bundle in"):
        read_bundle(tmp_path / "missing")


def test_a_bundle_that_is_too_large_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    with (tmp_path / "bundle.json").open("wb") as file:
        file.truncate(48 * 1024 * 1024 + 1)
    with pytest.raises(BundleError, match="larger than 50331648 bytes"):
        read_bundle(tmp_path)


@given(field=st.sampled_from(sorted(ProjectState.__dataclass_fields__)), value=JSON)
def test_a_state_with_any_value_in_any_field_is_refused_or_can_be_told(
    tmp_path_factory: pytest.TempPathFactory, field: str, value: object
) -> None:
    folder = tmp_path_factory.mktemp("bundle")
    content = _written(folder)
    content["state"][field] = value
    (folder / "bundle.json").write_text(json.dumps(content))
    try:
        state = read_bundle(folder).state
    except BundleError:
        return
    assert state is not None
    assert status_comment(state)
    assert report_comment(state)
    assert check_runs(state)
    assert json.dumps(report(state), ensure_ascii=False).encode()
