"""What viewers get of a board over real sockets: one that is slow misses frames, and nobody waits for it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest
from tornado.httpclient import HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from rta.dashboards.board import Board
from rta.dashboards.server import PageServer
from tests.support.waiting import HANG


def frame(seq: int, value: int, *, full: bool = False) -> dict[str, Any]:
    """Return a frame of a view with one row."""
    base = {"seq": seq, "full": full, "state": "running", "put": [[1, [value]]], "vitals": {"at": seq, "late": 3}}  # fmt: skip
    return base | ({"title": "t", "columns": [{"name": "n", "type": "number"}], "order": [1], "can": ["stop"]} if full else {})  # fmt: skip


class Client:
    """A page of a viewer, without a browser."""

    def __init__(self, connection: WebSocketClientConnection) -> None:
        self._connection = connection

    async def next(self) -> dict[str, Any]:
        """Return the next frame of the view, or another message."""
        text = await asyncio.wait_for(asyncio.ensure_future(self._connection.read_message()), HANG)
        assert isinstance(text, str)
        message: dict[str, Any] = json.loads(text)
        found: dict[str, Any] = message.get("frame", message)
        return found

    async def leave(self) -> None:
        """Close the page."""
        self._connection.close()
        while await self._connection.read_message() is not None:
            pass

    def say(self, do: str, **more: Any) -> None:
        """Say something about the view."""
        self._connection.write_message(json.dumps({"view": "v", "do": do} | more))


async def joined(server: PageServer) -> Client:
    """Join as a viewer, and take the page."""
    address = f"{server.address.replace('http', 'ws')}/feed?token=t"
    client = Client(await websocket_connect(HTTPRequest(address, headers={"Origin": server.address})))  # fmt: skip
    assert (await client.next())["page"]["title"] == "Board"
    return client


def test_a_slow_viewer_misses_frames_and_slows_nobody() -> None:
    """It gets one frame that it has not drawn yet, and all at once when it is ready again."""
    asked: list[Mapping[str, Any]] = []

    async def scene() -> None:
        board = Board("Board", lambda _, message: asked.append(message))
        board.opened("v")
        server = PageServer(board, "t", host="127.0.0.1", port=0)
        board.frame("v", frame(1, 10, full=True))
        quick, slow = await joined(server), await joined(server)
        for client in (quick, slow):
            client.say("hello")
            whole = await client.next()
            assert (whole["seq"], whole["can"], whole["put"]) == (1, [], [[1, [10]]])
        quick.say("ack", seq=1)
        slow.say("hello")  # as it was late with its ack: all again
        assert (await slow.next())["seq"] == 1
        for seq in range(2, 6):
            board.frame("v", frame(seq, seq))
            assert (await quick.next())["put"] == [[1, [seq]]]
            quick.say("ack", seq=seq)
        slow.say("ack", seq=1)  # at last
        caught_up = await slow.next()
        assert (caught_up["full"], caught_up["seq"], caught_up["put"]) == (True, 5, [[1, [5]]])
        assert caught_up["history"][-1]["at"] == 5
        # A list is asked for once, for both; of what nothing is shown nobody may ask.
        for client in (quick, slow):
            client.say("list", what="late")
            client.say("list", what="duplicate")
            client.say("stop")
            client.say("hello")
            assert (await client.next())["full"]
        board.frame("v", {"list": {"what": "late", "columns": [], "rows": [["<b>"]], "note": ""}})
        for client in (quick, slow):
            assert (await client.next())["list"]["rows"] == [["<b>"]]
            await client.leave()
        await server.close("over")

    asyncio.run(scene())
    assert [each for each in asked if each["do"] != "ack"] == [{"do": "list", "what": "late"}]
    assert [each["seq"] for each in asked if each["do"] == "ack"] == [1, 2, 3, 4, 5]


def test_a_frame_that_is_missing_is_asked_for() -> None:
    """Of a gap the kernel is asked to tell all."""
    asked: list[str] = []
    board = Board("Board", lambda _, message: asked.append(str(message["do"])))
    board.opened("v")
    board.frame("v", frame(4, 1))
    board.frame("v", frame(5, 1, full=True))
    assert asked == ["hello", "ack"]


def test_a_port_that_is_taken_is_said() -> None:
    """The error names the address, and what to do."""

    async def scene() -> None:
        server = PageServer(Board("Board"), "t", host="127.0.0.1", port=0)
        with pytest.raises(Exception, match=f"nothing can listen at 127.0.0.1:{server.port}"):
            PageServer(Board("Board"), "t", host="127.0.0.1", port=server.port)
        await server.close("over")

    asyncio.run(scene())


def test_a_page_for_the_whole_network_comes_by_address_or_own_name() -> None:
    """A name that somebody else made lead here is refused even then."""
    from rta.dashboards.server import _Gate

    gate = _Gate("t", "0.0.0.0", ["board.example"])  # noqa: S104 - nothing listens here
    assert [gate.knows(each) for each in ("192.168.1.7:80", "[::1]:80", "board.example", "evil.example")] == [True, True, True, False]  # fmt: skip
