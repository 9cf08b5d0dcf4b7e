"""The GitHub Action: inputs in, a command out, and what came of it as outputs, summary and annotations."""
