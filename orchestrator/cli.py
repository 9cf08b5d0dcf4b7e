"""The command line: flags in, a folder with files and a report out, and an exit status that says how it went.

Only the standard library is imported here before it is needed: `--version` and `--help` answer at once.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import sys
from collections.abc import Sequence

from orchestrator.exits import EXIT_COMPLETED, EXIT_INTERRUPTED, EXIT_NOT_COMPLETED, EXIT_USAGE
from orchestrator.version import VERSION

APP_TYPES = ("fastapi", "nextjs", "react-vite", "html", "library", "cli", "generic")
_KEPT = "What was done so far is kept; --list-projects shows it."


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status; no traceback reaches the user."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a character that a terminal lacks is no reason to stop a run
    parser = _parser()
    arguments, unknown = parser.parse_known_args(argv)
    if unknown:
        parser.error(_unknown(parser, unknown[0]))
    if arguments.version:
        print(f"orchestrator {VERSION}")
        return EXIT_COMPLETED
    from orchestrator.errors import OrchestratorError

    try:
        from orchestrator.commands import run

        status = run(arguments, dict(os.environ))
        sys.stdout.flush()
        return status
    except OrchestratorError as error:
        print(f"orchestrator: {error}", file=sys.stderr)
        return error.exit_status
    except ModuleNotFoundError as error:
        from orchestrator.missing import missing_packages, sentence

        if not (packages := missing_packages()):
            print(f"orchestrator: {_sentence(error)}", file=sys.stderr)
            return EXIT_NOT_COMPLETED
        print(f"orchestrator: {sentence(packages)}", file=sys.stderr)
        return EXIT_USAGE
    except BrokenPipeError:
        # What still waits in the stream must not be tried again, and fail again, when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print(f"orchestrator: nobody reads standard output any more. {_KEPT}", file=sys.stderr)
        return EXIT_NOT_COMPLETED
    except KeyboardInterrupt:
        print("orchestrator: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the edge of the program: a user gets a sentence, never a traceback
        print(f"orchestrator: {_sentence(error)}", file=sys.stderr)
        return EXIT_NOT_COMPLETED


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        where = f" ({error.filename})" if error.filename else ""
        return f"{error.strerror}{where}. What was done so far is kept; mend this and use --resume."
    return f"{type(error).__name__}: {error}. {_KEPT}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="orchestrator",
        description="Build software with several models under a hard dollar cap.",
        allow_abbrev=False,
    )
    what = parser.add_argument_group("what to build")
    what.add_argument("--project", metavar="TEXT", help="what to build")
    what.add_argument("--criteria", metavar="TEXT", help="when it is done")
    what.add_argument(
        "--file", metavar="PATH", type=_filled, help="a spec file instead of --project; flags win over it"
    )
    what.add_argument("--app-type", metavar="NAME", type=_app_type, help=f"{', '.join(APP_TYPES)}; default: detected")
    limits = parser.add_argument_group("limits")
    limits.add_argument("--budget", metavar="USD", type=_number, help="hard cap on what is spent; default: 8.0")
    limits.add_argument("--max-time", metavar="SECONDS", type=_number, help="hard cap on time; default: 5400")
    limits.add_argument("--policy", metavar="FILE", type=_filled, help="a policy file, YAML or JSON")
    limits.add_argument("--concurrency", metavar="N", type=_count, help="tasks at once; default: 3")
    runs = parser.add_argument_group("runs")
    runs.add_argument("--output-dir", metavar="DIR", type=_filled, help="where results go; default: ./results")
    runs.add_argument(
        "--project-id", metavar="ID", type=_filled, help="name this run; of a run that exists: go on with it"
    )
    runs.add_argument("--resume", metavar="ID", type=_filled, help="go on with an interrupted or exhausted run")
    runs.add_argument("--list-projects", action="store_true", help="every known run")
    runs.add_argument("--plan", action="store_true", help="architecture, tasks and forecast; generates nothing")
    runs.add_argument("--offline", action="store_true", help="use only the built-in model that needs no key")
    output = parser.add_argument_group("output")
    output.add_argument("--json", action="store_true", help="one JSON object on standard output at the end")
    output.add_argument("--print-schema", action="store_true", help="the JSON Schema of spec files")
    output.add_argument("--version", action="store_true", help="the version")
    return parser


def _filled(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("must not be empty")
    return text


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number from 0 up, not {text!r}")
    return value


def _count(text: str) -> int:
    value = int(text) if text.isascii() and text.isdigit() else 0
    if not 1 <= value <= 100:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to 100, not {text!r}")
    return value


def _app_type(text: str) -> str:
    if text not in APP_TYPES:
        from orchestrator.strict import nearest

        raise argparse.ArgumentTypeError(f"{text!r} is not an app type{nearest(text, APP_TYPES)}")
    return text


def _unknown(parser: argparse.ArgumentParser, given: str) -> str:
    from orchestrator.strict import nearest

    if not given.startswith("-"):
        return f"{given!r} belongs to no flag; a text with blanks needs quotes"
    flags = re.findall(r"--[a-z-]+", parser.format_usage())
    return f"there is no flag {given.partition('=')[0]!r}{nearest(given.partition('=')[0], flags)}"
