"""`make fuzz`: every target, or those that are named, under atheris; executions and coverage at the end.

What it learns lies in `.fuzz/`, so that the next run begins there. An input that breaks a property is kept beside it as
`crash-…` or `timeout-…`: put it into `tests/fuzz/corpus/TARGET/`, where the tests replay it, and mend what it shows.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.target import CORPUS, Target
from tests.fuzz.targets import TARGETS

LEARNT = Path(".fuzz")
MAX_INPUT_BYTES = 20_000
INPUT_SECONDS = 10
MEMORY_MIB = 3_000

_EXECUTIONS = re.compile(r"^stat::number_of_executed_units:\s*([0-9]+)", re.MULTILINE)
_COVERAGE = re.compile(r"cov: ([0-9]+) ft: ([0-9]+)")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What fuzzing one target came to; `edges` of our code were reached, `features` tell them apart by how often."""

    target: str
    executions: int
    edges: int
    features: int
    broken: bool

    def __str__(self) -> str:
        end = "broken" if self.broken else "held"
        return f"{self.target:<10} {self.executions:>10,} {self.edges:>7,} {self.features:>9,}  {end}"


def fuzz(target: Target, seconds: int) -> Outcome:
    """Fuzz one target for so many seconds, in a process of its own."""
    learnt = LEARNT / target.name
    learnt.mkdir(parents=True, exist_ok=True)
    words = LEARNT / f"{target.name}.dict"
    words.write_text("".join(f'"{_escaped(token)}"\n' for token in target.tokens if token))
    command = [
        *(sys.executable, "-m", "tests.fuzz.engine", target.name, str(learnt), str(CORPUS / target.name)),
        *(f"-max_total_time={seconds}", f"-max_len={MAX_INPUT_BYTES}", f"-timeout={INPUT_SECONDS}"),
        *(f"-rss_limit_mb={MEMORY_MIB}", f"-artifact_prefix={LEARNT}/{target.name}-", f"-dict={words}"),
        "-print_final_stats=1",
    ]
    ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    said = ended.stdout.decode("utf-8", "replace")
    (LEARNT / f"{target.name}.log").write_text(said)
    executions, coverage = _EXECUTIONS.findall(said), _COVERAGE.findall(said)
    edges, features = map(int, coverage[-1]) if coverage else (0, 0)
    return Outcome(target.name, int(executions[-1]) if executions else 0, edges, features, ended.returncode != 0)


def _escaped(token: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in token.encode("utf-8", "surrogatepass")[:60])


def main() -> int:
    """Fuzz, and return 1 when a property was broken."""
    parser = argparse.ArgumentParser(prog="make fuzz")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; all by default")
    parser.add_argument("--seconds", type=int, default=30, help="for each target (default: 30)")
    given = parser.parse_args()
    if unknown := [name for name in given.targets if name not in TARGETS]:
        parser.error(f"there is no target {', '.join(unknown)}")
    print(f"{'target':<10} {'executions':>10} {'edges':>7} {'features':>9}")
    outcomes = []
    for name in given.targets or TARGETS:
        outcomes.append(fuzz(TARGETS[name], given.seconds))
        print(outcomes[-1], flush=True)
    broken = [one.target for one in outcomes if one.broken]
    print(f"{'all':<10} {sum(one.executions for one in outcomes):>10,}")
    for name in broken:
        print(f"{name} is broken: see {LEARNT / name}.log and {LEARNT}/{name}-*", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
