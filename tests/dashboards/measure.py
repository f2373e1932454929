"""What viewers cost: CPU seconds of the kernel and of the server of a running dashboard, with one viewer and with fifty.

python -m tests.dashboards.measure NAME [SECONDS]
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter

import psutil
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

from rta.dashboards import link, running


async def view(address: str, seen: Counter[str]) -> None:
    """Look at a dashboard as a page does: take frames, and say that they are drawn."""
    base, _, query = address.partition("/?")
    feed = HTTPRequest(f"{base.replace('http', 'ws', 1)}/feed?{query}", headers={"Origin": base})
    connection = await websocket_connect(feed)
    try:
        while (text := await connection.read_message()) is not None:
            message = json.loads(text)
            views = [part["view"] for part in message.get("page", {}).get("parts", ()) if part.get("view")]  # fmt: skip
            answers = [{"view": each, "do": "hello"} for each in views]
            if "seq" in (frame := message.get("frame", {})):
                seen["full" if frame.get("full") else "changes"] += 1
                answers.append({"view": message["view"], "do": "ack", "seq": frame["seq"]})
            for answer in answers:
                await connection.write_message(json.dumps(answer))
    finally:
        connection.close()


def spent(server: int) -> dict[str, float]:
    """Return the CPU seconds of the server, and of all that it has started."""
    process = psutil.Process(server)
    first, *rest = (
        sum(each.cpu_times()[:2]) for each in (process, *process.children(recursive=True))
    )
    return {"server": first, "kernel": sum(rest)}


async def measured(name: str, viewers: int, seconds: float) -> str:
    """Return a line: what so many viewers cost in so many seconds."""
    (pid,) = [each.pid for each in running() if each.name == name]
    seen: Counter[str] = Counter()
    looking = [asyncio.create_task(view(link(name), seen)) for _ in range(viewers)]
    await asyncio.sleep(5)  # until each has all
    seen.clear()
    before = spent(pid)
    await asyncio.sleep(seconds)
    cost = {who: round(after - before[who], 2) for who, after in spent(pid).items()}
    for each in looking:
        each.cancel()
    await asyncio.gather(*looking, return_exceptions=True)
    return f"{viewers} viewers, {seconds:g} s: {cost} CPU seconds, {sum(seen.values()) / viewers:.0f} frames each, {seen['full']} of them full"


if __name__ == "__main__":
    for count in (1, 50):
        print(asyncio.run(measured(sys.argv[1], count, float(*sys.argv[2:3] or ["60"]))))
