"""The exit statuses of the command line (CONTRACT section 2)."""

EXIT_COMPLETED = 0
EXIT_NOT_COMPLETED = 1
EXIT_USAGE = 2
EXIT_CAP = 3
EXIT_NO_MODEL = 4
EXIT_INTERRUPTED = 130
