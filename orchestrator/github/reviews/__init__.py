"""Reviews of pull requests: their threads and diffs, and what we say on the lines."""
