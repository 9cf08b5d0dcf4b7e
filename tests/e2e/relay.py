"""`python -m tests.e2e.relay FROM=TO …`: TCP lines from one address to another, also into a network namespace.

An address is `HOST:PORT`, or the path of a Unix socket, which is the same in every network namespace.
"""

from __future__ import annotations

import asyncio
import sys


async def _open(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if "/" in address:
        return await asyncio.open_unix_connection(address)
    host, _, port = address.rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def _pass(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    except OSError:
        pass  # the line is gone, and both ends hear of it below
    finally:
        sink.close()


async def listen(address: str, to: str) -> asyncio.Server:
    """Listen at an address, and hand on what comes there to another one."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await _open(to)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_pass(reader, far_writer), _pass(far_reader, writer))

    if "/" in address:
        return await asyncio.start_unix_server(connected, address)
    host, _, port = address.rpartition(":")
    return await asyncio.start_server(connected, host, int(port))


async def _main(lines: list[str]) -> None:
    for line in lines:
        address, _, to = line.partition("=")
        await listen(address, to)
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)  # until nobody needs it any more


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1:]))
