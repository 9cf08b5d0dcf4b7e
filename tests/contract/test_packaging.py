"""What is installed is what lies here: `pip install .` from a plain copy brings every module and data file."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("orchestrator", "bot", "action")


def _files(root: Path) -> set[str]:
    return {
        path.relative_to(root).as_posix()
        for package in PACKAGES
        for path in (root / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.mark.slow
def test_an_installation_from_a_copy_without_git_brings_every_file_and_starts(tmp_path: Path) -> None:
    copy, installed = tmp_path / "copy", tmp_path / "installed"
    for name in PACKAGES:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    subprocess.run(
        [sys.executable, "-I", "-m", "pip", "install", "--quiet", "--no-deps", "--target", installed, copy],
        check=True, timeout=300, cwd=tmp_path,
    )  # fmt: skip
    assert _files(installed) == _files(ROOT)
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(installed)}
    said = subprocess.run(
        [installed / "bin" / "orchestrator", "--version"], env=environment, check=True, capture_output=True, text=True
    ).stdout
    assert said == "orchestrator 0.1.0\n"


def test_the_image_copies_what_the_bot_needs_and_nothing_else() -> None:
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = [
        line.split()[1]
        for line in (ROOT / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY") and "--from" not in line
    ]
    assert sorted(kept) == sorted(copied) == ["bot", "orchestrator", "requirements.txt"]


def test_sec_38_the_image_is_pinned_by_digest_and_runs_as_an_ordinary_user() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    bases = {line.split()[1].partition("@")[2] for line in lines if line.startswith("FROM")}
    (base,) = bases
    assert base.startswith("sha256:")
    assert len(base) == len("sha256:") + 64
    assert [line for line in lines if line.startswith("USER")] == ["USER 10001:10001"]


@pytest.mark.parametrize("name", ["Makefile", "Dockerfile", "action.yml", "docs/usage_guide.md"])
def test_the_locks_are_installed_without_a_resolver_which_a_newer_release_of_an_extra_would_stop(name: str) -> None:
    joined = (ROOT / name).read_text().replace("\\\n", " ")
    from_lock = [line for line in joined.splitlines() if re.search(r"pip install .*requirements(-dev)?\.txt", line)]
    assert from_lock
    assert all(" --no-deps " in line for line in from_lock)


def test_what_the_lock_installs_lacks_nothing() -> None:
    checked = subprocess.run([sys.executable, "-I", "-m", "pip", "check"], capture_output=True, text=True)
    assert checked.stdout == "No broken requirements found.\n"
