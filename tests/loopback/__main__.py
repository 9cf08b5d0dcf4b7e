"""Serve the loopback models for another process: `python -m tests.loopback --port 0 --tasks 3`.

The first line on standard output is a JSON object with `url` and `environment`; then comes one line for each billed
answer that left, `answer N`. It ends when its standard input closes.
"""

from __future__ import annotations

import argparse
import json
import sys

from tests.loopback.script import Script
from tests.loopback.server import ModelServer


def main() -> None:
    """Serve until standard input closes."""
    parser = argparse.ArgumentParser(prog="python -m tests.loopback", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--tasks", type=int, default=3, help="tasks in the plan")
    parser.add_argument("--chains", type=int, default=1, help="independent chains they form")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before every answer")
    parser.add_argument("--full-output", action="store_true", help="bill every answer at its output limit")
    parser.add_argument("--hold-after", type=int, help="let N billed answers leave and keep the rest back")
    given = parser.parse_args()
    script = Script(tasks=given.tasks, chains=given.chains, delay=given.delay, full_output=given.full_output)
    server = ModelServer(script, port=given.port, on_answer=lambda count: print(f"answer {count}", flush=True))
    if given.hold_after is not None:
        server.hold_after(given.hold_after)
    with server:
        print(json.dumps({"url": server.url, "environment": server.environment()}), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
