"""Logs are read from where GitHub keeps them: safe addresses only, within bounds, and never with our token."""

from __future__ import annotations

import pytest

from orchestrator.github.api.client import Refused
from orchestrator.github.api.job_logs import MAX_BYTES, LogUnavailable, read_job_log
from orchestrator.github.runs.rehearsal import MemoryPreviews, rehearse
from tests.unit.orchestrator.github.conftest import REPO, Scene


async def _failed(scene: Scene, log: str) -> int:
    head = (await scene.hub.branches(REPO))["main"]
    return scene.hub.fail_job(REPO, head, "tests", log)


async def test_a_log_is_read_as_far_as_its_bound(scene: Scene) -> None:
    job = await _failed(scene, "x" * (MAX_BYTES + 10))
    assert len((await read_job_log(scene.client, job)).encode()) == MAX_BYTES


async def test_sec_25_an_address_that_is_neither_https_nor_this_machine_is_not_asked(scene: Scene) -> None:
    job = await _failed(scene, "one\n")
    for address in ("http://logs.example.org/1", "file:///etc/passwd", "//logs.example.org/1", "", "http://10.0.0.1/"):
        scene.hub.faults.add(
            method="GET", path_regex="/actions/jobs/", kind="status", status=302, headers={"location": address}
        )
        with pytest.raises(LogUnavailable, match="GitHub keeps it at an address that is not https"):
            await read_job_log(scene.client, job)


async def test_a_second_redirect_is_not_followed_and_no_silence_waited_out(scene: Scene) -> None:
    job = await _failed(scene, "one\n")
    elsewhere = {"location": f"{scene.hub.url}/elsewhere"}
    scene.hub.faults.add(method="GET", path_regex="/job-logs/", kind="status", status=302, headers=elsewhere)
    with pytest.raises(LogUnavailable, match="where GitHub keeps it, 302 was answered"):
        await read_job_log(scene.client, job)
    scene.hub.faults.add(method="GET", path_regex="/job-logs/", kind="drop_before")
    with pytest.raises(LogUnavailable, match="where GitHub keeps it could not be reached"):
        await read_job_log(scene.client, job)
    scene.hub.faults.add(method="GET", path_regex="/job-logs/", kind="delay", seconds=60)
    with pytest.raises(LogUnavailable, match="it did not arrive within 0 s"):
        await read_job_log(scene.client, job, seconds=0.2)


async def test_a_job_that_is_not_there_has_no_log_and_a_token_without_the_permission_is_refused(scene: Scene) -> None:
    with pytest.raises(LogUnavailable, match="there is none any more"):
        await read_job_log(scene.client, 99)
    job = await _failed(scene, "one\n")
    scene.github.app, scene.github.given_token = None, scene.hub.workflow_token(REPO, {"contents": "read"})
    with pytest.raises(Refused, match="403"):
        await read_job_log(scene.github.repository(REPO), job)


async def test_on_a_stage_a_log_is_read_as_ever(scene: Scene) -> None:
    job = await _failed(scene, "one\n")
    await rehearse(scene.client, scene.github, MemoryPreviews(), scene.installation)
    assert await read_job_log(scene.client, job) == "\ufeffone\n"
