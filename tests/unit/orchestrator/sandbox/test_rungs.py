"""Which rung is chosen, what it says of itself, and what runs without isolation."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.errors import SandboxError
from orchestrator.sandbox import Limits, Rung, Sandbox, open_sandbox
from orchestrator.sandbox.sandbox import self_test
from tests.unit.orchestrator.sandbox.conftest import isolating


async def test_the_strongest_rung_that_passes_its_test_is_opened() -> None:
    sandbox = await open_sandbox()

    assert sandbox.rung == (*isolating(), Rung.LIMITS)[0]
    assert sandbox.isolated is (sandbox.rung is not Rung.LIMITS)


async def test_a_rung_that_works_can_be_forced(sandbox: Sandbox) -> None:
    forced = await open_sandbox(sandbox.rung)

    assert (forced.rung, forced.isolated, forced.runs_untrusted) == (sandbox.rung, True, True)
    assert "no network" in forced.description


async def test_the_self_test_sees_that_limits_alone_hold_nothing(tmp_path: Path) -> None:
    sandbox = Sandbox(Rung.LIMITS, allow_unisolated=True)
    probe = Path(sys.modules[self_test.__module__].__file__ or "").with_name("probe.py")
    canary = tmp_path / "canary"
    canary.write_text("x")
    question = f'{{"files": ["{canary}"], "port": 1, "abstract": "x", "environment": [], "filtered": true}}'
    argv = [sandbox.places(tmp_path).python, "-I", "-S", str(probe), question]

    finished = await sandbox.run(argv, workspace=tmp_path)

    assert f"it can read {canary}" in finished.output
    assert "no system call is refused" in finished.output


@pytest.mark.parametrize("rung", [Rung.BUBBLEWRAP, Rung.UNSHARE])
async def test_a_forced_rung_that_does_not_work_says_why_and_what_to_do(
    sandbox: Sandbox, workspace: Path, rung: Rung
) -> None:
    copy_of_ours(workspace)  # inside a sandbox there is no second one to be had
    argv = [sandbox.places(workspace).python, "program.py", rung]

    finished = await sandbox.run(argv, workspace=workspace)

    assert finished.output.splitlines()[0].startswith("The sandbox asked for does not work on this machine.")
    assert "Install bubblewrap" in finished.output


async def test_sec_21_without_isolation_nothing_but_static_checks_runs(tmp_path: Path) -> None:
    sandbox = await open_sandbox(Rung.LIMITS)

    with pytest.raises(SandboxError, match="does not run without isolation"):
        await sandbox.run(["/bin/true"], workspace=tmp_path)

    assert (sandbox.isolated, sandbox.runs_untrusted) == (False, False)
    assert (await sandbox.run(["/bin/true"], workspace=tmp_path, static=True)).status == 0


async def test_sec_21_with_the_operators_word_it_runs_and_the_report_says_that_nothing_held_it(tmp_path: Path) -> None:
    sandbox = await open_sandbox(Rung.LIMITS, allow_unisolated=True)

    finished = await sandbox.run(["/bin/sh", "-c", "pwd"], workspace=tmp_path)

    assert finished.output == f"{tmp_path}\n"
    assert sandbox.description.startswith("There was no isolation")


async def test_even_without_isolation_no_key_is_in_the_environment_and_time_is_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    sandbox = await open_sandbox(Rung.LIMITS, allow_unisolated=True)

    environment = await sandbox.run(["/usr/bin/env"], workspace=tmp_path)
    endless = await sandbox.run(["/bin/sleep", "60"], workspace=tmp_path, limits=Limits(seconds=0.2))

    assert "canary" not in environment.output
    assert (endless.timed_out, endless.status) == (True, 137)


async def test_a_program_that_is_not_there_is_said_so(sandbox: Sandbox, workspace: Path) -> None:
    finished = await sandbox.run(["/absent/program"], workspace=workspace)

    assert finished.status != 0
    assert "/absent/program" in finished.output


async def test_a_workspace_that_is_not_there_is_an_error_with_its_name(sandbox: Sandbox, tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="absent"):
        await sandbox.run(["/bin/true"], workspace=tmp_path / "absent")


AS_ANYBODY = """
import asyncio, sys
from pathlib import Path
from orchestrator.errors import SandboxError
from orchestrator.sandbox import Rung, open_sandbox

async def main():
    try: sandbox = await open_sandbox(Rung(sys.argv[1]))
    except SandboxError as error: print(error); return
    workspace = Path("held")
    workspace.mkdir()
    python = sandbox.places(workspace).python
    code = "import os; open('made', 'w').write('x'); print(os.getuid())"
    finished = await sandbox.run([python, "-c", code], workspace=workspace)
    print("held:", finished.output.strip(), (workspace / "made").stat().st_uid == workspace.stat().st_uid)

asyncio.run(main())
"""


def copy_of_ours(folder: Path) -> None:
    source = Path(__file__).parents[4] / "orchestrator"
    (folder / "orchestrator").mkdir()
    for path in source.glob("*.py"):
        shutil.copy(path, folder / "orchestrator")
    shutil.copytree(
        source / "sandbox", folder / "orchestrator" / "sandbox", ignore=shutil.ignore_patterns("__pycache__")
    )
    (folder / "program.py").write_text(AS_ANYBODY)


@pytest.mark.parametrize("rung", [Rung.BUBBLEWRAP, Rung.UNSHARE])
def test_an_ordinary_user_gets_the_rung_or_the_reason(rung: Rung, tmp_path: Path) -> None:
    copy_of_ours(tmp_path)
    home = tmp_path / "home"
    home.mkdir()
    command = [shutil.which("python3", path="/usr/bin") or sys.executable, str(tmp_path / "program.py"), rung]
    for path in (tmp_path, *tmp_path.parents):
        if path.name.startswith(("test_", "popen-", "pytest-")):
            path.chmod(0o755)
    if os.geteuid() == 0:
        os.chown(home, 12345, 12345)
        command = ["/usr/bin/setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", *command]
    environment = {"PYTHONPATH": str(tmp_path), "HOME": str(home), "PATH": "/usr/bin:/bin"}

    finished = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, timeout=60)

    assert finished.stderr == ""
    assert finished.stdout == "held: 65534 True\n" or "Install bubblewrap" in finished.stdout
