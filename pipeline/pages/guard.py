"""Who may ask a local page for what: an ASGI layer around every answer.

A page on 127.0.0.1 is reachable by every web site that the same browser shows. So a request must
name this server as its host (a rebound DNS name does not), come from no other origin, and, where
it changes something, carry the token that only the page itself was given.
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
MAX_BODY = 32 * 1024 * 1024  # bytes; a large photo, or decisions about 100,000 pictures

ANSWER_HEADERS = {
    # nothing from elsewhere, nothing inline, no frame around it, no form to elsewhere
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob:; font-src 'self'; connect-src 'self'; form-action 'none'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # links to where a picture was found tell nobody
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",  # no other page shows or probes our pictures
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


class Refused(HTTPException):
    """A request that is not answered: its HTTP status and why."""


class Guard:
    """Judges every request, caps its body at `max_body` bytes and dresses every answer."""

    def __init__(self, app: ASGIApp, token: str, max_body: int = MAX_BODY) -> None:
        self.app, self.token, self.max_body = app, token, max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # a page of ours opens no websocket
            return

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in ANSWER_HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            judge(scope, self.token, self.max_body)
        except Refused as refused:
            await answer(dressed, refused)
        else:
            await self.app(scope, capped(receive, self.max_body), dressed)


def judge(scope: Mapping[str, Any], token: str, max_body: int) -> None:
    """Raise Refused unless the request is one that our own page could have made."""
    headers = Headers(raw=scope["headers"])
    hosts = own_hosts(scope)
    if len(headers.getlist("host")) != 1 or headers["host"].lower() not in hosts:
        raise Refused(421, "this page is not on that host")
    origin = headers.get("origin")
    if origin is not None and origin.lower() not in {f"http://{host}" for host in hosts}:
        raise Refused(403, "this page takes nothing from other pages")
    if scope["method"] not in SAFE_METHODS and not secrets.compare_digest(
        headers.get(TOKEN_HEADER, "").encode(), token.encode()
    ):
        raise Refused(403, f"{TOKEN_HEADER} is missing or old: load the page again")
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()):
        raise Refused(400, "Content-Length is not a number")
    if len(length) > 12 or int(length) > max_body:
        raise Refused(413, f"more than {max_body} bytes")


def own_hosts(scope: Mapping[str, Any]) -> set[str]:
    """Return the values of Host that mean this server: the address asked, or localhost."""
    address, port = scope["server"]
    names = {"localhost", f"[{address}]" if ":" in address else address}
    bare = names if port == 80 else set()
    return {f"{name}:{port}" for name in names} | bare


def capped(receive: Receive, max_body: int) -> Receive:
    """Return a `receive` that raises Refused when a body without a length goes on for too long."""
    seen = 0

    async def counted() -> MutableMapping[str, Any]:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > max_body:
            raise Refused(413, f"more than {max_body} bytes")
        return message

    return counted


async def answer(send: Send, refused: Refused) -> None:
    """Say why in JSON."""
    body = json.dumps({"error": refused.detail}).encode()
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": refused.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": body})
