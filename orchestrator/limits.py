"""How much a model's answer may hold: told in the request, checked when it arrives and again where it takes effect.

Each limit is one constant here. JSON Schema could carry most of them, but the vendors' strict modes refuse bounds
(`wire.schema_for`), so the request says them in words.
"""

from __future__ import annotations

from orchestrator.state import Purpose

# A plan beyond this is no plan that anybody could follow; the prompt asks for far fewer.
MAX_TASKS = 100
# One answer's changes; sources: GitHub's contents limit of 1 MiB a file, and its request bodies of some 25 MiB.
MAX_FILES = 200
MAX_FILE_BYTES = 1024 * 1024
MAX_TOTAL_BYTES = 10 * 1024 * 1024
# The most lines that the `length` validator lets a text file have; source: ten times what a reviewer reads at once.
MAX_FILE_LINES = 4_000
MAX_PATH_BYTES = 400
# A finding's line; source: no file of `MAX_FILE_BYTES` has more, and GitHub takes none above 2**31.
MAX_LINE = MAX_FILE_BYTES

MAX_ID_CHARACTERS = 80
# What the columns of `store.schema` hold.
MAX_MODEL_NAME_CHARACTERS = 120
MAX_TITLE_CHARACTERS = 200
MAX_DESCRIPTION_CHARACTERS = 8_000
MAX_WORD_CHARACTERS = 80
MAX_NAMES = 100
MAX_RATIONALE_CHARACTERS = 4_000
MAX_NOTES_CHARACTERS = 4_000
MAX_FINDINGS = 50
MAX_MESSAGE_CHARACTERS = 2_000
MAX_REASON_CHARACTERS = 4_000

# Output limits in tokens, reasoning left out; sources: the schemas' sizes, a file of 400 lines is about 4,000 tokens.
OUTPUT_TOKENS = {
    Purpose.ARCHITECTURE: 1_500,
    Purpose.DECOMPOSE: 6_000,
    Purpose.GENERATE: 8_000,
    Purpose.REVISE: 8_000,
    Purpose.REVIEW: 2_000,
    Purpose.EVALUATE: 1_000,
    Purpose.DRAFT: 2_000,
}


def told(purpose: Purpose) -> str:
    """Return a purpose's limits as a prompt says them, one line each."""
    lines = _LINES[purpose]
    if purpose not in (Purpose.GENERATE, Purpose.REVISE):  # there each task has its own, said where it is named
        lines += (f"the whole answer has at most {OUTPUT_TOKENS[purpose]:,} tokens",)
    return "\n".join(f"- {line}" for line in lines)


def clipped(text: str, characters: int) -> str:
    """Return a text within a limit, its end marked where something was cut off."""
    return text if len(text) <= characters else f"{text[: characters - 1]}…"


_CHANGES = (
    f"at most {MAX_FILES:,} changed files, counted over all four lists; {MAX_FILE_BYTES:,} bytes a file, "
    f"{MAX_TOTAL_BYTES:,} bytes in all",
    f"a path has at most {MAX_PATH_BYTES} bytes",
    f"`notes` has at most {MAX_NOTES_CHARACTERS:,} characters",
)
_LINES: dict[Purpose, tuple[str, ...]] = {
    Purpose.ARCHITECTURE: (
        f"each of the four words has at most {MAX_WORD_CHARACTERS} characters",
        f"`rationale` has at most {MAX_RATIONALE_CHARACTERS:,} characters",
    ),
    Purpose.DECOMPOSE: (
        f"at most {MAX_TASKS} tasks, and {MAX_FILES} files a task",
        f"`id` has at most {MAX_ID_CHARACTERS} characters, `title` {MAX_TITLE_CHARACTERS}, "
        f"`description` {MAX_DESCRIPTION_CHARACTERS:,}",
        f"a path has at most {MAX_PATH_BYTES} bytes",
    ),
    Purpose.GENERATE: _CHANGES,
    Purpose.REVISE: _CHANGES,
    Purpose.REVIEW: (
        "`score` is a number from 0 to 1, such as 0.85; not a text, not a percentage",
        f"at most {MAX_FINDINGS} findings, the gravest first; each `message` has at most "
        f"{MAX_MESSAGE_CHARACTERS:,} characters",
    ),
    Purpose.EVALUATE: (
        "`score` is a number from 0 to 1, such as 0.85; not a text, not a percentage",
        f"`reason` has at most {MAX_REASON_CHARACTERS:,} characters",
    ),
    Purpose.DRAFT: (
        f"`title` has at most {MAX_TITLE_CHARACTERS} characters, `description` and `success_criteria` "
        f"{MAX_DESCRIPTION_CHARACTERS:,} each",
        f"a list of names has at most {MAX_NAMES}",
        f"`rationale` has at most {MAX_RATIONALE_CHARACTERS:,} characters",
    ),
}
