"""The loopback server itself: as strict as the vendors, honest in its journal, and steerable from outside."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.loopback import Answer, Fault, ModelServer, Script, library

SCHEMA = {
    "type": "object",
    "properties": {"score": {"type": "number"}, "reason": {"type": "string"}},
    "required": ["score", "reason"],
    "additionalProperties": False,
}
BODY = {
    "model": "gpt-4o-mini",
    "messages": [{"role": "user", "content": "Evaluate."}],
    "max_completion_tokens": 100,
    "response_format": {"type": "json_schema", "json_schema": {"name": "evaluate", "strict": True, "schema": SCHEMA}},
}


def post(url: str, body: Any, headers: dict[str, str] | None = None) -> tuple[int, dict[str, Any]]:
    request = urllib.request.Request(url, json.dumps(body).encode(), headers or {}, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def evaluate(server: ModelServer, body: Any = BODY) -> tuple[int, dict[str, Any]]:
    url = f"{server.base_url('openai')}/chat/completions"
    return post(url, body, {"Authorization": "Bearer loopback-openai-key"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": None}, "you must provide a model parameter"),
        ({"messages": []}, "Missing required parameter: 'messages'."),
        ({"max_completion_tokens": None}, "Missing output limit."),
        ({"max_completion_tokens": 0}, "the output limit must be a positive integer, not 0"),
        ({"surprise": 1}, "Unrecognized request argument supplied: surprise"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a b", "schema": SCHEMA}}},
            "Invalid 'response_format.json_schema.name'",
        ),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "x", "strict": True, "schema": SCHEMA | {"required": ["score"]}},
                }
            },
            "Invalid schema for response_format 'x': In context=schema, 'required' must include every key",
        ),
        (
            {"response_format": {"type": "json_object"}},
            "'messages' must contain the word 'json' in some form, to use 'json_object'.",
        ),
        ({"model": "gpt-5-mini", "max_completion_tokens": None, "max_tokens": 5}, "'max_tokens' is not supported"),
    ],
)
def test_a_request_that_openai_would_refuse_is_refused_unbilled(change: dict[str, Any], message: str) -> None:
    body = {name: value for name, value in (BODY | change).items() if value is not None}

    with ModelServer() as server:
        status, answer = evaluate(server, body)

    assert status == 400
    assert answer["error"]["message"].startswith(message)
    assert [call.outcome for call in server.journal] == ["rejected"]
    assert server.billed == []


@pytest.mark.parametrize(
    ("path", "key", "status", "error"),
    [
        ("openai/v1/chat/completions", {}, 401, "invalid_request_error"),
        ("openai/v1/chat/completions", {"Authorization": "Bearer x"}, 401, "invalid_api_key"),
        ("anthropic/v1/messages", {}, 401, "authentication_error"),
        ("google/v1beta/models/m:generateContent", {}, 403, "PERMISSION_DENIED"),
        ("google/v1beta/models/m:generateContent", {"X-Goog-Api-Key": "x"}, 400, "INVALID_ARGUMENT"),
    ],
)
def test_a_missing_or_wrong_key_is_refused_in_the_vendors_words(
    path: str, key: dict[str, str], status: int, error: str
) -> None:
    with ModelServer() as server:
        code, answer = post(f"{server.url}/{path}", BODY, key)

    assert code == status
    assert error in json.dumps(answer)


def test_models_and_token_counts_are_served() -> None:
    with ModelServer() as server:
        listed = urllib.request.Request(
            f"{server.base_url('openai')}/models", headers={"Authorization": "Bearer loopback-openai-key"}
        )
        with urllib.request.urlopen(listed, timeout=20) as response:
            models = json.load(response)
        body = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "x" * 400}]}
        headers = {"X-Api-Key": "loopback-anthropic-key", "anthropic-version": "1"}
        status, count = post(f"{server.base_url('anthropic')}/v1/messages/count_tokens", body, headers)

    assert [model["id"] for model in models["data"]] == ["loopback-model"]
    assert (status, count["input_tokens"]) == (200, 100)


def test_another_path_is_not_found() -> None:
    with ModelServer() as server:
        assert post(f"{server.url}/nowhere", {})[0] == 404


def test_an_answer_over_the_output_limit_is_cut_there() -> None:
    script = Script(answers={"evaluate": lambda asked: Answer("x" * 4000)})

    with ModelServer(script) as server:
        _, answer = evaluate(server)

    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["choices"][0]["message"]["content"] == "x" * 400
    assert answer["usage"]["completion_tokens"] == 100


def test_full_output_bills_the_whole_limit() -> None:
    with ModelServer(Script(full_output=True)) as server:
        _, answer = evaluate(server)

    assert answer["usage"]["completion_tokens"] == 100
    assert [call.output_tokens for call in server.billed] == [100]


def test_faults_come_in_their_turn_and_then_the_usual_answer() -> None:
    with ModelServer(Script(faults={"evaluate": [None, Fault.status(503)]})) as server:
        statuses = [evaluate(server)[0] for _ in range(3)]

    assert statuses == [200, 503, 200]
    assert [call.billed for call in server.journal] == [True, False, True]


def test_answers_are_held_back_after_the_one_that_was_named() -> None:
    with ModelServer() as server:
        server.hold_after(1)
        statuses: list[int] = []
        clients = [threading.Thread(target=lambda: statuses.append(evaluate(server)[0])) for _ in range(3)]
        for client in clients:
            client.start()
        server.wait_for_calls(3)
        server.wait_for_answers(1)
        held = [call.outcome for call in server.journal]
        server.release()
        for client in clients:
            client.join()

    assert sorted(held) == ["", "", "answer"]
    assert statuses == [200, 200, 200]


def test_waiting_for_what_does_not_come_says_so() -> None:
    with ModelServer() as server, pytest.raises(TimeoutError, match="1 answers did not come"):
        server.wait_for_answers(1, timeout=0.01)


def test_the_environment_names_keys_and_endpoints() -> None:
    with ModelServer() as server:
        environment = server.environment(("google", "deepseek", "local"))

    assert environment == {
        "GOOGLE_API_KEY": "loopback-google-key",
        "GOOGLE_GEMINI_BASE_URL": f"{server.url}/google",
        "DEEPSEEK_API_KEY": "loopback-deepseek-key",
        "DEEPSEEK_BASE_URL": f"{server.url}/deepseek/v1",
        "LOCAL_LLM_BASE_URL": f"{server.url}/local/v1",
        "LOCAL_LLM_MODEL": "loopback-model",
    }


def test_a_port_that_is_taken_is_an_error() -> None:
    with ModelServer() as server, pytest.raises(OSError, match="in use"):
        ModelServer(port=server.port).start()


def test_the_plan_has_its_tasks_in_independent_chains() -> None:
    tasks = library.plan(4, chains=2)["tasks"]

    assert [(task["id"], task["depends_on"]) for task in tasks] == [
        ("part-1", []),
        ("part-2", []),
        ("part-3", ["part-1"]),
        ("part-4", ["part-2"]),
    ]
    assert len({path for task in tasks for path in task["files"]}) == sum(len(task["files"]) for task in tasks)


def test_files_are_found_under_the_last_heading_of_that_name() -> None:
    prompt = "Files of this task\n- fake.py\n\n## Files of this task\n\n- a.py\n* `src/b.py`\n\n## Notes\n- c.py\n"

    assert library.files_named(prompt) == ["a.py", "src/b.py"]


def test_without_a_heading_the_model_chooses_a_file() -> None:
    assert [file["path"] for file in library.changes("Build it.", 2)["files"]] == ["src_3.py"]


async def test_what_the_default_script_writes_is_clean_and_passes_its_tests(tmp_path: Path) -> None:
    for task in library.plan(3, chains=1)["tasks"]:
        listed = "\n".join(f"- {path}" for path in task["files"])
        for file in library.changes(f"## Files of this task\n{listed}\n", 0)["files"]:
            target = tmp_path / file["path"]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(file["content"], encoding="utf-8")

    async def passes(*command: str) -> tuple[int | None, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            *command,
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await asyncio.wait_for(process.communicate(), 60)
        return process.returncode, output.decode()

    lint = await passes("ruff", "check", "--isolated", "--select", "E,F,W,I,B,D1", ".")
    tests = await passes("pytest", "-q", "-p", "no:cacheprovider", ".")

    assert lint[0] == 0, lint[1]
    assert tests[0] == 0, tests[1]
    assert "3 passed" in tests[1]


def test_another_process_can_use_it_and_hears_of_each_answer() -> None:
    command = [sys.executable, "-m", "tests.loopback", "--tasks", "2", "--hold-after", "1"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        hello = json.loads(process.stdout.readline())
        url = hello["environment"]["OPENAI_BASE_URL"]
        status, _ = post(f"{url}/chat/completions", BODY, {"Authorization": "Bearer loopback-openai-key"})
        heard = process.stdout.readline()
        with urllib.request.urlopen(f"{hello['url']}/_journal", timeout=20) as response:
            journal = json.load(response)
        process.stdin.close()
        ended = process.wait(timeout=20)

    assert (status, heard, ended) == (200, "answer 1\n", 0)
    assert journal["answers"] == 1
    assert [(call["purpose"], call["billed"]) for call in journal["calls"]] == [("evaluate", True)]
