"""A TCP proxy that can be told to be slow, silent, or to break its connections: a network that misbehaves."""

import asyncio
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from tests.support.waiting import joined, until

LINGER: Final = struct.pack("ii", 1, 0)  # close with RST, not FIN


class Proxy:
    """Passes bytes on between the clients of a port and another port; all attributes may be set at any time."""

    def __init__(self, port: int, target: int) -> None:
        self.port, self.target = port, target
        self.delay = 0.0  # seconds that each piece waits, either way
        self.passing = True  # False: bytes are taken and wait; new connections, too
        self.deaf = set[int]()  # connections that stay open and never pass anything again
        self.refusing = False  # new connections are reset
        self.passed = 0  # bytes
        self._number = 0
        self._open: dict[int, list[asyncio.StreamWriter]] = {}
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def reset(self) -> None:
        """Break all connections that are open."""
        self._loop.call_soon_threadsafe(self._reset)

    def silence(self) -> None:
        """Let the connections that are open now never pass anything again; nobody is told."""
        self.deaf |= set(self._open)

    def _reset(self) -> None:
        for writers in list(self._open.values()):
            for writer in writers:
                self._break(writer)

    @staticmethod
    def _break(writer: asyncio.StreamWriter) -> None:
        found = writer.get_extra_info("socket")
        with suppress(OSError):
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
        writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            self._break(writer)
            return
        there, back = await asyncio.open_connection("127.0.0.1", self.target)
        self._number += 1
        number = self._number
        self._open[number] = [writer, back]
        ways = [self._pump(number, reader, back), self._pump(number, there, writer)]
        try:
            await asyncio.wait(
                map(asyncio.ensure_future, ways), return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            del self._open[number]
            for end in (writer, back):
                end.close()

    async def _pump(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with suppress(OSError):
            while piece := await reader.read(65_536):
                await asyncio.sleep(self.delay)
                while not self.passing or number in self.deaf:
                    await asyncio.sleep(0.05)
                writer.write(piece)
                self.passed += len(piece)
                await writer.drain()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            asyncio.start_server(self._serve, "127.0.0.1", self.port)
        )
        self._ready.set()
        self._loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()


@contextmanager
def proxy(port: int, target: int) -> Iterator[Proxy]:
    """Run a proxy meanwhile."""
    running = Proxy(port, target)
    running._thread.start()
    until(running._ready.is_set)
    try:
        yield running
    finally:
        running._loop.call_soon_threadsafe(running._loop.stop)
        joined(running._thread)
