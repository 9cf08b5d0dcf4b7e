from __future__ import annotations

import httpx2
import pytest

from bot.localhub import LocalHub
from bot.localhub.git import line_after

PATCH = "@@ -2,3 +2,4 @@ def a():\n two\n-three\n+3\n+and more\n four\n@@ -20,2 +20,0 @@\n-twenty\n-twenty-one"


async def _asked(hub: LocalHub, query: str, user: str = "alice") -> dict[str, object]:
    async with httpx2.AsyncClient() as client:
        answered = await client.post(
            f"{hub.url}/api/graphql",
            json={"query": query},
            headers={"Authorization": f"Bearer {hub.token_for(user)}"},
        )
    assert answered.status_code == 200
    value: dict[str, object] = answered.json()
    return value


async def test_only_what_was_asked_is_answered(hub: LocalHub) -> None:
    asked = '{ viewer { login } repository(owner: "octo", name: "demo") { full: nameWithOwner } }'
    expected = {"data": {"viewer": {"login": "alice"}, "repository": {"full": "octo/demo"}}}
    assert await _asked(hub, asked) == expected


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("{ viewer { name } }", "Cannot query field 'name' on type 'User'."),
        ("{ viewer { login }", "Syntax Error: Expected Name, found <EOF>."),
        ("mutation { mergePullRequest(input: {}) { actor { login } } }", "Cannot query field 'mergePullRequest'"),
    ],
)
async def test_a_query_that_is_not_valid_has_no_data(hub: LocalHub, query: str, message: str) -> None:
    answer = await _asked(hub, query)
    assert "data" not in answer
    assert message in str(answer["errors"])


async def test_what_nobody_may_see_cannot_be_resolved(hub: LocalHub) -> None:
    await hub.create_repository("octo/secret", {"a": "b"}, private=True)
    answer = await _asked(hub, '{ repository(owner: "octo", name: "secret") { id } }', "mallory")
    assert answer["data"] == {"repository": None}
    assert [it["type"] for it in answer["errors"]] == ["NOT_FOUND"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(("line", "expected"), [(1, 1), (2, 2), (3, None), (4, 5), (10, 11), (20, None), (22, 21)])
def test_a_line_is_followed_through_a_patch(line: int, expected: int | None) -> None:
    assert line_after(PATCH, line) == expected
