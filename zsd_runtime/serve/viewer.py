"""One open page: it asks for a frame, gets the newest, and asks again.

Nothing is sent that was not asked for. A page that draws slowly, or stands in a hidden tab, therefore gets fewer
frames; no queue grows, and what restores the frames notices nothing.
"""

import asyncio
import json
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from shutil import disk_usage
from typing import TYPE_CHECKING, Any

from zsd_runtime.errors import InputError
from zsd_runtime.serve.look import Look, MalformedMessage, look_of, message_of, plain
from zsd_runtime.serve.picture import Contrasts
from zsd_runtime.serve.snapshot import write_snapshot

if TYPE_CHECKING:  # the package `live` may use this one, but not the other way round
    from starlette.websockets import WebSocket

    from zsd_runtime.live.view import Shown, View

POLL_S = 0.01  # between two looks for a newer frame
QUIET_S = 0.5  # without a newer frame, the page gets the status alone
NOT_A_REQUEST = 1008


@dataclass(eq=False)  # each is a page of its own
class Viewer:
    """Serves one page until it closes.

    Attributes
    ----------
    view : View
    socket : WebSocket
        Accepted.
    snapshots : Path or None
        Folder for snapshots.
    """

    view: "View"
    socket: "WebSocket"
    snapshots: Path | None
    _look: Look | None = None
    _drawn: Look | None = None  # the look of the last picture
    _shown: "Shown | None" = None  # its frame
    _asked: asyncio.Event = field(default_factory=asyncio.Event)
    _contrasts: Contrasts = field(default_factory=Contrasts)

    async def serve(self) -> None:
        """Answer the page until it goes; close the connection when it sends what no page of ours sends."""
        from starlette.websockets import WebSocketDisconnect

        tasks = [asyncio.create_task(work) for work in (self._listen(), self._show())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
        for end in ends:
            if isinstance(end, MalformedMessage):
                with suppress(WebSocketDisconnect, RuntimeError):
                    await self.socket.close(NOT_A_REQUEST)
            elif end is not None and not isinstance(end, WebSocketDisconnect | asyncio.CancelledError):
                raise end  # a fault of ours: uvicorn logs it, and the page connects again

    async def _listen(self) -> None:
        """Act on messages until the page goes."""
        while True:
            event = await self.socket.receive()
            if event["type"] == "websocket.disconnect":
                return
            await self._take(message_of(event.get("text")))

    async def _take(self, message: dict[str, Any]) -> None:
        """Act on a message of the page. A request for a frame replaces one that was not answered yet."""
        match message.get("ask"):
            case "frame":
                self._look = look_of(message)
                self._asked.set()
            case "pause":
                self.view.pause(bool(message.get("paused")))
            case "snapshot":
                await self.socket.send_json({"snapshot": await self._snapshot()})
            case other:
                raise MalformedMessage(f"nobody asks for {other!r}")

    async def _show(self) -> None:
        """Answer requests for frames."""
        loop = asyncio.get_running_loop()
        while True:
            await self._asked.wait()
            deadline = loop.time() + QUIET_S
            while True:
                assert self._look is not None
                look, shown = self._look, self._next(self._look)
                if shown is not None or loop.time() > deadline:
                    break
                await asyncio.sleep(POLL_S)
            self._asked.clear()
            if shown is None:
                await self.socket.send_json(plain({"id": look.id, "status": self._status()}))
                continue
            self._shown, self._drawn = shown, look
            await self.socket.send_bytes(await asyncio.to_thread(self._message, look, shown))

    def _next(self, look: Look) -> "Shown | None":
        """A frame that the page does not have; or the one that it has, if it is to look different."""
        newer = None if look.hold else self.view.latest(look.after)
        while newer is not None and look.channel not in ("", newer.channel):
            newer = self.view.latest(newer.number)  # a view may have a frame of each channel
        if newer is None and look.differs(self._drawn):
            return self._shown
        return newer

    def _message(self, look: Look, shown: "Shown") -> bytes:
        """The length of the facts (4 bytes, big-endian), the facts as JSON, and the JPEGs."""
        images = {"raw": shown.raw, **shown.outputs}
        pictures = {
            name: self._contrasts.picture(f"{shown.channel}/{name}", image, look.box, look.size, look.manual)
            for name, image in images.items()
        }
        facts = {
            "id": look.id, "number": shown.number, "channel": shown.channel, "latency_ms": shown.latency_ms,
            "details": shown.details, "status": self._status(),
            "pictures": [{"name": n, "bytes": len(p.jpeg), **p.facts} for n, p in pictures.items()],
        }  # fmt: skip
        head = json.dumps(plain(facts)).encode()
        return b"".join([len(head).to_bytes(4, "big"), head, *(p.jpeg for p in pictures.values())])

    def _status(self) -> dict[str, Any]:
        """The view's, with the space on the disk of the snapshots where the view does not say which disk counts."""
        status: dict[str, Any] = {"can_snapshot": self.snapshots is not None}
        folder = (self.snapshots or Path()).absolute()
        with suppress(OSError, StopIteration):
            status["disk_free_bytes"] = disk_usage(next(p for p in (folder, *folder.parents) if p.exists())).free
        return status | self.view.status()

    async def _snapshot(self) -> dict[str, Any]:
        """Write what the page shows."""
        if self.snapshots is None:
            return {"error": "no folder for snapshots was given: start zsd with --snapshots FOLDER"}
        if self._shown is None:
            return {"error": "there is no frame yet"}
        try:
            now = datetime.now()
            return {"files": await asyncio.to_thread(write_snapshot, self.snapshots, self._shown, now)}
        except InputError as error:
            return {"error": str(error)}
