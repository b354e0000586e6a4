"""Protection of a local page: an ASGI layer that checks every request.

Any web site open in the same browser can send requests to 127.0.0.1. So a request must name
this server as its host (which stops DNS rebinding) and must not come from another origin. If it
changes something, it must carry the token that only the page itself has.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, MutableMapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

TOKEN_HEADER = "X-Kalai-Token"
SAFE_METHODS = frozenset({"GET", "HEAD"})
MAX_BODY = 32 * 1024 * 1024  # bytes; enough for a large photo, or decisions about 100,000 images

ANSWER_HEADERS = {
    # no resources from other hosts, nothing inline, no frame around the page, no forms
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob:; font-src 'self'; connect-src 'self'; form-action 'none'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # a link to an image's source does not reveal this page
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",  # no other page can show or probe our images
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


class Refused(HTTPException):
    """A request that is refused, with its HTTP status and the reason."""


class Guard:
    """Checks every request, limits its body to `max_body` bytes, adds headers to answers."""

    def __init__(self, app: ASGIApp, token: str, max_body: int = MAX_BODY) -> None:
        self.app, self.token, self.max_body = app, token, max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # our pages open no websocket
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in ANSWER_HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            check(scope, self.token, self.max_body)
        except Refused as refused:
            await send_refusal(send_with_headers, refused)
        else:
            await self.app(scope, limited(receive, self.max_body), send_with_headers)


def check(scope: Mapping[str, Any], token: str, max_body: int) -> None:
    """Raise Refused unless our own page, or a script with the token, sent the request."""
    headers = Headers(raw=scope["headers"])
    hosts = own_hosts(scope)
    if len(headers.getlist("host")) != 1 or headers["host"].lower() not in hosts:
        raise Refused(421, "Host is not this server; open the address that kalai printed")
    origin = headers.get("origin")
    if origin is not None and origin.lower() not in {f"http://{host}" for host in hosts}:
        raise Refused(
            403, "the Origin header names another site; only requests from this page are accepted"
        )
    if scope["method"] not in SAFE_METHODS and not secrets.compare_digest(
        headers.get(TOKEN_HEADER, "").encode(), token.encode()
    ):
        raise Refused(403, f"{TOKEN_HEADER} is missing or out of date; reload the page")
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()):
        raise Refused(400, "Content-Length is not a number")
    if len(length) > 12 or int(length) > max_body:
        raise too_large(max_body)


def too_large(max_body: int) -> Refused:
    """Return the refusal of a body that is too large."""
    return Refused(413, f"the request's body is too large; at most {max_body} bytes are allowed")


def own_hosts(scope: Mapping[str, Any]) -> set[str]:
    """Return the Host headers that name this server: its address or localhost, with the port."""
    address, port = scope["server"]
    names = {"localhost", f"[{address}]" if ":" in address else address}
    bare = names if port == 80 else set()
    return {f"{name}:{port}" for name in names} | bare


def limited(receive: Receive, max_body: int) -> Receive:
    """Return a `receive` that raises Refused if a body of undeclared length is too large."""
    seen = 0

    async def counted() -> MutableMapping[str, Any]:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > max_body:
            raise too_large(max_body)
        return message

    return counted


async def send_refusal(send: Send, refused: Refused) -> None:
    """Send the reason as JSON."""
    body = json.dumps({"error": refused.detail}).encode()
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": refused.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": body})
