from __future__ import annotations

import asyncio

from orchestrator.providers.transport import http_client

CALLS = 150


async def test_as_many_calls_are_under_way_to_one_vendor_as_runs_make() -> None:
    # given a vendor that answers nobody before all have asked
    asked, all_asked = 0, asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        await reader.readuntil(b"\r\n\r\n")
        asked += 1
        if asked == CALLS:
            all_asked.set()
        await all_asked.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=CALLS)
    address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    # when
    async with server, http_client({}) as client, asyncio.timeout(30):
        answers = await asyncio.gather(*(client.get(address) for _ in range(CALLS)))
    # then
    assert [it.status_code for it in answers] == [200] * CALLS
