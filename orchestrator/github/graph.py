"""The tasks of a run as a Mermaid diagram that no title can break out of; pure."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.state import Task


def task_graph(tasks: Sequence[Task]) -> str:
    """Return the tasks as a Mermaid graph; node names are ours, titles quoted without Mermaid's own marks."""
    names = {task.id: f"t{number}" for number, task in enumerate(tasks, 1)}
    lines = ["```mermaid", "graph TD"]
    for task in tasks:
        lines.append(f'    {names[task.id]}["{_mermaid(task.id)}: {_mermaid(task.title)}"]')
    for task in tasks:
        lines += [f"    {names[before]} --> {names[task.id]}" for before in task.depends_on if before in names]
    return "\n".join([*lines, "```"])


def _mermaid(text: str) -> str:
    flat = "".join(letter if letter.isalnum() or letter in " .,_/()-:" else " " for letter in " ".join(text.split()))
    return " ".join(flat.split())[:80]
