"""What JavaScript's tools print becomes findings at path and line; the texts are what the tools really printed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.validators.npm_output import findings_in, summary_in
from tests.unit.orchestrator.validators.conftest import Write

TSC = "src/tasks.ts(53,14): error TS2322: Type 'string' is not assignable to type 'number'."
TSC_PRETTY = "src/tasks.ts:53:14 - error TS2322: Type 'string' is not assignable to type 'number'."
ESLINT = """
/workspace/components/cart-link.tsx
  28:17  error  Unexpected any. Specify a different type  @typescript-eslint/no-explicit-any

✖ 1 problem (1 error, 0 warnings)
"""
NEXT = """
> Build error occurred
Error: Turbopack build failed with 1 error:
./lib/money.ts:7:1
Error: Module not found: Can't resolve './nowhere'
  \x1b[90m5 |\x1b[0m   \x1b[36mreturn\x1b[0m DOLLARS.format(cents / 100);

Import traces:
  Server Component:
    ./lib/money.ts
"""
VITE = """
Build failed with 1 error:

\x1b[31m[UNRESOLVED_IMPORT] \x1b[0mCould not resolve './nowhere' in src/site.ts
   \x1b[38;5;246m╭\x1b[0m\x1b[38;5;246m─\x1b[0m\x1b[38;5;246m[\x1b[0m src/site.ts:2:15 \x1b[38;5;246m]\x1b[0m
    at #build (file:///workspace/node_modules/rolldown/dist/shared/rolldown-AohEFLrh.mjs:146:34)
"""
JEST = """
FAIL __tests__/checkout-page.test.tsx
  ● confirms an order, and empties the cart

    Expected element to have text content:
      $98.00

    > 43 |   expect(screen.getByRole("status")).toHaveTextContent("$98.00");

      at Object.get (node_modules/@testing-library/dom/dist/config.js:37:19)
      at Object.toHaveTextContent (__tests__/checkout-page.test.tsx:43:38)

Summary of all failing tests
FAIL __tests__/checkout-page.test.tsx
  ● confirms an order, and empties the cart

      at Object.toHaveTextContent (__tests__/checkout-page.test.tsx:43:38)

Tests:       1 failed, 41 passed, 42 total
"""
VITEST = """
 FAIL  src/tasks.test.ts > an action > toggles the task that is meant, there and back
AssertionError: expected [ Array(2) ] to deeply equal [ Array(2) ]

 ❯ src/tasks.test.ts:20:55
     20|     expect(reduce(done, { type: "toggle", id: "1" })).toEqual([TEA, MA…

 Test Files  1 failed | 1 passed (2)
      Tests  1 failed | 18 passed (19)
"""
NODE = """
TAP version 13
not ok 1 - adds
  ---
  location: '/workspace/a.test.mjs:3:1'
  stack: |-
    TestContext.<anonymous> (file:///workspace/a.test.mjs:3:29)
# pass 1
"""
FILES = [
    "src/tasks.ts", "components/cart-link.tsx", "lib/money.ts", "src/site.ts", "__tests__/checkout-page.test.tsx",
    "src/tasks.test.ts", "a.test.mjs", "node_modules/rolldown/dist/shared/rolldown-AohEFLrh.mjs",
]  # fmt: skip


@pytest.mark.parametrize(
    ("output", "path", "line", "message"),
    [
        (TSC, "src/tasks.ts", 53, "TS2322: Type 'string' is not assignable to type 'number'."),
        (TSC_PRETTY, "src/tasks.ts", 53, "TS2322: Type 'string' is not assignable to type 'number'."),
        (
            ESLINT,
            "components/cart-link.tsx",
            28,
            "error: Unexpected any. Specify a different type  @typescript-eslint/no-explicit-any",
        ),
        (NEXT, "lib/money.ts", 7, "Error: Module not found: Can't resolve './nowhere'"),
        (VITE, "src/site.ts", 2, "[UNRESOLVED_IMPORT] Could not resolve './nowhere' in src/site.ts"),
        (JEST, "__tests__/checkout-page.test.tsx", 43, "● confirms an order, and empties the cart"),
        (
            VITEST,
            "src/tasks.test.ts",
            20,
            "FAIL  src/tasks.test.ts > an action > toggles the task that is meant, there",
        ),
        (NODE, "a.test.mjs", 3, "not ok 1 - adds"),
    ],
)
def test_a_tool_is_understood(write: Write, output: str, path: str, line: int, message: str) -> None:
    root = write(dict.fromkeys(FILES, ""))

    (finding,) = findings_in(output, root)

    assert (finding.path, finding.line) == (path, line)
    assert finding.message.startswith(message)


def test_a_failed_test_says_what_was_expected_and_nothing_of_its_framework(write: Write) -> None:
    (finding,) = findings_in(JEST, write(dict.fromkeys(FILES, "")))

    assert "Expected element to have text content:" in finding.message
    assert "@testing-library" not in finding.message


def test_a_place_outside_of_the_project_is_no_finding(write: Write) -> None:
    root = write(dict.fromkeys(FILES, ""))

    outside = "/etc/hosts.ts(1,1): error TS1: x\n../up.ts(1,1): error TS1: x\nmissing.ts(1,1): error TS1: x"

    assert findings_in(outside, root) == ()


@pytest.mark.parametrize(
    ("output", "summary"),
    [
        (JEST, "1 failed, 41 passed, 42 total"),
        (VITEST, "1 failed | 18 passed (19)"),
        (NODE, "1 passed"),
        ("\nadded 663 packages in 42s\n", "added 663 packages in 42s"),
        ("compiled", ""),
    ],
)
def test_a_tool_is_summed_up_in_its_own_words(output: str, summary: str) -> None:
    assert summary_in(output) == summary


@given(st.text(max_size=200))
def test_any_output_can_be_read(output: str) -> None:
    assert isinstance(summary_in(output), str)


@pytest.mark.parametrize(
    "part",
    ["\n", "\r", " ", "[", "[ ", "❯", "'a.b", "a.", "\x1b[", "Tests: 1", "[a.b:1:1]\n", "FAIL  x\n", "FAIL  a.b:1:1\n"],
)
def test_a_megabyte_that_is_made_to_be_searched_for_hours_is_read_at_once(part: str, tmp_path: Path) -> None:
    output = part * (1024 * 1024 // len(part)) + "\n# pass 7\n"
    assert findings_in(output, tmp_path) == ()
    assert summary_in(output) == "7 passed"


def test_a_place_that_no_file_can_have_is_no_place(tmp_path: Path) -> None:
    assert findings_in(f"{'a' * 300}.ts(1,1): error TS1: no", tmp_path) == ()
