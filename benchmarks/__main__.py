"""`python -m benchmarks`: every benchmark, one line a figure."""

from benchmarks import scheduling, startup

startup.main()
scheduling.main()
