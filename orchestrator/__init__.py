"""A multi-LLM orchestrator: reads a spec, plans, spends, writes, checks, reviews and reports."""
