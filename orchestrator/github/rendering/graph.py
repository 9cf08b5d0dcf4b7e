"""The tasks of a run as a Mermaid diagram, coloured by status, that no title can break out of; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.state import Task, TaskStatus

MAX_EDGES = 400
"""Mermaid draws none with more than 500 (`maxEdges`): https://mermaid.js.org/config/schema-docs/config.html."""
MAX_TITLE = 60

# Readable on GitHub's light and dark pages alike: the text's colour is fixed with its ground.
_COLOURS = {
    TaskStatus.COMPLETED: "fill:#dafbe1,stroke:#1a7f37,color:#1f2328",
    TaskStatus.FAILED: "fill:#ffebe9,stroke:#cf222e,color:#1f2328",
    TaskStatus.SKIPPED: "fill:#eaeef2,stroke:#6e7781,color:#1f2328,stroke-dasharray:4",
    TaskStatus.RUNNING: "fill:#fff8c5,stroke:#9a6700,color:#1f2328",
}


def task_graph(tasks: Sequence[Task], statuses: Mapping[str, TaskStatus] | None = None) -> str:
    """Return the tasks as a Mermaid graph; node names are ours, titles quoted without Mermaid's own marks."""
    names = {task.id: f"t{number}" for number, task in enumerate(tasks, 1)}
    known = statuses or {}
    lines = ["```mermaid", "graph TD"]
    for task in tasks:
        shown = known.get(task.id, TaskStatus.PENDING)
        colour = f":::{shown.value}" if shown in _COLOURS else ""
        lines.append(f'    {names[task.id]}["{_mermaid(task.id)}: {_mermaid(task.title)}"]{colour}')
    edges = [(names[before], names[task.id]) for task in tasks for before in task.depends_on if before in names]
    lines += [f"    {before} --> {after}" for before, after in edges[:MAX_EDGES]]
    used = [status for status in _COLOURS if status in known.values()]
    lines += [f"    classDef {status.value} {_COLOURS[status]}" for status in used]
    drawn = "\n".join([*lines, "```"])
    more = len(edges) - MAX_EDGES
    return f"{drawn}\n\nThe diagram leaves {more} dependencies out." if more > 0 else drawn


def _mermaid(text: str) -> str:
    start = " ".join(text.split())[: 4 * MAX_TITLE]
    flat = "".join(letter if letter.isalnum() or letter in " .,_/()-:" else " " for letter in start)
    flat = " ".join(flat.split())
    return flat if len(flat) <= MAX_TITLE else f"{flat[: MAX_TITLE - 1]}…"
