"""A server that is so many milliseconds away: leads everybody to its socket, each piece of data that much later.

    python bench/distance.py LISTEN-SOCKET SERVER-SOCKET MILLISECONDS-A-WAY

It takes no more than the time of one core for it: what it cannot deliver in time comes later, as on a busy network."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from functools import partial

AT_ONCE = 1 << 18


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    """Write what is read, so many seconds later."""
    loop = asyncio.get_running_loop()
    with suppress(OSError):
        while data := await reader.read(AT_ONCE):
            loop.call_later(seconds, writer.write, data)
    loop.call_later(seconds, writer.close)


async def lead(server: str, seconds: float, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Lead a client to the server, until one of them ends."""
    there, back = await asyncio.open_unix_connection(server)
    await asyncio.gather(carry(reader, back, seconds), carry(there, writer, seconds))


async def main(listen: str, server: str, seconds: float) -> None:
    """Lead everybody to the server."""
    async with await asyncio.start_unix_server(partial(lead, server, seconds), listen) as serving:
        print("ready", flush=True)
        await serving.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3]) / 1000))
