"""`python -m benchmarks`: every benchmark, or those that are named, one line a figure."""

import sys

from benchmarks import cancelling, forecast, load, many_runs, scheduling, soak, startup

ALL = {
    "startup": startup.main,
    "scheduling": scheduling.main,
    "cancelling": cancelling.main,
    "forecast": forecast.main,
    "load": load.main,
    "many_runs": many_runs.main,
    "soak": soak.main,
}


def main() -> None:
    """Run what the command line names, or all."""
    if unknown := [name for name in sys.argv[1:] if name not in ALL]:
        sys.exit(f"No benchmark is named {', '.join(unknown)}. There are {', '.join(ALL)}.")
    for name in sys.argv[1:] or ALL:
        ALL[name]()


if __name__ == "__main__":
    main()
