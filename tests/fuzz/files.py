"""Targets for files: specs, policies, paths, edits of a model and the bundle between the Action's two halves."""

from __future__ import annotations

import json
import os
import tempfile
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from orchestrator.artifacts import WriteRules, apply_reply, check_changes, check_path
from orchestrator.catalog import Catalog, load_catalog
from orchestrator.errors import ChangeError, SpecError
from orchestrator.github.rendering.sanitize import Redactor
from orchestrator.github.stories.bundle import Bundle, BundleError, read_bundle, write_bundle
from orchestrator.limits import MAX_FILE_BYTES, MAX_FILES, MAX_PATH_BYTES
from orchestrator.policy_dsl import PolicyAnalyzer
from orchestrator.policy_files import parse_policy_file
from orchestrator.specs import from_json, parse_spec, to_json
from orchestrator.wire import ChangesReply, UnreadableAnswer, parse
from tests.fuzz.target import text_of

MAX_FINDINGS = 51
MAX_REFUSAL_CHARACTERS = 200_000


def spec(data: bytes) -> None:
    """A spec file is a job that survives its way through the store, or findings at places in the file."""
    text = text_of(data)
    try:
        job = parse_spec(text, require_project=False)
    except SpecError as error:
        _check_findings(error, text)
        return
    kept = json.loads(json.dumps(to_json(job), allow_nan=False))
    assert from_json(kept) == job
    assert 0 <= job.budget.max_usd <= 1e9
    assert 0 < job.budget.max_time_seconds <= 1e9


def policy(data: bytes) -> None:
    """A policy file is policies that can be analysed, or findings at places in the file."""
    text = text_of(data)
    for path in ("policies.yaml", "policies.json"):
        try:
            found = parse_policy_file(text, path)
        except SpecError as error:
            _check_findings(error, text)
            continue
        report = PolicyAnalyzer().analyze(found.policies_for(), catalog=_catalog())
        assert all(str(finding) for finding in report.findings)


@cache
def _catalog() -> Catalog:
    return load_catalog()


def _check_findings(error: SpecError, text: str) -> None:
    lines = text.count("\n") + text.count("\r") + text.count("\x85") + text.count("\u2028") + text.count("\u2029") + 1
    assert 0 < len(error.findings) <= MAX_FINDINGS
    assert all(1 <= finding.line <= lines + 1 and finding.column >= 1 for finding in error.findings)
    assert all(finding.message for finding in error.findings)
    assert len(str(error)) <= MAX_REFUSAL_CHARACTERS


def path(data: bytes) -> None:
    """A path that is let through stands below any folder, on every system, and is nobody's repository."""
    given = text_of(data)
    try:
        checked = check_path(given)
    except ChangeError as error:
        assert len(error.message) <= 2000
        return
    assert checked == given
    assert os.path.normpath(os.path.join("/r", checked)) == f"/r/{checked}"
    assert len(checked.encode()) <= MAX_PATH_BYTES
    assert unicodedata.normalize("NFC", checked) == checked
    assert not any(ord(letter) < 32 or letter in '\\<>:"|?*\x7f' for letter in checked)
    for part in checked.split("/"):
        assert part[0] not in "~-"
        assert unicodedata.normalize("NFKC", part).casefold().rstrip(". ") != ".git"


@dataclass(frozen=True)
class Files:
    """A tree in memory."""

    content: Mapping[str, bytes]

    def read(self, path: str) -> bytes | None:
        return self.content.get(path)

    def occupied(self, path: str) -> bool:
        return path in self.content

    def is_folder(self, path: str) -> bool:
        return any(one.startswith(f"{path}/") for one in self.content)


TREE = Files(
    {
        "README.md": b"one <!-- hidden --> two\nthree\n",
        "src/app.py": b"import os\r\n\r\nx = 1\r\nx = 1\r\n",
        "data.bin": b"\xff\xfe",
        ".github/workflows/ci.yml": b"on: push\n",
    }
)


def edits(data: bytes) -> None:
    """An answer's changes keep to the paths that may be written and leave a tree that can exist, or are refused."""
    try:
        reply = parse(text_of(data), ChangesReply)
    except UnreadableAnswer:
        return
    rules = WriteRules(others=frozenset({"other.py"}))
    try:
        changes = apply_reply(reply, TREE, rules)
    except ChangeError as error:
        assert error.path is not None
        return
    assert len(changes) <= MAX_FILES
    after = {path: content for path, content in {**TREE.content, **changes}.items() if content is not None}
    for name, content in changes.items():
        assert check_path(name) == name
        assert name != "other.py"
        assert not name.casefold().startswith((".github/", ".orchestrator"))
        assert len(content or b"") <= MAX_FILE_BYTES
    for name in after:
        assert not any(other.startswith(f"{name}/") for other in after)
    touched = {path: content for path, content in changes.items() if content is not None or TREE.occupied(path)}
    check_changes(touched, TREE, rules)


def bundle(data: bytes) -> None:
    """A bundle is refused, or holds safe paths and bounded files, and is the same when written and read again."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "bundle.json").write_bytes(data)
        try:
            found = read_bundle(folder)
        except BundleError as error:
            assert error.hint
            return
        for name, content in found.changes.items():
            assert check_path(name) == name
            assert len(content or b"") <= MAX_FILE_BYTES
        assert _written_and_read(found, folder) == found


def _written_and_read(found: Bundle, folder: Path) -> Bundle:
    write_bundle(folder, found, Redactor())
    return read_bundle(folder)


SPEC_TOKENS = (
    *(
        "version: 1\n",
        "project:\n",
        "  title: a\n",
        "  description: b\n",
        "budget:\n",
        "  max_usd: ",
        "5.0\n",
        "policy:\n",
    ),
    *(
        "policies:\n",
        "- name: p\n",
        "  allowed_providers: [openai]\n",
        "github:\n",
        "  labels: []\n",
        "  staged: true\n",
    ),
    *(
        "context:\n",
        "  include: ['src/**']\n",
        "validation:\n",
        "  commands: ['make test']\n",
        "enabled: false\n",
        "x-a: 1\n",
    ),
    *(
        "project: text\n",
        "&a ",
        "*a",
        "<<: ",
        "? ",
        ": ",
        "{",
        "}",
        "[",
        "]",
        ", ",
        "'",
        '"',
        "|\n",
        "!!int ",
        "\t",
        "#\n",
    ),
    *(
        ".nan",
        "-.inf",
        "0x10",
        "1e400",
        "null",
        "~",
        "true",
        "---\n",
        "\\ud800",
        "\\U00110000",
        "%YAML 1.2\n",
        "\u2028",
        "\n",
    ),
)
POLICY_TOKENS = (
    *(
        "global:\n",
        "team:\n",
        "  eng:\n",
        "job:\n",
        "- name: p\n",
        "  allowed_providers: [openai]\n",
        "policies:\n",
        "policy:\n",
    ),
    *(
        "  blocked_models: ['gpt-*']\n",
        "  max_cost_per_task_usd: ",
        "0.5\n",
        "  enforcement_mode: soft\n",
        "glbal:\n",
        "{",
        "}",
    ),
    *(
        "  allowed_regions: [eu]\n",
        "  min_quality_score: 0.9\n",
        "  rate_limit: 3\n",
        "[",
        "]",
        '"',
        ":",
        ",",
        "*a",
        "&a ",
        "\n",
    ),
)
PATH_TOKENS = (
    *(
        "src",
        "/",
        "..",
        ".",
        "~",
        "-",
        ".git",
        ".GIT",
        ".g\u200cit",
        "git~1",
        "con",
        "nul.txt",
        "com1",
        "\\",
        ":",
        "\0",
        " ",
    ),
    *("a", "ü", "u\u0308", "\uff0egit", "\u212a", "*", "\ud800", "\n", "README.md", "x" * 210),
)
EDIT_TOKENS = (
    *(
        '{"files": [',
        '{"edits": [',
        '{"deletions": [',
        '{"renames": [',
        "]",
        "}",
        ", ",
        '"',
        '{"path": "README.md", ',
        "```",
    ),
    *(
        '"search": "one  two", "replace": "x"}',
        '"content": "x"}',
        '{"from": "README.md", "to": "docs/README.md"}',
        '"notes": ""',
    ),
    *(
        '"src/app.py"',
        '"src/app.py/x"',
        '"../x"',
        '".github/x"',
        '"other.py"',
        "\\r\\n",
        "\\ud800",
        '"search": "x = 1"',
    ),
    *('{"path": "new/x.py", "content": "1"}', '"deletions": ["data.bin"]', '"edits": []', "null", "1" * 5000),
)
BUNDLE_TOKENS = (
    *(
        '{"version": 1, ',
        '"run_id": "r-aaaaaaaaaaaaaaaa", ',
        '"request": "x", ',
        '"base_sha": "", ',
        '"failure": "x", ',
        "}",
    ),
    *(
        '"state": null, ',
        '"changes": {',
        '"a.py": "eA==", ',
        '"../x": null',
        '"a.py": null',
        "[",
        "]",
        "1e999",
        "NaN",
        "\\ud800",
    ),
    *("9" * 19, "-1", "true", '"', ",", ":", '"state": {', '"budget": {', '"a.py": "=="'),
)
