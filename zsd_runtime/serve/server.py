"""The web server: a port, a token, and a thread that serves until it is closed."""

import errno
import re
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from zsd_runtime.errors import InputError
from zsd_runtime.serve.access import WILDCARDS, Access, Guard, bracketed, host_names, new_token

CLOSE_S = 2  # for requests that are under way when the server closes
LARGEST_MESSAGE = 1 << 16  # bytes that a page may send at once over its WebSocket
START_S = 30.0
TOKEN = re.compile(r"[A-Za-z0-9_-]{16,}")


class Server:
    """Serves an application in a thread of its own; a context manager.

    Parameters
    ----------
    make_app : callable
        From the `Access` of this server to an ASGI application. Only requests that may go on reach it.
    host : str
        Address to listen at. 127.0.0.1: only programs on this computer can connect.
    port : int
        0: one that is free.
    token : str, optional
        The secret; by default a new one.

    Raises
    ------
    InputError
        When the port is taken, the address is not one of this computer, or the extra `live` is not installed.
    """

    def __init__(
        self, make_app: Callable[[Access], Any], *, host: str = "127.0.0.1", port: int = 0, token: str | None = None
    ) -> None:
        uvicorn = web_libraries()
        if token is not None and not TOKEN.fullmatch(token):
            raise InputError("the token must be 16 or more letters, digits, - and _", "leave it out for a new one")
        self._socket = _listening(host, port)
        self.port: int = self._socket.getsockname()[1]
        self.token = token or new_token()
        shown = "127.0.0.1" if host in WILDCARDS else host
        self.address = f"http://{bracketed(shown)}:{self.port}"
        access = Access(self.token, host_names(host, self.port), self.port)
        config = uvicorn.Config(
            Guard(make_app(access), access), lifespan="off", log_config=None, access_log=False, server_header=False,
            ws="websockets-sansio", ws_max_size=LARGEST_MESSAGE, ws_per_message_deflate=False,
            timeout_graceful_shutdown=CLOSE_S,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="zsd server", daemon=True)
        self._ended = threading.Event()
        self._thread.start()

    @property
    def url(self) -> str:
        """The address of the page, with the token: whoever has it may use the server."""
        return f"{self.address}/?token={self.token}"

    def _run(self) -> None:
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self._socket.close()
            self._ended.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the server ends; False if it still runs after `timeout` seconds."""
        return self._ended.wait(timeout)

    def close(self) -> None:
        """Stop serving; what is under way has two seconds to end."""
        self._server.should_exit = True
        self._thread.join(CLOSE_S + START_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def web_libraries() -> Any:
    """Uvicorn, once all that the server needs can be imported.

    Raises
    ------
    InputError
        When something is missing.
    """
    try:
        import starlette  # noqa: F401
        import uvicorn
        import websockets  # noqa: F401
    except ImportError as error:
        raise InputError(f"the page needs {error.name}", "pip install 'zsd[live]'") from None
    return uvicorn


def _listening(host: str, port: int) -> socket.socket:
    """A socket at the address, so that a port in use is an error here and not in a thread."""
    if not 0 <= port < 1 << 16:
        raise InputError(f"`port` {port} must be a number from 0 (any that is free) to 65535", option="port")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise InputError(f"`host` {host} is not an address ({error})", "use 127.0.0.1", option="host") from None
    try:
        if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):  # on Windows two programs could share the port
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen()
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise InputError(
                f"`port` {port} is in use by another program", "give another one, or 0 for any that is free",
                option="port",
            ) from None  # fmt: skip
        raise InputError(f"cannot listen at {host} port {port}: {error.strerror}", "use another port") from None
    return listening
