"""The GitHub Action: inputs in, a command out."""
