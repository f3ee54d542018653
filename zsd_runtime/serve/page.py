"""The page that shows a running restoration, and the server that it comes from."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zsd_runtime.errors import InputError
from zsd_runtime.serve.access import Access
from zsd_runtime.serve.server import Server, web_libraries
from zsd_runtime.serve.viewer import Viewer

if TYPE_CHECKING:  # the package `live` may use this one, but not the other way round
    from zsd_runtime.live.view import View

STATIC = Path(__file__).parent / "static"
MOST_PAGES = 8  # open at once
TRY_AGAIN = 1013


def serve_view(
    view: "View",
    *,
    port: int = 0,
    host: str = "127.0.0.1",
    snapshots: Path | None = None,
    token: str | None = None,
    title: str = "zsd",
) -> Server:
    """Show a running restoration in a web page, from a thread of its own.

    Parameters
    ----------
    view : View
        What the page shows. A slow page, a stalled one or many of them never change what happens to the frames.
    port : int
        0: one that is free.
    host : str
        Address to listen at. 127.0.0.1: only browsers on this computer can open the page.
    snapshots : path, optional
        Folder for the TIFFs of the page's button "Snapshot". It is made when it is first needed.
    token : str, optional
        The secret in the page's address; by default a new one.
    title : str
        What the page is called, for instance the name of the model.

    Returns
    -------
    Server
        Its `url` opens the page; `close` ends it. A context manager.

    Raises
    ------
    InputError
        When the port is in use, or the extra `live` is not installed.
    """
    web_libraries()
    if snapshots is not None and snapshots.exists() and not snapshots.is_dir():
        raise InputError(f"`snapshots` {snapshots} is a file", "give a folder", option="snapshots")
    return Server(lambda access: page_app(view, access, snapshots, title), host=host, port=port, token=token)


def page_app(view: "View", access: Access, snapshots: Path | None, title: str, more: Sequence[Any] = ()) -> Any:
    """The application: the page, its files, its WebSocket, and `more` routes."""
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import HTMLResponse, Response
    from starlette.routing import Mount, Route, WebSocketRoute
    from starlette.staticfiles import StaticFiles
    from starlette.websockets import WebSocket

    pages: set[Viewer] = set()

    async def page(request: Request) -> Response:
        html = (STATIC / "index.html").read_text("utf-8").replace("{title}", _escaped(title))
        response = HTMLResponse(html, headers=_policy(request.headers["host"]))
        # Not a redirect: of an address that another page links to, a strict cookie would not go with it.
        response.set_cookie(access.cookie, access.token, httponly=True, samesite="strict")
        return response

    async def frames(socket: WebSocket) -> None:
        await socket.accept()
        if len(pages) >= MOST_PAGES:
            await socket.close(TRY_AGAIN, f"{MOST_PAGES} pages are open already")
            return
        viewer = Viewer(view, socket, snapshots)
        pages.add(viewer)
        try:
            await viewer.serve()
        finally:
            pages.discard(viewer)

    routes = [
        Route("/", page), WebSocketRoute("/frames", frames), Mount("/static", StaticFiles(directory=STATIC)), *more,
    ]  # fmt: skip
    return Starlette(routes=routes)


def _policy(host: str) -> dict[str, str]:
    """Headers by which the page loads nothing from elsewhere, and its address is told to nobody."""
    return {
        "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        f"connect-src 'self' ws://{host}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        "referrer-policy": "no-referrer", "x-content-type-options": "nosniff", "cache-control": "no-store",
    }  # fmt: skip


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
