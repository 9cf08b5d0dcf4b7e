"""GitHub's own line: a delivery becomes a command, a command a run, a run a pull request with its report."""
