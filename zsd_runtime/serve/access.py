"""Who may talk to the server: the right Host, a token, and a page of this server's own.

Any web page that a browser opens can send requests to 127.0.0.1, and any user of a computer can reach its ports. The
Host header stops pages that let their name point to 127.0.0.1 (DNS rebinding), the token stops other users and
programs, and the Origin header stops other pages from using the cookie.
"""

import secrets
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any

import psutil

Headers = dict[str, str]
Scope = Any  # of ASGI
WILDCARDS = ("0.0.0.0", "::", "")
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Refusal:
    """Why a request is refused: an HTTP status and a sentence."""

    status: int
    reason: str


@dataclass(frozen=True)
class Access:
    """What a request must show.

    Attributes
    ----------
    token : str
        A secret, in a cookie, in the header ``Authorization: Bearer …``, or in the page's address when it is opened.
    hosts : frozenset of str
        Host headers, with port, that mean this server.
    port : int
    """

    token: str
    hosts: frozenset[str]
    port: int

    @property
    def cookie(self) -> str:
        """The cookie's name. Browsers send cookies to all ports of a computer, so the port is a part of it."""
        return f"zsd_{self.port}"

    def refusal(self, scope: Scope) -> Refusal | None:
        """Why a request, or a WebSocket, is refused; None if it may go on."""
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if headers.get("host", "").lower() not in self.hosts:
            return Refusal(400, "the Host header is not a name of this server: use the address that zsd printed")
        origin = headers.get("origin")
        if origin is not None and origin.lower() not in {f"http://{host}" for host in self.hosts}:
            return Refusal(403, "the request comes from another web page")
        bearer = self._is_token(headers.get("authorization", "").removeprefix("Bearer "))
        if not (bearer or self._is_token(self._cookie_of(headers)) or self._has_token_in_address(scope)):
            return Refusal(403, "the token is missing or wrong: open the address that zsd printed")
        # A browser names the page that a WebSocket, or what changes something, comes from; programs use the header.
        changes = scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD")
        if origin is None and changes and (scope["type"] == "websocket" or not bearer):
            return Refusal(403, "the request does not say which page it comes from (no Origin)")
        return None

    def _cookie_of(self, headers: Headers) -> str:
        try:
            found = SimpleCookie(headers.get("cookie", "")).get(self.cookie)
        except CookieError:
            return ""
        return found.value if found else ""

    def _has_token_in_address(self, scope: Scope) -> bool:
        """Only the page itself is opened by an address with the token; it then has the cookie."""
        if scope["type"] != "http" or scope["path"] != "/":
            return False
        parts = scope["query_string"].decode("latin-1").split("&")
        return any(self._is_token(part.removeprefix("token=")) for part in parts if part.startswith("token="))

    def _is_token(self, given: str) -> bool:
        return secrets.compare_digest(given.encode("utf-8", "replace"), self.token.encode())


def new_token() -> str:
    """A secret that nobody guesses."""
    return secrets.token_urlsafe(24)


def host_names(host: str, port: int) -> frozenset[str]:
    """Host headers that mean a server at `host`: on every address of the computer, all of its names."""
    names = {host, *LOOPBACK} if host in LOOPBACK else {host}
    if host in WILDCARDS:
        addresses = (address.address for card in psutil.net_if_addrs().values() for address in card)
        names = {*LOOPBACK, socket.gethostname(), socket.getfqdn(), *addresses}
    return frozenset(f"{bracketed(name)}:{port}".lower() for name in names)


def bracketed(host: str) -> str:
    """An IPv6 address as it stands in an address of the web."""
    return f"[{host.partition('%')[0]}]" if ":" in host else host


class Guard:
    """Lets through what `Access` does not refuse. ASGI middleware.

    Parameters
    ----------
    app : ASGI application
    access : Access
    """

    def __init__(self, app: Any, access: Access) -> None:
        self.app, self.access = app, access

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Pass a request on, or refuse it."""
        refusal = self.access.refusal(scope) if scope["type"] in ("http", "websocket") else None
        if refusal is None:
            await self.app(scope, receive, send)
            return
        kind = "http.response" if scope["type"] == "http" else "websocket.http.response"
        body = refusal.reason.encode()
        length: Iterable[tuple[bytes, bytes]] = [
            (b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]  # fmt: skip
        await send({"type": f"{kind}.start", "status": refusal.status, "headers": list(length)})
        await send({"type": f"{kind}.body", "body": body})
