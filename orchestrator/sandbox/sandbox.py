"""The sandbox: the strongest rung that proves itself on this machine, and one way to run a program in it."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import socket
import sys
import tempfile
from collections.abc import Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, replace
from pathlib import Path

from orchestrator.errors import SandboxError
from orchestrator.sandbox import layout
from orchestrator.sandbox.claims import Claim, claims
from orchestrator.sandbox.filter import seccomp_filter
from orchestrator.sandbox.index import index_hosts, index_proxy
from orchestrator.sandbox.limits import Finished, Limits, PackageIndex, Rung
from orchestrator.sandbox.node import npm_hosts
from orchestrator.sandbox.process import run_process

_HERE = Path(__file__).parent
_PROGRAMS = ("relay.py", "probe.py")
_CERTIFICATES = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
_SOCKET = "index.sock"
# What the kernel let this process isolate once, it lets it isolate again.
_PASSED: set[Rung] = set()
_PROBE_LIMITS = Limits(seconds=20)
_HINT = (
    "Install bubblewrap, and let ordinary users make user namespaces (on Ubuntu 24.04: "
    "sysctl kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile for bwrap)."
)


class Sandbox:
    """A place to run programs that nobody trusts; made by `open_sandbox`, which has tested it.

    `isolated` says that it holds network, files and processes; `runs_untrusted` that generated code may run in it;
    `description` is one sentence for the report, true of this rung.
    """

    def __init__(self, rung: Rung, *, allow_unisolated: bool = False, hosts: Collection[str] = ()) -> None:
        self.rung = rung
        self.isolated = rung is not Rung.LIMITS
        self.runs_untrusted = self.isolated or allow_unisolated
        self.description = _describe(rung)
        self.hosts = tuple(hosts)

    def places(self, workspace: Path, read_only: Sequence[Path] = ()) -> layout.Places:
        """Say where a program will find its workspace, the read-only paths and a Python."""
        if self.isolated:
            return layout.isolated_places(read_only)
        python = layout.base_python()
        targets = tuple(str(path.resolve()) for path in read_only)
        search_path = f"{python.parent}:/usr/local/bin:/usr/bin:/bin"
        return layout.Places(str(workspace.resolve()), targets, str(python), search_path)

    async def run(
        self,
        argv: Sequence[str],
        *,
        workspace: Path,
        limits: Limits | None = None,
        read_only: Sequence[Path] = (),
        environment: Mapping[str, str] | None = None,
        package_index: PackageIndex | None = None,
        static: bool = False,
    ) -> Finished:
        """Run a program in the workspace and wait for its end.

        The workspace is writable at /workspace, the read-only paths are at /deps/0, /deps/1 … (`places` names them).
        A caller who is root gives the workspace away to the sandbox's user, uid 65534: hand in a copy. `package_index`
        opens the way to that package index alone. `static` marks a check of our own that executes nothing of the
        workspace, the only thing that the rung without isolation runs unless the operator allowed more.
        Raises SandboxError when the program may not or cannot be started.
        """
        if not (static or self.runs_untrusted):
            raise SandboxError("Generated code does not run without isolation.", hint=_HINT)
        bounds = limits or Limits()
        places = self.places(workspace, read_only)
        async with AsyncExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sandbox-")))
            inside = Path("/run") if self.isolated else folder
            variables = {**_environment(places), **_prepare(folder, inside), **(environment or {})}
            proxy = None
            if package_index:
                public = npm_hosts if package_index is PackageIndex.NPM else index_hosts
                hosts = self.hosts or await public()
                proxy = await stack.enter_async_context(index_proxy(folder / _SOCKET, hosts))
                argv = [places.python, "-I", "-S", f"{inside}/relay.py", f"{inside}/{_SOCKET}", *argv]
            command = self._command(argv, workspace, read_only, folder, bounds, variables)
            outer = {} if self.isolated else variables
            try:
                finished = await run_process(
                    command,
                    limits=bounds,
                    environment=outer,
                    cwd=workspace,
                    scratch=layout.SCRATCH if self.isolated else (),
                )
            except OSError as error:
                raise SandboxError(f"The sandbox ({self.rung}) does not start: {error}", hint=_HINT) from error
        return replace(finished, index_failures=tuple(proxy.failures)) if proxy else finished

    def _command(
        self,
        argv: Sequence[str],
        workspace: Path,
        read_only: Sequence[Path],
        folder: Path,
        limits: Limits,
        variables: Mapping[str, str],
    ) -> list[str]:
        """Write the command line that builds this rung and runs the program in it."""
        program = layout.limited(argv, limits, processes=self.isolated)
        if self.rung is Rung.LIMITS:
            return program
        mounts = layout.mounts(workspace, read_only, folder, limits)
        order = {"uid": layout.UID, "own": str(workspace.resolve()), "filter": seccomp_filter().hex()}
        if self.rung is Rung.UNSHARE:
            order |= {"mode": "unshare", "mounts": [asdict(mount) for mount in mounts], "argv": program}
            return _launch(order | {"environment": dict(variables), "cwd": layout.WORKSPACE})
        bubblewrap = shutil.which("bwrap", path="/usr/local/bin:/usr/bin:/bin")
        if bubblewrap is None:
            raise SandboxError("bubblewrap (bwrap) is not installed.", hint=_HINT)
        if os.geteuid() != 0:
            inner = layout.bubblewrap_arguments(bubblewrap, mounts, variables) + program
            return _launch(order | {"mode": "become", "argv": inner})
        bound = (layout.Kind.READ_ONLY, layout.Kind.READ_WRITE)
        sources = [mount.source for mount in mounts if mount.kind in bound]
        staged = [
            replace(mount, source=f"/mnt/{sources.index(mount.source)}") if mount.kind in bound else mount
            for mount in mounts
        ]
        inner = layout.bubblewrap_arguments(bubblewrap, staged, variables) + program
        return _launch(order | {"mode": "stage", "sources": sources, "argv": inner})


async def open_sandbox(
    rung: Rung | None = None, *, allow_unisolated: bool = False, index_hosts: Collection[str] = ()
) -> Sandbox:
    """Open the strongest rung whose self-test passes, or exactly the one asked for.

    `allow_unisolated` is the operator's word that generated code may run where nothing holds it; `index_hosts` are the
    operator's, in place of the public package index: the first is the index, the others may serve its files. A rung
    that passed is not tested again in this process.
    Raises SandboxError with the reason when the rung asked for does not isolate on this machine.
    """
    reasons: list[str] = []
    for candidate in [rung] if rung else list(Rung):
        sandbox = Sandbox(candidate, allow_unisolated=allow_unisolated, hosts=index_hosts)
        if not sandbox.isolated:
            if reasons:
                sandbox.description += f" Not available here: {'; '.join(reasons)}."
            return sandbox
        if candidate in _PASSED:
            return sandbox
        reason = await self_test(sandbox)
        if not reason:
            _PASSED.add(candidate)
            return sandbox
        reasons.append(f"{candidate}: {reason}")
    raise SandboxError(f"The sandbox asked for does not work on this machine. {reasons[0]}", hint=_HINT)


async def self_test(sandbox: Sandbox) -> str:
    """Run a tiny program that tries the ways out; give the reason why the rung does not count, or an empty string."""
    home = Path.home()
    above = home if os.access(home, os.W_OK) else None
    with (
        tempfile.TemporaryDirectory(prefix=".sandbox-canary-", dir=above) as canaries,
        tempfile.TemporaryDirectory(prefix="sandbox-probe-") as folder,
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_UNIX) as abstract,
    ):
        canary, workspace, name = Path(canaries, "canary"), Path(folder, "workspace"), secrets.token_hex(16)
        await asyncio.to_thread(canary.write_text, "nobody inside may read this", "utf-8")
        await asyncio.to_thread(workspace.mkdir)
        abstract.bind("\0" + name)
        abstract.listen()
        places = sandbox.places(workspace)
        question = {
            "files": [str(canary), f"/proc/{os.getpid()}/environ"],
            "port": server.getsockname()[1],
            "abstract": name,
            "environment": [*_environment(places), *_certificates(Path("/run")), "LC_CTYPE"],
            "filtered": bool(seccomp_filter()),
        }
        argv = [places.python, "-I", "-S", "/run/probe.py", json.dumps(question)]
        try:
            finished = await sandbox.run(argv, workspace=workspace, limits=_PROBE_LIMITS)
        except SandboxError as error:
            return error.message
        written = workspace / "probe-result"
        return _verdict(finished, wrote=written.is_file() and not written.is_symlink())


def _verdict(finished: Finished, *, wrote: bool) -> str:
    if finished.timed_out:
        return f"the self-test did not end within {_PROBE_LIMITS.seconds:.0f} seconds"
    if finished.status != 0:
        return finished.output.strip()[-300:] or f"the self-test ended with status {finished.status}"
    ways_out = json.loads(finished.output)
    if ways_out:
        return "; ".join(ways_out)
    return "" if wrote else "what is written into the workspace does not arrive"


def _environment(places: layout.Places) -> dict[str, str]:
    return {
        "PATH": places.search_path,
        "HOME": layout.HOME if places.workspace == layout.WORKSPACE else places.workspace,
        "LANG": "C.UTF-8",
        "TMPDIR": "/tmp",  # noqa: S108  in an isolated rung, the sandbox's own
        "PYTHONDONTWRITEBYTECODE": "1",
        "PWD": places.workspace,
    }


def _prepare(folder: Path, inside: Path) -> dict[str, str]:
    """Fill the folder that appears as /run; give the environment variables that point into it."""
    folder.chmod(0o755)
    etc = folder / "etc"
    etc.mkdir()
    for name, content in layout.ETC.items():
        (etc / name).write_text(content, encoding="ascii")
    for name in _PROGRAMS:
        shutil.copyfile(_HERE / name, folder / name)
    certificates = _certificates(inside)
    if certificates:
        shutil.copyfile(_bundle(), folder / "certificates.pem")
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return certificates


def _certificates(inside: Path) -> dict[str, str]:
    """Where this machine names its own bundle of certificates, a copy of it holds inside too."""
    if not Path(_bundle()).is_file():
        return {}
    names = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
    return dict.fromkeys(names, f"{inside}/certificates.pem")


def _bundle() -> str:
    return next((os.environ[name] for name in _CERTIFICATES if os.environ.get(name)), "")


def _launch(order: Mapping[str, object]) -> list[str]:
    told = {**order, "parent": os.getpid()}
    return [sys.executable, "-I", "-S", str(_HERE / "launch.py"), json.dumps(told)]


def _describe(rung: Rung) -> str:
    where = {Rung.BUBBLEWRAP: "in bubblewrap", Rung.UNSHARE: "in Linux namespaces of its own"}.get(rung)
    if where is None:
        return (
            "There was no isolation: programs ran with limits on time, memory and disk and a clean environment, but "
            "with this machine's network and files."
        )
    kept = claims(rung)
    memory = Claim.TOTAL_MEMORY not in kept
    return (
        f"Generated code ran {where}: no network, no file but its own folder, an own process space, no privilege, "
        "limits on time, memory, disk, processes and output."
        f"{' Memory is limited for each process, not for all together.' if memory else ''}"
        f"{'' if Claim.KERNEL in kept else ' No system call is refused on this kind of processor.'}"
    )
