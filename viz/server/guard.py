"""Who may ask the server for what: checks of host, origin and token, and the headers of every answer.

- The name in `Host` must be one under which the server is meant to be reached. A page elsewhere whose name
  was made to lead to this machine (DNS rebinding) sends its own.
- A request that changes anything, or gives the server work, is a POST. It needs the token, in a cookie that
  scripts cannot read and that no other site's request carries, or in the header `Authorization: Bearer`.
  With the cookie, `Origin` must be the server's own.
- Pictures, pages and events are not given to pages of other sites (`Sec-Fetch-Site`).
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["ALLOWED", "Access", "Guard"]

ALLOWED = "maxact.allowed"
"""Key of the scope: whether the request carries the token."""

LOOPBACK = ("localhost", "127.0.0.1", "::1")

ANYWHERE = ("0.0.0.0", "::", "")
"""Addresses to bind that stand for all of the machine's."""

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "font-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=(), payment=(), usb=()",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


@dataclass(frozen=True, slots=True)
class Access:
    """How the server may be reached.

    Args:
        hosts: names and addresses, in lower case.
        any_address: whether every IP address will do, because the server is bound to all of them. Only
            names can be made to lead elsewhere.
        token: that changes need.
        cookie: name of the cookie that carries it.
    """

    hosts: frozenset[str]
    any_address: bool
    token: str
    cookie: str

    @classmethod
    def of(cls, host: str, port: int, names: tuple[str, ...] = ()) -> Access:
        """Access to a server with a new token.

        Args:
            host: to which it is bound.
            port: to which it is bound.
            names: more names under which it is reached.
        """
        own = {host.lower().strip("[]"), *(name.lower() for name in names)}
        local = host in ANYWHERE or own & {*LOOPBACK}
        return cls(
            frozenset(own | ({*LOOPBACK} if local else set())),
            host in ANYWHERE,
            secrets.token_urlsafe(24),
            f"maxact-{port}",
        )

    def serves(self, host: str) -> bool:
        """Whether a `Host` is one under which the server is reached; its port does not matter."""
        try:
            name = urlsplit(f"//{host}").hostname
        except ValueError:
            return False
        if not name or "@" in host or "/" in host:
            return False
        if name in self.hosts:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return self.any_address

    def is_token(self, text: str) -> bool:
        """Whether a text is the token."""
        return hmac.compare_digest(text.encode("utf-8", "surrogatepass"), self.token.encode())


class Guard:
    """Checks requests before an application sees them, and adds headers to its answers.

    Args:
        app: that answers.
        access: how it may be reached.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.app, self.access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = Headers(scope=scope)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                found = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    found[name] = value
                found.setdefault("Cache-Control", "no-cache")
            await send(message)

        by_header = self._bearer(headers)
        allowed = by_header or self._has_cookie(scope)
        refused = self._refuse(scope["method"], headers, allowed=allowed, by_header=by_header)
        if refused:
            await PlainTextResponse(f"{refused}\n", 403)(scope, receive, send_with_headers)
            return
        scope[ALLOWED] = allowed
        await self.app(scope, receive, send_with_headers)

    def _refuse(self, method: str, headers: Headers, *, allowed: bool, by_header: bool) -> str:
        """Why a request is refused; empty if it is not."""
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self.access.serves(hosts[0]):
            return "this server is not reached under that name; see maxact serve --host and --allow-host"
        changes = method not in ("GET", "HEAD")
        foreign = headers.get("sec-fetch-site") in ("cross-site", "same-site")
        if foreign and (changes or headers.get("sec-fetch-mode") != "navigate"):
            return "pages of other sites are not answered"
        if not changes:
            return ""
        origin = headers.get("origin")
        if origin is None and not by_header:
            return "a change needs an Origin, or the token in the header Authorization"
        if origin is not None and not _is_same(origin, hosts[0]):
            return "pages of other sites are not answered"
        if not allowed:
            return "this needs the token; open the address that maxact serve has printed, and try again"
        return ""

    def _bearer(self, headers: Headers) -> bool:
        kind, _, token = headers.get("authorization", "").partition(" ")
        return kind.lower() == "bearer" and self.access.is_token(token.strip())

    def _has_cookie(self, scope: Scope) -> bool:
        # Starlette skips cookies of other servers that the standard library would stop at.
        return self.access.is_token(HTTPConnection(scope).cookies.get(self.access.cookie, ""))


def _is_same(origin: str, host: str) -> bool:
    """Whether an `Origin` is that of pages from a `Host`."""
    scheme, _, rest = origin.partition("://")
    return scheme in ("http", "https") and rest.lower() == host.lower()
