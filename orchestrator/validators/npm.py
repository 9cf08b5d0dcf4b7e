"""npm for a project: its packages, installed in a keyless step of their own, and its scripts, run without a network."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import tempfile
import threading
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import SandboxError
from orchestrator.sandbox import (
    MIB,
    UNCONFIGURED,
    Finished,
    Limits,
    NodeTools,
    PackageIndex,
    Sandbox,
    node_tools,
    npm_hosts,
)
from orchestrator.state import Finding, ValidationResult, ValidationStatus
from orchestrator.validators.npm_output import findings_in, summary_in
from orchestrator.validators.package_json import LOCK, PACKAGE_JSON, Package, read_package
from orchestrator.validators.plan import (
    FINDINGS,
    NPM,
    NPM_INSTALL,
    SCRIPTS,
    Environment,
    line_of,
    not_run,
    tail,
    without,
)
from orchestrator.workspace import copy_folder, written

_INSTALL_LIMITS = Limits(seconds=600, memory_bytes=4096 * MIB, processes=1024, file_bytes=1024 * MIB)
# A bundler and its workers are many threads, and each counts as a process.
_RUN_LIMITS = Limits(seconds=600, memory_bytes=4096 * MIB, processes=1024, file_bytes=1024 * MIB)
_MODULES = "node_modules"
_NO_NODE = "Node.js and npm are not installed here: install Node.js 20 or newer with its npm."
# How the scripts are told that nobody watches, that colours are of no use, and that nothing is to be sent home.
_QUIET = {"CI": "true", "NO_COLOR": "1", "FORCE_COLOR": "0", "NEXT_TELEMETRY_DISABLED": "1"}
_UNREACHED = re.compile(
    r"\b(?:ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ERR_SOCKET_TIMEOUT|EIDLETIMEOUT|E5\d\d)\b"
    r"|tunneling socket could not be established|self.signed certificate|unable to get local issuer certificate"
)
# Packages of anybody name themselves and their engines: every part has a bound, so that no output takes long to search.
_ENGINE = re.compile(
    r"EBADENGINE[ \t]{1,9}package: '(?P<name>[^'\n]{1,300})@[^@'\n]{0,300}',\n.{0,99}EBADENGINE[ \t]{1,9}required: "
    r"\{(?P<wanted>[^}]{0,500})\},\n.{0,99}EBADENGINE[ \t]{1,9}current: \{(?P<present>[^}]{0,500})\}"
)
_MISSING = re.compile(r"'(?P<name>(?:@[\w.~-]+/)?[\w.~-]+)@[^']*' (?:is not in this registry|could not be found)")
_NO_VERSION = re.compile(r"No matching version found for (?P<name>(?:@[\w.~-]+/)?[\w.~-]+)@")


def npm_key(root: Path) -> str:
    """Identify what a project asks of npm; the same key means that an `Environment` can be used again."""
    package = read_package(root) or Package()
    seen = (NPM_INSTALL, package.manifest, package.lock, package.npmrc, package.findings, package.problem)
    return hashlib.sha256(repr(seen).encode()).hexdigest()


def wanted(root: Path, asked: Collection[str] | None, *, commands: bool) -> bool:
    """Say whether a check of the whole project needs what its package.json declares: for a script, or for commands."""
    package = read_package(root)
    if package is None:
        return False
    if asked is None:
        return commands or bool(package.problem) or any(script in package.scripts for script in SCRIPTS.values())
    return commands or any(name in NPM for name in asked)


async def npm_install(root: Path, sandbox: Sandbox, into: Path) -> Environment:
    """Install the packages that a project declares into a folder, from the public registry and without any script.

    The one result is named `npm_install`: failed for names or versions that do not exist and for sources of another
    kind, not run when Node.js is absent or too old, the registry cannot be reached, or nothing isolates.
    """
    package, key = await asyncio.to_thread(lambda: (read_package(root), npm_key(root)))
    tools = await asyncio.to_thread(node_tools)
    if package is None or package.problem:
        return without(not_run(NPM_INSTALL, package.problem if package else "There is no package.json."), key)
    if tools is None:
        return without(not_run(NPM_INSTALL, _NO_NODE), key)
    try:
        # npm takes from the operator's registry what a lock names of the public one.
        own = (host.partition(":")[0] for host in sandbox.hosts[:1])
        hosts = (*own, *await npm_hosts())
        findings = package.findings or await asyncio.to_thread(package.foreign, hosts)
        if findings:
            return without(_failed(NPM_INSTALL, findings, "Not everything comes from the public registry."), key)
        await asyncio.to_thread(_lay_out, into, package)
        finished = await _run_npm(sandbox, tools, into, _install_arguments(sandbox.hosts), index=PackageIndex.NPM)
    except SandboxError as error:
        return without(not_run(NPM_INSTALL, str(error)), key)
    text = await asyncio.to_thread((root / PACKAGE_JSON).read_text, "utf-8", "replace")
    result = read_install(finished, package, text)
    await asyncio.to_thread((into / _MODULES).mkdir, exist_ok=True)
    return Environment(into, (result,), key) if result.passed else without(result, key)


async def run_scripts(
    root: Path, sandbox: Sandbox, environment: Environment | None, asked: Collection[str] | None
) -> tuple[ValidationResult, ...]:
    """Run the project's own `lint`, `build` and `test` without a network, and give the installation's result first.

    A script that is not there is left out, or not run when it was asked for by name.
    """
    package = await asyncio.to_thread(read_package, root)
    chosen = [name for name in SCRIPTS if (asked is None or name in asked)]
    if package is None:
        return tuple(not_run(name, "There is no package.json.") for name in asked or () if name in NPM)
    installed = environment.results if environment else (not_run(NPM_INSTALL, "The packages were not installed."),)
    if not (asked is None or any(name in NPM for name in asked)):
        installed = ()
    results = list(installed)
    tools = await asyncio.to_thread(node_tools)
    for name in chosen:
        script = SCRIPTS[name]
        if script not in package.scripts:
            missing = () if asked is None else (not_run(name, f"package.json has no script `{script}`."),)
            results += missing
        elif environment is None or environment.path is None or tools is None:
            reason = environment.results[0].detail if environment and environment.results else _NO_NODE
            results.append(not_run(name, f"Not run because of {NPM_INSTALL}: {reason}"))
        else:
            finished = await _run_npm(sandbox, tools, root, ["run", script])
            results.append(await asyncio.to_thread(read_script, name, finished, package, root))
    return tuple(results)


async def give_modules(environment: Environment | None, root: Path) -> None:
    """Copy the installed packages into a throw-away copy of the project, which may then do with them what it likes."""
    installed = environment.path if environment else None
    if installed:
        await written(lambda stop: _give(installed / _MODULES, root / _MODULES, stop))


def _give(modules: Path, place: Path, stop: threading.Event) -> None:
    if not os.path.lexists(place):
        copy_folder(modules, place, stop=stop)


def read_install(finished: Finished, package: Package, text: str) -> ValidationResult:
    """Judge how `npm install` ended; `text` is the project's package.json, for the lines of findings.

    A Node.js that the project or a package of its own choice does not support says nothing about the project, and
    neither does a registry out of reach.
    """
    engines = [match for match in _ENGINE.finditer(finished.output) if _concerns(match["name"], package)]
    if engines:
        said = "; ".join(f"{one['name']} wants {one['wanted'].strip()}" for one in engines[:5])
        return not_run(NPM_INSTALL, f"This machine's Node.js does not fit ({engines[0]['present'].strip()}): {said}.")
    if finished.timed_out:
        return not_run(NPM_INSTALL, f"The packages were not installed within {_INSTALL_LIMITS.seconds:.0f} seconds.")
    if passed := finished.passed(_INSTALL_LIMITS):
        return not_run(NPM_INSTALL, f"npm {passed}.")
    if finished.status == 0:
        return ValidationResult(NPM_INSTALL, ValidationStatus.PASSED, (), summary_in(finished.output) or "installed")
    named = _MISSING.search(finished.output) or _NO_VERSION.search(finished.output)
    if not named and (finished.index_failures or _UNREACHED.search(finished.output)):
        reasons = "; ".join(dict.fromkeys(finished.index_failures)) or tail(finished.output, 300)
        return not_run(NPM_INSTALL, f"The package registry cannot be reached: {reasons}")
    line = line_of(text, f'"{named["name"]}"') if named else 1
    errors = [one for one in finished.output.splitlines() if one.startswith("npm error")]
    finding = Finding(PACKAGE_JSON, line, tail("\n".join(errors) or finished.output))
    return _failed(NPM_INSTALL, (finding,), "not all packages can be installed")


def read_script(validator: str, finished: Finished, package: Package, root: Path) -> ValidationResult:
    """Judge how a script ended; its findings are the places in the project that its output names."""
    script = SCRIPTS[validator]
    passed = finished.passed(_RUN_LIMITS)
    if finished.status == 0 and not passed:
        detail = summary_in(finished.output) or "exit status 0"
        return ValidationResult(validator, ValidationStatus.PASSED, (), detail)
    ending = passed or f"ended with status {finished.status}"
    found = findings_in(finished.output, root)[:FINDINGS]
    message = f"`npm run {script}` {ending}.\n{tail(finished.output)}".strip()
    return _failed(validator, found or (Finding(PACKAGE_JSON, package.scripts[script], message),), ending)


@dataclass(frozen=True, slots=True)
class _Command:
    """How npm is started: its program, what the sandbox must show of it, and where programs are searched."""

    argv: tuple[str, ...]
    read_only: tuple[Path, ...]
    environment: Mapping[str, str]


def _link(folder: Path, node: str) -> None:
    """Make Node.js available under its own name: programs of packages start with `env node`."""
    folder.chmod(0o755)
    (folder / "node").symlink_to(node)


@asynccontextmanager
async def _command(sandbox: Sandbox, tools: NodeTools, workspace: Path) -> AsyncIterator[_Command]:
    """Name npm's program as the sandbox sees it; what lies outside of the system is shown at places of its own."""
    with tempfile.TemporaryDirectory(prefix="node-") as folder:
        own = () if tools.in_system else (tools.node, tools.npm, Path(folder))
        places = sandbox.places(workspace, own)
        search_path = places.search_path
        node, npm = (str(tools.node), str(tools.npm)) if tools.in_system else places.read_only[:2]
        if own:
            await asyncio.to_thread(_link, Path(folder), node)
            search_path = f"{places.read_only[2]}:{search_path}"
        elif str(tools.node.parent) not in search_path.split(":"):
            search_path = f"{tools.node.parent}:{search_path}"
        yield _Command((node, tools.npm_script(npm)), own, {**_QUIET, "PATH": search_path})


async def _run_npm(
    sandbox: Sandbox, tools: NodeTools, workspace: Path, arguments: list[str], *, index: PackageIndex | None = None
) -> Finished:
    """Run npm with nobody's configuration; its cache is the sandbox's own, or lies in the folder to install into."""
    async with _command(sandbox, tools, workspace) as command:
        cache = f"{sandbox.places(workspace).workspace}/.npm-cache" if index else "/tmp/npm-cache"  # noqa: S108
        return await sandbox.run(
            [*command.argv, *arguments, *UNCONFIGURED, "--no-update-notifier", "--cache", cache],
            workspace=workspace,
            read_only=command.read_only,
            limits=_INSTALL_LIMITS if index else _RUN_LIMITS,
            environment=command.environment,
            package_index=index,
        )


def _install_arguments(hosts: Sequence[str]) -> list[str]:
    """Return what npm is told; the first of the operator's hosts is its registry in place of the public one."""
    return [
        *(("--registry", f"https://{hosts[0]}/") if hosts else ()),
        *("install", "--ignore-scripts", "--include=dev", "--no-save", "--no-audit", "--no-fund", "--no-progress"),
        *("--fetch-retries", "2", "--fetch-timeout", "60000", "--loglevel", "warn"),
    ]


def _lay_out(into: Path, package: Package) -> None:
    """Write what npm gets to see: dependencies without scripts, and the lock."""
    into.mkdir(parents=True, exist_ok=True)
    (into / PACKAGE_JSON).write_text(package.manifest, encoding="utf-8")
    if package.lock:
        (into / LOCK).write_text(package.lock, encoding="utf-8")


def _concerns(name: str, package: Package) -> bool:
    return name in package.direct or f'"name": "{name}"' in package.manifest


def _failed(validator: str, findings: tuple[Finding, ...], detail: str) -> ValidationResult:
    return ValidationResult(validator, ValidationStatus.FAILED, findings, detail)
