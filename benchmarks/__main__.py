"""`python -m benchmarks`: every benchmark, one line a figure."""

from benchmarks import cancelling, forecast, scheduling, startup

startup.main()
scheduling.main()
cancelling.main()
forecast.main()
