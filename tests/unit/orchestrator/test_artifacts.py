"""Generated paths stay inside every root; edits apply exactly once; nothing protected is written."""

from __future__ import annotations

import posixpath
import string
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from wcmatch import glob

from orchestrator.artifacts import (
    PROTECTED_IN_NEW_FOLDER,
    PROTECTED_PATHS,
    Protection,
    WriteRules,
    apply_reply,
    check_path,
    matches,
)
from orchestrator.errors import ChangeError
from orchestrator.limits import MAX_FILE_BYTES
from orchestrator.wire import ChangesReply, FileContent
from orchestrator.workspace import Workspace

FREE = WriteRules(Protection(()))


def tree(**files: str) -> Workspace:
    return Workspace(None, {name.replace("__", "/"): text.encode() for name, text in files.items()})


def at(**files: bytes) -> Workspace:
    return Workspace(None, {"a.py": b"one\n", **files})


def reply(**parts: object) -> ChangesReply:
    return ChangesReply.model_validate(parts)


def edit(search: str, replace: str = "", path: str = "a.py") -> ChangesReply:
    return reply(edits=[{"path": path, "search": search, "replace": replace}])


NASTY = st.text(alphabet=st.sampled_from('ab/.\\:~-gitGIT$ \u200b\u2024\uff0e\u00e9\u0301\0\n*?|<>"1'), max_size=24)


@given(st.one_of(NASTY, st.text(max_size=60)))
@example("..")
@example("a/../../b")
@example("C:b")
@example("\\\\server\\share")
@example("a//b")
@example("a/./b")
def test_what_is_accepted_stays_inside_every_root_by_the_rules_of_both_systems(path: str) -> None:
    try:
        accepted = check_path(path)
    except ChangeError:
        return
    joined = posixpath.normpath(posixpath.join("/root/project", accepted))
    assert joined == f"/root/project/{accepted}"
    windows = PureWindowsPath(accepted)
    assert (windows.drive, windows.root) == ("", "")
    assert windows.parts == PurePosixPath(accepted).parts
    assert ".git" not in {part.lower() for part in windows.parts}
    assert not any(character < " " for character in accepted)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "../up",
        "a/../b",
        "./a",
        "a/",
        "a//b",
        "a\\b",
        "C:/a",
        "c:a",
        "a\0b",
        "a\nb",
        "a\u202eb",
        "~/a",
        "a/~b",
        "-rf",
        "a/-b",
        "a?b",
        "a*b",
        'a"b',
        "a|b",
        "a<b",
        "a>b",
        "e\u0301",
        "trailing ",
        "trailing.",
        "a./b",
        ".git/config",
        ".GIT/config",
        "sub/.Git",
        "git~1/config",
        "GIT~1",
        "\uff0egit/config",
        "x" * 201,
        "x/" * 220 + "x",
        "\ud800",
        "nul",
        "a/CON.txt",
        "com1",
        "GITMOD~1",
    ],
)
def test_an_unsafe_path_is_refused(path: str) -> None:
    with pytest.raises(ChangeError):
        check_path(path)


@pytest.mark.parametrize(
    "path", ["a", "src/app/main.py", ".gitignore", ".github/workflows/x.yml", "émile.txt", "a b/c d.txt", "console.py"]
)
def test_an_ordinary_path_is_accepted_as_it_is(path: str) -> None:
    assert check_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        ".github/workflows/ci.yml",
        ".GitHub/x",
        ".orchestrator.yaml",
        ".orchestrator/report.json",
        ".gitmodules",
        "sub/.gitmodules",
        ".gitattributes",
        "CODEOWNERS",
        "docs/CODEOWNERS",
        "CLAUDE.md",
        "deep/er/claude.md",
        "AGENTS.md",
        ".claude/settings.json",
        "sub/.cursor/rules",
        ".cursorrules",
        "sub/.mcp.json",
        "GEMINI.md",
        ".gemini/settings.json",
        ".windsurfrules",
        ".clinerules",
        ".clinerules/a.md",
        ".devcontainer/devcontainer.json",
        ".idea/workspace.xml",
        "CLAUDE.local.md",
        ".vscode/tasks.json",
        ".husky/pre-commit",
        ".npmrc",
        "web/.npmrc",
        ".envrc",
    ],
)
@pytest.mark.parametrize("how", ["files", "edits", "deletions", "from", "to"])
def test_sec_17_a_protected_path_is_never_written_in_a_repository(path: str, how: str) -> None:
    # given
    answers = {
        "files": reply(files=[{"path": path, "content": "x"}]),
        "edits": edit("x", "y", path),
        "deletions": reply(deletions=[path]),
        "from": reply(renames=[{"from": path, "to": "b"}]),
        "to": reply(renames=[{"from": "a.py", "to": path}]),
    }
    # when, then
    with pytest.raises(ChangeError, match="protected"):
        apply_reply(answers[how], Workspace(None, {path: b"x", "a.py": b"one\n"}), WriteRules())


def test_sec_17_in_a_new_folder_only_git_and_our_own_folder_are_protected() -> None:
    rules = WriteRules(Protection(PROTECTED_IN_NEW_FOLDER))
    assert rules.check(".github/workflows/ci.yml") == ".github/workflows/ci.yml"
    assert rules.check("CLAUDE.md") == "CLAUDE.md"
    for path in (".git/hooks/post-commit", ".orchestrator/report.json"):
        with pytest.raises(ChangeError):
            rules.check(path)


@pytest.mark.parametrize(
    ("path", "protected"),
    [
        ("AGENTS.md", False),
        ("docs/agents.md", False),
        (".github/CODEOWNERS", False),
        ("CLAUDE.md", True),
        (".github/workflows/ci.yml", True),
        (".GitHub/Workflows/deep/ci.yml", True),
        ("infra/AGENTS.md", True),
        ("docs/guide.md", False),
    ],
)
def test_sec_17_an_exception_opens_what_it_names_but_no_workflow_and_nothing_that_the_spec_protects(
    path: str, *, protected: bool
) -> None:
    protection = Protection(own=("infra/**",), exceptions=("**/AGENTS.md", ".github/**", "infra/**"))
    assert protection.covers(path) is protected


def test_sec_17_no_exception_opens_git_itself() -> None:
    with pytest.raises(ChangeError, match=r"nothing is written into \.git"):
        WriteRules(Protection(exceptions=("**", ".git/**"))).check(".git/config")


_PATHS = st.lists(
    st.sampled_from([".github", "workflows", "infra", ".claude", "docs", "AGENTS.md", "CLAUDE.md", ".npmrc", "ci.yml"]),
    min_size=1, max_size=4,
).map("/".join)  # fmt: skip
_GLOBS = st.lists(
    st.sampled_from(["**", "**/*", ".github/**", ".github/workflows/**", "**/AGENTS.md", "infra/**", "**/.claude/**"]),
    max_size=3,
).map(tuple)  # fmt: skip


@given(_PATHS, _GLOBS, _GLOBS)
def test_sec_17_exceptions_only_ever_open_built_in_paths_that_they_name(
    path: str, own: tuple[str, ...], exceptions: tuple[str, ...]
) -> None:
    opened = Protection(own=own, exceptions=exceptions).covers(path)
    closed = Protection(own=own).covers(path)
    workflow = path.startswith(".github/workflows/")
    assert closed >= opened
    assert opened or not workflow
    assert opened or not Protection((), own).covers(path)
    assert opened == closed or Protection(exceptions).covers(path)
    assert Protection(PROTECTED_PATHS, exceptions=("**",)).covers(path) == workflow


@pytest.mark.parametrize("how", ["files", "edits", "deletions", "from", "to"])
def test_sec_18_an_unsafe_path_is_refused_wherever_an_answer_names_one(how: str) -> None:
    path = "../outside"
    answers = {
        "files": reply(files=[{"path": path, "content": "x"}]),
        "edits": edit("x", "y", path),
        "deletions": reply(deletions=[path]),
        "from": reply(renames=[{"from": path, "to": "b"}]),
        "to": reply(renames=[{"from": "a.py", "to": path}]),
    }
    with pytest.raises(ChangeError):
        apply_reply(answers[how], at(), FREE)


def test_an_edit_replaces_text_that_stands_exactly_once() -> None:
    changes = apply_reply(edit("two", "2"), tree(**{"a.py": "one\ntwo\nthree\n"}), FREE)
    assert changes == {"a.py": b"one\n2\nthree\n"}


@pytest.mark.parametrize(("text", "search", "count"), [("x\nx\n", "x", 2), ("aaa", "aa", 2), ("abc", "", 0)])
def test_an_edit_whose_text_stands_more_or_less_often_is_refused(text: str, search: str, count: int) -> None:
    with pytest.raises(ChangeError, match=f"stands {count} times"):
        apply_reply(edit(search, "y"), tree(**{"a.py": text}), FREE)


def test_a_searched_text_that_repeats_itself_is_told_apart_without_comparing_it_everywhere() -> None:
    with pytest.raises(ChangeError, match="stands 0 times"):
        apply_reply(edit("a" * 80_000 + "b", "y"), tree(**{"a.py": "a" * 200_000}), FREE)
    with pytest.raises(ChangeError, match="stands 20 times"):
        apply_reply(edit("a" * 80_000, "y"), tree(**{"a.py": "a" * 200_000}), FREE)


def test_the_nearest_of_long_lines_is_found_by_their_begins() -> None:
    letters = "".join(chr(0x4E00 + number % 150) for number in range(50_000))
    with pytest.raises(ChangeError, match="The nearest text in the file is:\nx = 1"):
        apply_reply(edit(f"x = 1{letters}z", "y"), tree(**{"a.py": f"{letters}\nx = 1{letters}\n"}), FREE)


def test_an_edit_that_does_not_apply_names_the_nearest_text() -> None:
    # given
    file = "def first():\n    pass\n\n\ndef add(left, right):\n    return left + right\n"
    # when
    with pytest.raises(ChangeError) as caught:
        apply_reply(edit("def add(left, rigth):\n    return left + right"), tree(**{"a.py": file}), FREE)
    # then
    assert "The nearest text in the file is:\ndef add(left, right):\n    return left + right" in caught.value.message


def test_an_edit_of_a_file_that_is_missing_or_no_text_is_refused() -> None:
    with pytest.raises(ChangeError, match="no such file"):
        apply_reply(edit("x", path="b.py"), at(), FREE)
    with pytest.raises(ChangeError, match="not UTF-8"):
        apply_reply(edit("x", path="b"), at(b=b"\xff\xfe"), FREE)


@given(st.text(max_size=30), st.text(alphabet="ab", max_size=30), st.text(alphabet="ab", min_size=1, max_size=4))
def test_an_edit_changes_only_what_was_searched(replacement: str, text: str, search: str) -> None:
    # given
    places = [index for index in range(len(text)) if text.startswith(search, index)]
    # when
    try:
        changes = apply_reply(edit(search, replacement), tree(**{"a.py": text}), FREE)
    except ChangeError:
        # then
        assert len(places) != 1
        return
    assert len(places) == 1
    expected = text[: places[0]] + replacement + text[places[0] + len(search) :]
    assert changes == {"a.py": expected.encode("utf-8", "replace")}


def test_an_answer_can_move_a_file_and_edit_it() -> None:
    answer = reply(
        renames=[{"from": "a.py", "to": "b.py"}], edits=[{"path": "b.py", "search": "one", "replace": "two"}]
    )
    assert apply_reply(answer, at(), FREE) == {"a.py": None, "b.py": b"two\n"}


def test_a_rename_neither_replaces_a_file_nor_invents_one() -> None:
    with pytest.raises(ChangeError, match="stands there already"):
        apply_reply(reply(renames=[{"from": "a.py", "to": "b.py"}]), at(**{"b.py": b""}), FREE)
    with pytest.raises(ChangeError, match="no such file to rename"):
        apply_reply(reply(renames=[{"from": "c.py", "to": "b.py"}]), at(), FREE)


def test_a_deletion_names_a_file_that_exists() -> None:
    assert apply_reply(reply(deletions=["a.py"]), at(), FREE) == {"a.py": None}
    with pytest.raises(ChangeError, match="no such file to delete"):
        apply_reply(reply(deletions=["a.py", "a.py"]), at(), FREE)


def test_a_file_is_no_folder_and_a_folder_is_no_file() -> None:
    with pytest.raises(ChangeError, match=r"a\.py is a file"):
        apply_reply(reply(files=[{"path": "a.py/b", "content": ""}]), at(), FREE)
    with pytest.raises(ChangeError, match="folder"):
        apply_reply(reply(files=[{"path": "src", "content": ""}]), at(**{"src/x": b""}), FREE)
    answer = reply(files=[{"path": "n", "content": ""}, {"path": "n/m", "content": ""}])
    with pytest.raises(ChangeError, match="is a file"):
        apply_reply(answer, at(), FREE)


def test_a_file_may_become_a_folder_when_it_is_deleted_in_the_same_answer() -> None:
    answer = reply(deletions=["a.py"], files=[{"path": "a.py/b", "content": "x"}])
    assert apply_reply(answer, at(), FREE) == {"a.py": None, "a.py/b": b"x"}


def test_the_files_of_other_tasks_and_of_the_user_are_not_written() -> None:
    rules = WriteRules(others=frozenset({"b.py"}), foreign=frozenset({"notes", "docs/plan.md"}))
    with pytest.raises(ChangeError, match="belongs to another task"):
        rules.check("b.py")
    with pytest.raises(ChangeError, match="file of the user"):
        rules.check("docs/plan.md")
    with pytest.raises(ChangeError, match="file of the user"):
        rules.check("notes/new.md")
    with pytest.raises(ChangeError, match="file of the user"):
        rules.check("docs")


def test_an_edit_quotes_what_was_shown_and_keeps_what_is_hidden_around_it() -> None:
    # given: a comment and a zero-width space that no model is shown
    page = at(**{"a.md": "<!-- build: on -->\n# Ti\u200btle\nText.\n".encode()})
    # when
    changed = apply_reply(edit("# Title", "# Name", "a.md"), page, FREE)
    # then
    assert changed == {"a.md": b"<!-- build: on -->\n# Name\nText.\n"}


def test_an_edit_of_a_file_with_windows_line_ends_keeps_them() -> None:
    changed = apply_reply(edit("b\nc", "B\nC\nD", "w.py"), at(**{"w.py": b"a\r\nb\r\nc\r\n"}), FREE)
    assert changed == {"w.py": b"a\r\nB\r\nC\r\nD\r\n"}


def test_files_sizes_and_the_sum_of_an_answer_are_capped_again_where_they_take_effect() -> None:
    # given: an answer that was never parsed, and a file that only an edit makes too large
    def unparsed(*named: tuple[str, str]) -> ChangesReply:
        return ChangesReply.model_construct(
            files=[FileContent.model_construct(path=path, content=content) for path, content in named]
        )

    full = "x" * MAX_FILE_BYTES
    # then
    with pytest.raises(ChangeError, match=r"at most 200 files, not 201"):
        apply_reply(unparsed(*((f"f{number}", "") for number in range(201))), at(), FREE)
    with pytest.raises(ChangeError, match=r"at most 1048576 bytes, not 1048577"):
        apply_reply(unparsed(("big", full + "x")), at(), FREE)
    with pytest.raises(ChangeError, match="an answer holds at most"):
        apply_reply(unparsed(*((f"f{number}", full) for number in range(11))), at(), FREE)
    grown = reply(edits=[{"path": "near", "search": "y", "replace": "zz"}])
    with pytest.raises(ChangeError, match=r"at most 1048576 bytes, not 1048577"):
        apply_reply(grown, at(near=b"x" * (MAX_FILE_BYTES - 1) + b"y"), FREE)


def test_nothing_is_left_of_an_answer_of_which_one_part_cannot_be_applied() -> None:
    workspace = at()
    with pytest.raises(ChangeError):
        apply_reply(reply(files=[{"path": "ok", "content": "x"}], deletions=["missing"]), workspace, FREE)
    assert workspace.accepted == {"a.py": b"one\n"}


@given(st.lists(st.text(alphabet=string.ascii_lowercase + "/", min_size=1, max_size=6), max_size=6))
def test_changes_never_hold_a_file_and_something_below_it(paths: list[str]) -> None:
    try:
        changes = apply_reply(reply(files=[{"path": path, "content": "x"} for path in paths]), Workspace(None), FREE)
    except ChangeError:
        return
    for path in changes:
        assert not any(other.startswith(f"{path}/") for other in changes)


_PARTS = ["a", "b", "*", "**", "?", "a*", "*.c", ".x", ".*", "[ab]", "[!a]", "***", "**a"]


@given(
    st.lists(st.sampled_from(_PARTS), min_size=1, max_size=4),
    st.lists(st.sampled_from(["a", "b", "ab", "A", "q.c", ".x"]), min_size=1, max_size=4),
)
@example(["a", "**"], ["a"])
@example(["**"], ["a"])
def test_a_glob_matches_what_wcmatch_says_that_it_does(parts: list[str], components: list[str]) -> None:
    pattern, path = "/".join(parts), "/".join(components)
    flags = glob.GLOBSTAR | glob.DOTGLOB | glob.IGNORECASE
    assert matches(path, (pattern,)) is glob.globmatch(path, [pattern], flags=flags)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [("**/a/" * 30 + "b", "a/" * 199 + "a"), ("*a" * 90 + "b", "a" * 200), ("**/*a*/" * 25 + "b", "aa/" * 130 + "a")],
)
def test_a_glob_that_nearly_matches_is_decided_at_once(pattern: str, path: str) -> None:
    assert not matches(path, (pattern,))
    assert matches(f"{path[:-1]}b", (pattern,))
