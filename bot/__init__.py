"""The webhook bot: a signed delivery in, a command out."""
