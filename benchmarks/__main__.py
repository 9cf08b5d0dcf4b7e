"""`python -m benchmarks`: every benchmark, one line a figure."""

from benchmarks import forecast, scheduling, startup

startup.main()
scheduling.main()
forecast.main()
