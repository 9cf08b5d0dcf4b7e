"""The command line, killed after any answer or stopped by a signal, goes on where it was and pays nothing twice."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.command_line import CommandLine, ended, killed, list_price, two_modules
from tests.loopback import ModelServer

# architecture, plan, and for each of two tasks generate and review, then the evaluation.
ANSWERS = 7
RESUME = "Interrupted. Go on with: python -m orchestrator --resume sample"


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer(two_modules()) as running:
        yield running


@pytest.fixture
def user(server: ModelServer, tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path, server)


def generated(server: ModelServer) -> Counter[str]:
    """Return how often each task was asked to be generated."""
    found = Counter[str]()
    for call in server.journal:
        if call.purpose == "generate":
            found[
                next(line for line in call.prompt.splitlines() if line.startswith("Task: ")).removeprefix("Task: ")
            ] += 1
    return found


def assert_nothing_leaks(user: CommandLine) -> None:
    report = user.report()
    spent, reserved = user.accounts()["run:sample"]
    billed = sum(list_price(call) for call in user.server.billed)
    assert reserved == 0
    assert user.rows("SELECT count(*) FROM calls WHERE state = 'reserved'") == [(0,)]
    assert report["budget"]["spent_usd"] == pytest.approx(spent / 10**12, abs=1e-12)
    assert report["budget"]["spent_usd"] == pytest.approx(sum(call["cost_usd"] for call in report["calls"]), abs=1e-12)
    assert report["budget"]["spent_usd"] >= billed - 1e-12


def test_an_undisturbed_run_pays_exactly_what_was_billed(user: CommandLine) -> None:
    ending = ended(user.build())

    report = user.report()
    assert (ending.status, report["status"]) == (0, "completed")
    assert len(user.server.billed) == ANSWERS
    assert report["budget"]["spent_usd"] == pytest.approx(sum(list_price(call) for call in user.server.billed))
    assert [call["purpose"] for call in report["calls"]] == [call.purpose for call in user.server.billed]
    assert_nothing_leaks(user)


EXPECTED_FILES = [
    "README.md",
    "docs/adr/0001-architecture.md",
    "sample_library/__init__.py",
    "sample_library/part_1.py",
    "sample_library/part_2.py",
    "tests/test_part_1.py",
    "tests/test_part_2.py",
]
EXPECTED_TASKS = [
    ("part-1", "completed", 0.9, 1),
    ("part-2", "completed", 0.9, 1),
]


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param(number, marks=[] if number in (1, ANSWERS) else [pytest.mark.slow])
        for number in range(1, ANSWERS + 1)
    ],
)
def test_killed_right_after_any_answer_a_run_ends_the_same(user: CommandLine, answers: int) -> None:
    user.server.hold_after(answers)
    process = user.build()
    user.server.wait_for_answers(answers)
    killed(process)
    completed_before = {task for (task,) in user.rows("SELECT id FROM tasks WHERE status = 'completed'")}
    user.server.release()

    ending = user.run("--resume", "sample")

    report = user.report()
    assert (ending.status, report["status"]) == (0, "completed"), ending
    assert sorted(user.files()) == EXPECTED_FILES
    assert report["files"] == EXPECTED_FILES
    assert [(one["id"], one["status"], one["score"], one["attempts"]) for one in report["tasks"]] == EXPECTED_TASKS
    times = generated(user.server)
    assert [times[task] for task in sorted(completed_before)] == [1] * len(completed_before)
    # The killed process left at most its last answer and the next question unbooked.
    assert len(user.server.billed) <= ANSWERS + 1
    assert_nothing_leaks(user)


def test_a_call_in_flight_when_the_process_dies_is_shown_as_estimated(user: CommandLine) -> None:
    user.server.hold_after(3)
    process = user.build()
    user.server.wait_for_calls(4)
    killed(process)
    user.server.release()

    ending = user.run("--resume", "sample")

    report = user.report()
    estimated = [call for call in report["calls"] if call.get("estimated")]
    assert (ending.status, report["status"]) == (0, "completed")
    assert [(call["purpose"], call["task_id"]) for call in estimated] == [("review", "part-1")]
    # At its reservation: the whole output limit, and the input counted in bytes.
    assert estimated[0]["output_tokens"] == user.server.journal[3].max_output_tokens
    assert estimated[0]["input_tokens"] > user.server.journal[3].could_bill_input
    assert report["notes"] == ["1 call(s) were in flight when a process died; each counts at its reservation."]
    assert_nothing_leaks(user)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_run_and_the_last_line_resumes_it(user: CommandLine, number: signal.Signals) -> None:
    user.server.hold_after(4)
    process = user.build()
    user.server.wait_for_calls(5)
    process.send_signal(number)

    ending = ended(process)

    interrupted = user.report()
    assert ending.status == 130
    assert ending.err.splitlines()[-1] == RESUME
    assert "Traceback" not in ending.err + ending.out
    assert interrupted["status"] == "interrupted"
    assert_nothing_leaks(user)
    user.server.release()
    assert user.run("--resume", "sample").status == 0
    assert user.report()["status"] == "completed"
    assert sorted(user.files()) == EXPECTED_FILES
    assert generated(user.server)["part-1"] == 1
    assert_nothing_leaks(user)


def test_a_process_that_another_one_took_the_run_from_changes_nothing_more(user: CommandLine) -> None:
    user.server.hold_after(3)
    first = user.build()
    user.server.wait_for_calls(4)
    second = user.start("--resume", "sample")
    # The second process asks its first question of its own: the run is its own now.
    user.server.wait_for_calls(5)
    user.server.release()

    first_ending, second_ending = ended(first), ended(second)

    assert first_ending.status == 1
    assert "Another process has taken over run sample" in first_ending.err
    assert "Traceback" not in first_ending.err
    assert second_ending.status == 0
    assert user.report()["status"] == "completed"
    assert sorted(user.files()) == EXPECTED_FILES
    assert_nothing_leaks(user)
