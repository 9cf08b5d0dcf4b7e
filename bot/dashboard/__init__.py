"""The dashboard: who may see it, its pages, and the same as JSON."""
