"""`python -m benchmarks`: every benchmark, one line a figure."""

from benchmarks import cancelling, scheduling, startup

startup.main()
scheduling.main()
cancelling.main()
