"""A disk that fills up while a run works: one sentence, nothing lost, and the run ends once there is room."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.command_line import CommandLine, ended, list_price, two_modules, wait_for
from tests.e2e.disk import small_disk
from tests.loopback import ModelServer
from tests.reports import read_report

# A small file system of its own, made in namespaces of its own, with the home on it; then the same one, enlarged.
PROGRAM = """
home=$1 python=$2
mount -t tmpfs -o size=360k tmpfs "$home" || exit 99
"$python" -m orchestrator --file spec.yaml --output-dir results --project-id sample >first.out 2>first.err
echo $? >first.status
mount -o remount,size=64m "$home" || exit 99
"$python" -m orchestrator --resume sample >second.out 2>second.err
echo $? >second.status
"""


def test_a_full_disk_is_named_with_the_command_that_goes_on_and_the_run_ends_once_there_is_room(
    tmp_path: Path,
) -> None:
    with ModelServer(two_modules()) as server:
        line = CommandLine(tmp_path, server)
        environment = line.prepare()
        (tmp_path / "home").mkdir(mode=0o700)

        subprocess.run(
            ["unshare", "--map-root-user", "--mount", "sh", "-c", PROGRAM, "sh", tmp_path / "home", sys.executable],
            cwd=tmp_path, env=environment, check=True, timeout=120, stdin=subprocess.DEVNULL,
        )  # fmt: skip

        decided = [call for call in server.journal if call.purpose == "architecture"]

    said = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.glob("*.*")}
    assert said["first.status"] == "1\n"
    assert said["first.err"] == (
        f"orchestrator: The disk of the database {tmp_path}/home/state.db is full.\n"
        "Free space on it, then go on: what was done so far is kept.\n"
        "Go on with: python -m orchestrator --resume sample\n"
    )
    assert (said["second.status"], said["second.err"]) == ("0\n", "")
    assert line.report()["status"] == "completed"
    assert len(decided) == 1


PLACES = {
    "home": "the database {root}/disk/state.db",
    "temporary": "the folder {root}/disk",
    "results": "the folder {root}/disk/made",
}


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("answers", [2, 4])
def test_a_disk_that_fills_up_in_the_middle_of_a_run_is_named_and_the_run_goes_on_once_there_is_room(
    tmp_path: Path, place: str, answers: int
) -> None:
    with ModelServer(two_modules()) as server, small_disk(tmp_path / "disk") as disk:
        where = {"home": "ORCHESTRATOR_HOME", "temporary": "TMPDIR"}
        more = {where[place]: str(disk.folder)} if place in where else {}
        line = CommandLine(tmp_path, server, disk.within(tmp_path), more | {"PYTHONPATH": str(Path.cwd())})
        output = disk.folder / "made" if place == "results" else line.results
        server.hold_after(answers)
        process = line.start("--file", "spec.yaml", "--output-dir", str(output), "--project-id", "sample")
        wait_for(lambda: len(server.journal) > answers)
        # when
        disk.fill()
        server.release()
        first = ended(process)
        disk.free()
        second = ended(line.start("--resume", "sample"))
        # then
        found = read_report(Path(f"/proc/{disk.holder}/root{output}/.orchestrator/report.json"))

    assert (first.status, first.err) == (
        1,
        f"orchestrator: The disk of {PLACES[place].format(root=tmp_path)} is full.\n"
        "Free space on it, then go on: what was done so far is kept.\n"
        "Go on with: python -m orchestrator --resume sample\n",
    )
    assert (second.status, second.err, found["status"]) == (0, "", "completed")
    assert found["budget"]["spent_usd"] >= sum(list_price(call) for call in server.billed) - 1e-12
    purposes = [call.purpose for call in server.billed]
    assert purposes.count("architecture") == purposes.count("decompose") == 1
