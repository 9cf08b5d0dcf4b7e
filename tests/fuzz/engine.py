"""One target under atheris, which watches which lines and branches of our code an input reaches.

Started by `tests.fuzz` in a process of its own, because libFuzzer ends the process that it runs in.
"""

from __future__ import annotations

import sys

import atheris  # comes with `make fuzz`, which installs its own requirements

with atheris.instrument_imports(include=["orchestrator", "bot", "markdown_it", "yaml"]):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    """Fuzz the target that the first argument names; the others are libFuzzer's."""
    program, name, *options = sys.argv
    atheris.Setup([program, *options], TARGETS[name].attempt)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
