"""A small world laid over GitHub, in which writes are shown and not made."""
