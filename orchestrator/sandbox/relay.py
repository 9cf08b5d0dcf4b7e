"""The sandbox's end of the way to the package index; standard library only.

Started inside as `python -I -S relay.py SOCKET PROGRAM …`, it listens on the sandbox's own 127.0.0.1, forwards each
connection to the Unix socket bound into the sandbox, runs the program with HTTPS_PROXY set, and ends with its status.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading

LONGEST = 107
"""The bytes that an address of a Unix socket may have, unix(7)."""


def pump(source: socket.socket, sink: socket.socket) -> None:
    """Copy one direction until it ends, then close it for the other side."""
    try:
        while chunk := source.recv(65536):
            sink.sendall(chunk)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        sink.close()  # the other side went away: the program sees a dropped connection, as it would without us


def forward(listener: socket.socket, path: str) -> None:
    """Connect everybody who comes with the Unix socket."""
    if len(os.fsencode(path)) > LONGEST:
        folder = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY)
        path = f"/proc/self/fd/{folder}/{os.path.basename(path)}"
    while True:
        client, _ = listener.accept()
        upstream = socket.socket(socket.AF_UNIX)
        upstream.connect(path)
        for pair in ((client, upstream), (upstream, client)):
            threading.Thread(target=pump, args=pair, daemon=True).start()


def main() -> None:
    """Listen, run the program, end as it ended."""
    path, *argv = sys.argv[1:]
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=forward, args=(listener, path), daemon=True).start()
    proxy = f"http://127.0.0.1:{listener.getsockname()[1]}"
    names = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy")
    status = subprocess.run(argv, env=os.environ | dict.fromkeys(names, proxy), check=False).returncode  # noqa: S603
    os._exit(status if status >= 0 else 128 - status)


if __name__ == "__main__":
    main()
