"""What `--version` costs beside bare Python, and which heavy modules `import orchestrator` loads."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from benchmarks.bounds import at_most

RUNS = 15
HEAVY = ("openai", "anthropic", "google.genai", "sqlalchemy", "pydantic", "github", "fastapi")


def seconds(*arguments: str) -> float:
    """Return the wall seconds of one Python process."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    """Print the ratio of the medians, measured in turn."""
    bare, version = [], []
    for _ in range(RUNS):
        bare.append(seconds("-c", "pass"))
        version.append(seconds("-m", "orchestrator", "--version"))
    ratio = statistics.median(version) / statistics.median(bare)
    print(
        f"startup: --version {statistics.median(version) * 1000:.0f} ms, bare Python "
        f"{statistics.median(bare) * 1000:.0f} ms, ratio {ratio:.1f} (at most 8)"
    )
    code = f"import sys, orchestrator; print([name for name in {HEAVY!r} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
    print(f"startup: heavy modules loaded by `import orchestrator`: {loaded}")
    at_most("the ratio to bare Python", ratio, 8)
