"""Where this machine's Node.js and npm are, and from which registry npm installs."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from orchestrator.errors import SandboxError
from orchestrator.sandbox.process import ask

# What every rung that isolates shows read-only, with all that lies beside a program there.
_SYSTEM = Path("/usr")
_SCRIPT = "bin/npm-cli.js"
# Options that make npm read nobody's configuration and keep no log; it refuses the same file twice.
UNCONFIGURED = ("--userconfig", "/dev/null", "--globalconfig", "/nonexistent/npmrc", "--logs-max", "0")
_ASK_SECONDS = 30


@dataclass(frozen=True, slots=True)
class NodeTools:
    """A Node.js and the npm that belongs to it: `node` is the program, `npm` the folder of npm's own package."""

    node: Path
    npm: Path

    @property
    def in_system(self) -> bool:
        """Tell whether the sandbox shows both by itself, at their own places."""
        return self.node.is_relative_to(_SYSTEM) and self.npm.is_relative_to(_SYSTEM)

    def npm_script(self, npm: str) -> str:
        """Name npm's program inside the folder that holds its package."""
        return f"{npm}/{_SCRIPT}"


_REGISTRY_HOSTS: dict[NodeTools, tuple[str, ...]] = {}


def node_tools(search_path: str | None = None) -> NodeTools | None:
    """Find Node.js and npm on the search path, the process's own unless told; None unless both are there."""
    node, npm = shutil.which("node", path=search_path), shutil.which("npm", path=search_path)
    if not node:
        return None
    program = Path(node).resolve()
    # npm is a link to its script, except where a version switcher put a program of its own in front of it.
    folders = [Path(npm).resolve().parent.parent] if npm else []
    folders.append(program.parent.parent / "lib" / "node_modules" / "npm")
    return next((NodeTools(program, folder) for folder in folders if (folder / _SCRIPT).is_file()), None)


async def npm_hosts() -> tuple[str, ...]:
    """Return the host of npm's default registry, with nobody's configuration; each npm is asked once a process.

    Raises SandboxError when there is no npm, or when its answer is no https address. A failure is not kept.
    """
    tools = await asyncio.to_thread(node_tools)
    if tools is None:
        raise SandboxError("Node.js and npm are not installed.", hint="Install Node.js 20 or newer with its npm.")
    # No lock: one of asyncio would belong to a single event loop. Two that ask at the same time are told the same.
    if tools not in _REGISTRY_HOSTS:
        _REGISTRY_HOSTS[tools] = await _hosts_of(tools)
    return _REGISTRY_HOSTS[tools]


async def _hosts_of(tools: NodeTools) -> tuple[str, ...]:
    npm = tools.npm_script(str(tools.npm))
    with tempfile.TemporaryDirectory(prefix="npm-") as empty:
        status, out, err = await ask(
            [str(tools.node), npm, "config", "get", "registry", *UNCONFIGURED, "--cache", empty],
            seconds=_ASK_SECONDS,
            environment={"HOME": empty},
            cwd=Path(empty),
        )
    address = urlsplit(out.decode(errors="replace").strip())
    if status != 0 or address.scheme != "https" or not address.hostname:
        raise SandboxError(f"npm does not say where its registry is: {(out + err).decode(errors='replace')[-300:]}")
    return (address.hostname,)
