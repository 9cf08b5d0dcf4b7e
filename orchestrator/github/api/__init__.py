"""GitHub over HTTP and git: the only files that talk to it."""
